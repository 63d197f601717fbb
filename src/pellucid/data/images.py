"""Folders of images: one folder a class, `train/ val/ test/` above them if there are parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.dataset import Dataset
from pellucid.data.image_cache import Decoded, Progress, decoded
from pellucid.data.image_files import is_image, read_images
from pellucid.errors import DataError, SettingError

PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
IGNORED = ("__macosx",)


def image_folder(path: Path) -> bool:
    """Whether images lie in this folder, or in folders within it."""
    return any(is_image(name) for _, _, names in os.walk(path) for name in names)


def check_size(size: Any) -> tuple[int, int] | None:
    """(height, width) of `image_size`: one number for a square, or two."""
    if size is None:
        return None
    found = (size, size) if isinstance(size, int) else tuple(size)
    if len(found) != 2 or not all(isinstance(n, int) and n >= 1 for n in found):
        raise SettingError(
            "this is no size of an image", where="image_size", expected="32, or height and width: 32x48", got=size
        )
    return found  # type: ignore[return-value]


def load_images(path: Path, *, size: Any = None, skip_bad: bool = False, progress: Progress | None = None) -> Dataset:
    """A folder of class folders as uint8 [n, height, width, channels], the folders' names being the classes.

    size: see `image_cache.chosen` for what is done without it.   skip_bad: leave out what cannot be read, and say so.
    Raises `DataError` for an image that cannot be read, a class without images, and fewer than two classes.
    """
    size = check_size(size)
    parts = _parts(path)
    empty: list[str] = []
    found = {part: _listed(folder, empty if skip_bad else None) for part, folder in parts.items()}
    paths = [p[len(str(path)) :].lstrip(os.sep) for listed in found.values() for p, _ in listed]
    classes = sorted({label for _, label in found["train"]})
    if len(classes) < 2:
        raise DataError(
            "there is one class only" if classes else "the folder has no class folders", where=parts["train"],
            expected="two folders or more, each named for its class and holding its images",
            got=", ".join(classes) or "images side by side",
            fix="add a folder for each further class" if classes else "move the images of each class into a folder",
        )  # fmt: skip
    images = decoded(path, paths, size, skip_bad, progress)
    kept = np.full(len(paths), -1)
    kept[images.kept] = np.arange(len(images.kept)) if len(images.kept) == len(paths) else images.kept
    made, start = {}, 0
    for part, listed in found.items():
        rows = np.array([place for place in range(start, start + len(listed)) if kept[place] >= 0], int)
        start += len(listed)
        labels = np.array([listed[place - start + len(listed)][1] for place in rows], dtype=object)
        made[part] = _part(images, rows, labels, path, part)
    notes = _notes(images, paths)
    if empty:
        notes.append(f"class folders without images are left out: {', '.join(os.path.relpath(f, path) for f in empty)}")
    strange = sorted({str(c) for p in ("validation", "test") if p in made for c in made[p].y} - set(classes))
    if strange:
        raise DataError(
            "a part has a class that is not trained", where=path, expected=", ".join(classes), got=", ".join(strange)
        )
    train = made.pop("train")
    return Dataset(
        train.x, train.y, path.resolve().name, str(path), target=("class",), notes=tuple(notes), content=train.content,
        **made,
    )  # fmt: skip


def _part(images: Decoded, rows: np.ndarray, labels: np.ndarray, path: Path, part: str) -> Dataset:
    """The rows of one part: they lie one behind the other, so a slice will do, and nothing is copied."""
    if not len(rows):
        raise DataError("no image of a part can be read", where=f"{path} ({part})")
    whole = len(rows) == rows[-1] - rows[0] + 1
    x = images.pixels[rows[0] : rows[-1] + 1] if whole else images.pixels[rows]
    return Dataset(x, labels, part, str(path), target=("class",), content=f"{images.content}:{rows[0]}:{len(rows)}")


def _parts(path: Path) -> dict[str, Path]:
    folders = {p.name.lower(): p for p in sorted(path.iterdir()) if p.is_dir()}
    found: dict[str, Path] = {}
    for name, folder in folders.items():
        if name in PARTS:
            if PARTS[name] in found:
                raise DataError("two folders stand for one part", where=path, got=f"{found[PARTS[name]].name}, {name}")
            found[PARTS[name]] = folder
    if "train" not in found or not any(p.is_dir() for p in found["train"].iterdir()):
        return {"train": path}
    return {part: found[part] for part in ("train", "validation", "test") if part in found}


def _listed(folder: Path, empty: list[str] | None) -> list[tuple[str, str]]:
    """(image, class), by class and name. Classes without images go to `empty`, or raise where there is no such list."""
    found: list[tuple[str, str]] = []
    for group in sorted(p for p in folder.iterdir() if p.is_dir()):
        if group.name.startswith(".") or group.name.lower() in IGNORED:
            continue
        images = images_in(group)
        if not images and empty is not None:
            empty.append(str(group))
        elif not images:
            raise DataError(
                "a class has no images", where=group, expected="JPEG, PNG, WebP, BMP, GIF or TIFF files",
                got=f"{sum(1 for _ in group.iterdir())} other files",
                fix="fill or remove the folder, or use --skip-bad",
            )  # fmt: skip
        found += [(p, group.name) for p in images]
    return found


def images_in(folder: Path) -> list[str]:
    """Every image in it and in what lies within it, sorted; `os.walk` asks the disk about folders, not about files."""
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names if is_image(name))


def _notes(images: Decoded, paths: Sequence[str]) -> list[str]:
    height, width, channels = images.pixels.shape[1:]
    forms, notes = images.forms, []
    if forms["sizes"] > 1:
        notes.append(f"images of {forms['sizes']} sizes: each is scaled and cut to {height} x {width} (--image-size)")
    if channels == 3 and forms["grey"]:
        notes.append(f"{forms['grey']:,} of {forms['total']:,} images are grey; all are taken as colour")
    if images.bad:
        first = "; ".join(f"{paths[place]} ({why})" for place, why in images.bad[:5])
        more = f"; and {len(images.bad) - 5} more" if len(images.bad) > 5 else ""
        what = (
            "1 image cannot be read and is"
            if len(images.bad) == 1
            else f"{len(images.bad):,} images cannot be read and are"
        )
        notes.append(f"{what} left out: {first}{more}")
    return notes


def unlabelled(path: Path, shape: tuple[int, ...] | None) -> Dataset:
    """Images to be predicted: one file, or all in a folder, in the trained form; `names` tells which is which."""
    found = [path] if path.is_file() else [Path(p) for p in images_in(path)]
    if shape is None or len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            "the network was not trained on images", where=path,
            expected="data like those it was trained on" + (f", shape {list(shape)}" if shape else ""), got="images",
        )  # fmt: skip
    names = tuple(str(p.relative_to(path)) if path.is_dir() else p.name for p in found)
    return Dataset(read_images(found, shape), name=path.name, source=str(path), names=names)
