"""IDX, the format of MNIST: a big-endian header (two zero bytes, a type, the number of axes, the sizes), then values.

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", file format section.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from pellucid.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PARTS = {"train": "", "t10k": "test", "test": "test", "val": "validation", "valid": "validation"}


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in its own type (`uint8` stays `uint8`).

    Raises `DataError` for a wrong magic number and for a file that is cut short.
    """
    raw = _bytes(path)
    code = raw[2] if len(raw) >= 4 else None
    if len(raw) < 4 or raw[:2] != b"\0\0" or code not in TYPES or not 1 <= raw[3] <= 8:
        raise DataError(
            "the file is not IDX: its magic number is wrong",
            where=path,
            expected="bytes 00 00, a type from 08 to 0e, and the number of axes",
            got=raw[:4].hex(" ") or "an empty file",
        )
    axes = raw[3]
    start = 4 + 4 * axes
    dtype = np.dtype(TYPES[code])
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], ">u4")) if len(raw) >= start else (0,)
    expected = start + math.prod(shape) * dtype.itemsize
    if len(raw) != expected or len(raw) < start:
        raise DataError(
            "the IDX file is cut short" if len(raw) < max(expected, start) else "the IDX file has bytes to spare",
            where=path,
            expected=f"{expected:,} bytes for shape {shape}",
            got=f"{len(raw):,} bytes",
            fix="download it again",
        )
    array = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_idx_folder(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a folder of IDX files: {"": {"x", "y"}, "test": {"x", "y"}}, by MNIST's names or plain ones.

    `train-images-idx3-ubyte[.gz]` with `train-labels-idx1-ubyte`, `t10k-*` or `test-*` for the test part,
    `val-*` for validation; `images.idx` with `labels.idx` when there is one part only.
    """
    files = find_idx(folder)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for part in dict.fromkeys(part for part, _ in files):
        images, labels = files.get((part, "image")), files.get((part, "label"))
        if images is None or labels is None:
            present = images or labels
            raise DataError(
                f"the {'labels' if labels is None else 'images'} are missing",
                where=folder,
                expected="a file of images and one of labels for each part",
                got=f"only {present.name if present else 'nothing'}",
            )
        x, y = read_idx(images), read_idx(labels)
        if len(x) != len(y):
            raise DataError(
                "images and labels differ in number",
                where=folder,
                expected=f"{len(x):,} labels, one for each image in {images.name}",
                got=f"{len(y):,} in {labels.name}",
            )
        parts[part] = {"x": x, "y": y}
    if "" not in parts:
        raise DataError(
            "the folder has no training part",
            where=folder,
            expected="train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz)",
            got=", ".join(sorted(p.name for p in files.values())),
        )
    return parts


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files of a folder by (part, role), roles being "image" and "label"; an unzipped file goes before .gz."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: (p.suffix == ".gz", p.name)):
        name = path.name.lower()
        if not path.is_file() or not ("idx" in name or "ubyte" in name):
            continue
        role = "image" if "image" in name else "label" if "label" in name else None
        if role:
            part = next((PARTS[word] for word in re.split(r"[-_.]", name) if word in PARTS), "")
            found.setdefault((part, role), path)
    return found


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            "the gzipped IDX file is cut short or damaged", where=path, got=error, fix="download it again"
        ) from None
