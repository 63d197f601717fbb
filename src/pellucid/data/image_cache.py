"""Images decoded once, in parallel threads, into one file that later loads open in no time.

The file is named by its content: by what the images hold, in their order, and the form they are brought to. A listing
(paths, sizes, times of change) remembers which file belongs to a folder, so that an unchanged folder is not even read.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pellucid import files
from pellucid.data.image_files import Form, Unreadable, decode_as, form_of, unreadable
from pellucid.data.mapped import release

FORMAT = 1
BLOCK = 64  # images that a thread takes at a time
BUDGET_GB = 20.0  # of decoded images that are kept; PELLUCID_CACHE_GB sets another
MOST_SIDE = 128  # of images of mixed sizes, unless a size is asked for
Progress = Callable[[int, int], None]


class Decoded(NamedTuple):
    """Pixels [n, h, w, c] of the images that could be read, which these are, those that could not (place, why), a
    digest of their content, and how many were grey where all were made colour."""

    pixels: np.ndarray
    kept: list[int]
    bad: list[tuple[int, str]]
    content: str
    forms: dict[str, Any]


def decoded(
    root: Path, paths: Sequence[str], size: tuple[int, int] | None, skip_bad: bool, progress: Progress | None
) -> Decoded:
    """The images `paths` under `root`, from the cache where it has them."""
    folder = files.cache_folder() / "images"
    listing = folder / "listings" / f"{_listing(root, paths, size, skip_bad)}.json"
    if (found := _cached(folder, listing)) is not None:
        return found
    return _decode_all(root, paths, size, skip_bad, progress, folder, listing)


def _listing(root: Path, paths: Sequence[str], size: Any, skip_bad: bool) -> str:
    digest = hashlib.blake2b(repr((FORMAT, str(root.resolve()), size, skip_bad)).encode(), digest_size=20)
    for path in paths:
        stat = (root / path).stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _cached(folder: Path, listing: Path) -> Decoded | None:
    try:
        told = json.loads(listing.read_text(encoding="utf-8"))
        path = folder / f"{told['content']}.npy"
        pixels = np.load(path, mmap_mode="r")
        if pixels.shape != tuple(told["shape"]) or pixels.dtype != np.uint8:
            return None
        os.utime(path)
        return Decoded(pixels, told["kept"], [(p, why) for p, why in told["bad"]], told["content"], told["forms"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _decode_all(
    root: Path, paths: Sequence[str], size: Any, skip_bad: bool, progress: Progress | None, folder: Path, listing: Path
) -> Decoded:
    """Each image is read, digested and decoded in one go, in the form that a few of them have; only where that turns
    out not to be the form of all, they are decoded once more."""
    form = _guess(root, paths, size)
    while True:
        target, temporary = _room(folder, (len(paths), *form))
        work = _Work(root, paths, form, target, skip_bad)
        try:
            work.run(progress)
            right, forms = chosen(work.met, size)
        except BaseException:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise
        if right == form:
            break
        form = right
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    content = _content(paths, work.digests, form)
    return _kept(target, temporary, paths, work.bad, content, forms, folder, listing)


def _guess(root: Path, paths: Sequence[str], size: Any) -> Form:
    """The form that some images, taken evenly, would be brought to; where they differ, all are asked."""
    few = [_header(root / path) for path in paths[:: max(len(paths) // 64, 1)]]
    met = Counter(form for form in few if form is not None)
    if len(met) > 1 and len(few) < len(paths):
        with ThreadPoolExecutor(_threads(), thread_name_prefix="pellucid-images") as pool:
            blocks = [paths[i : i + BLOCK] for i in range(0, len(paths), BLOCK)]
            found = pool.map(lambda block: [_header(root / path) for path in block], blocks)
            met = Counter(form for block in found for form in block if form is not None)
    return chosen(met, size)[0]


def _header(path: Path) -> Form | None:
    try:
        return form_of(path.read_bytes())
    except (OSError, Unreadable):
        return None


def _threads() -> int:
    return min(16, os.cpu_count() or 1)


class _Work:
    """All images into `target`, block by block: what forms were met, a digest of each, and the bad ones."""

    def __init__(self, root: Path, paths: Sequence[str], form: Form, target: np.ndarray, skip_bad: bool):
        self.root, self.paths, self.form, self.target, self.skip_bad = str(root), paths, form, target, skip_bad
        self.met: Counter[Form] = Counter()
        self.bad: dict[int, str] = {}
        self.digests: list[bytes] = [b""] * len(paths)

    def run(self, progress: Progress | None) -> None:
        starts = range(0, len(self.paths), BLOCK)
        with ThreadPoolExecutor(_threads(), thread_name_prefix="pellucid-images") as pool:
            try:
                for start, met in zip(starts, pool.map(self.block, starts), strict=True):
                    self.met += met
                    if start % (64 * BLOCK) == 0:
                        release(self.target)
                    if progress is not None:
                        progress(min(start + BLOCK, len(self.paths)), len(self.paths))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def block(self, start: int) -> Counter[Form]:
        met: Counter[Form] = Counter()
        for place in range(start, min(start + BLOCK, len(self.paths))):
            path = os.path.join(self.root, self.paths[place])
            try:
                with open(path, "rb", buffering=0) as file:
                    data = file.readall()
                self.digests[place] = hashlib.blake2b(data, digest_size=20).digest()
                self.target[place], own = decode_as(data, self.form)
                met[own] += 1
            except (Unreadable, OSError) as error:
                self.bad[place] = _refused(Path(path), getattr(error, "strerror", None) or str(error), self.skip_bad)
        return met


def _refused(path: Path, why: str, skip_bad: bool) -> str:
    if not skip_bad:
        raise unreadable(path, why, "mend or remove it, or leave such images out: --skip-bad")
    return why


def chosen(met: Mapping[Form, int], size: tuple[int, int] | None) -> tuple[Form, dict[str, Any]]:
    """The form that all images are brought to, and what was met: colour where one image has colour; the size that is
    asked for, the size that all share, or else a square of the median of their shorter sides, 128 at most."""
    sizes = {(form.height, form.width) for form in met}
    grey = sum(count for form, count in met.items() if form.channels == 1)
    total = sum(met.values())
    channels = 1 if grey == total else 3
    told = {"sizes": len(sizes), "grey": grey, "total": total}
    if size is None and len(sizes) == 1:
        size = next(iter(sizes))
    elif size is None:
        shorter = np.repeat([min(form.height, form.width) for form in met], list(met.values()))
        side = min(int(np.median(shorter)), MOST_SIDE) if total else 1
        size = (side, side)
    return Form(*size, channels), told


def _content(paths: Sequence[str], digests: Sequence[bytes], form: Form) -> str:
    digest = hashlib.blake2b(repr((FORMAT, tuple(form))).encode(), digest_size=20)
    for path, one in zip(paths, digests, strict=True):
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + one)
    return digest.hexdigest()


def _room(folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, Path | None]:
    """Where the pixels go: a file of the cache, or memory where it cannot be written."""
    try:
        (folder / "listings").mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{os.getpid()}.{threading.get_ident()}.npy"
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is told now, and not by a signal later
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
        return array, temporary
    except OSError:
        return np.empty(shape, np.uint8), None


def _kept(
    pixels: np.ndarray, temporary: Path | None, paths: Sequence[str], bad: dict[int, str], content: str,
    forms: dict[str, Any], folder: Path, listing: Path,
) -> Decoded:  # fmt: skip
    kept = [place for place in range(len(paths)) if place not in bad]
    told = {"content": content, "shape": list(pixels.shape), "kept": kept, "bad": sorted(bad.items()), "forms": forms}
    if temporary is not None:
        try:
            pixels.flush()  # type: ignore[attr-defined]
            os.replace(temporary, folder / f"{content}.npy")
            files.write_json(listing, told)
            _make_room(folder, content)
            pixels = np.load(folder / f"{content}.npy", mmap_mode="r")
        except OSError:
            temporary.unlink(missing_ok=True)
    return Decoded(pixels, kept, sorted(bad.items()), content, forms)


def _make_room(folder: Path, content: str) -> None:
    """Remove what was used longest ago, until the cache keeps to its budget."""
    budget = float(os.environ.get("PELLUCID_CACHE_GB") or BUDGET_GB) * 1e9
    found = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in found)
    for path in found:
        if total > budget and path.stem != content:
            total -= path.stat().st_size
            path.unlink(missing_ok=True)
