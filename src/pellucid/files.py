"""Writing files so that a crash leaves the old one or the new one, never a half; and errors for disks that give out."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pellucid.errors import ResourceError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, then resume"),
    errno.EDQUOT if hasattr(errno, "EDQUOT") else -1: ("the disk quota is used up", "free some space, then resume"),
    errno.EROFS: ("the file system is read-only", "choose another folder with --out"),
    errno.EACCES: ("the folder cannot be written", "choose another folder with --out, or change its permissions"),
    errno.EPERM: ("the folder cannot be written", "choose another folder with --out, or change its permissions"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another folder with --out"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose another folder with --out"),
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error that a person can act on."""
    try:
        yield
    except ResourceError:
        raise
    except OSError as error:
        problem, fix = _REASONS.get(error.errno or 0, (f"writing failed: {error.strerror or error}", None))
        raise ResourceError(problem, where=path, fix=fix) from error


def cache_folder() -> Path:
    """Where compiled programs and decoded images are kept: `$XDG_CACHE_HOME/pellucid`, or the system's own place."""
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home) / "pellucid"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "pellucid" / "cache"
    return Path.home() / ".cache" / "pellucid"


def confined(path: Path, folder: Path) -> bool:
    """Whether `path`, all links followed, lies inside `folder`."""
    with suppress(OSError, RuntimeError):
        return path.resolve().is_relative_to(folder.resolve())
    return False


def make_folder(path: Path) -> Path:
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: a temporary file beside it, flushed to disk, then renamed over it."""
    with disk_errors(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        if os.name == "posix":
            os.chmod(path, 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Atomic JSON with readable layout (indent None: on one line); non-finite numbers are written as the strings "nan",
    "inf", "-inf"."""
    write_text(path, json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """`value` with non-finite floats as strings, for JSON has no word for them and the difference matters.

    >>> finite({"loss": float("nan"), "path": [1.0, float("-inf")]})
    {'loss': 'nan', 'path': [1.0, '-inf']}
    """
    if isinstance(value, float):
        return value if abs(value) < float("inf") else ("nan" if value != value else "inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
