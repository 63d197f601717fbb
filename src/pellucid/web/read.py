"""Files of a run that are written as a whole, read with care: they may be missing, damaged or foreign."""

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid import files
from pellucid.errors import PellucidError
from pellucid.rundir import read_json


def signature(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object of the run; None where there is none, or it is damaged, or it lies elsewhere."""
    found = _read(path)
    return found if isinstance(found, dict) else None


def read_list(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON list of the run; [] where there is none, or it is damaged, or it lies elsewhere."""
    found = _read(path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _read(path: Path) -> Any:
    with suppress(PellucidError, OSError):
        if path.is_file() and files.confined(path, path.parent):
            return read_json(path)
    return None


def read_recipe(path: Path) -> dict[str, Any]:
    """recipe.toml as a dict, {} where it cannot be read."""
    with suppress(OSError, ValueError):
        if files.confined(path, path.parent):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    return {}
