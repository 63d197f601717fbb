"""Folders of `.npy` files, the parts of one set: x.npy and y.npy, or x_train.npy, y_train.npy, x_test.npy, ..."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pellucid.data.arrays import parts_of
from pellucid.data.mapped import open_npy
from pellucid.errors import DataError


def npy_folder(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a set, {"": {"x", "y", ...}, "test": {...}}: x as a memory map, all else in memory; {} where the
    folder holds no such files. The names are those of the arrays of an `.npz` (`read_npz`).

    Raises `DataError` for files that are cut off or hold Python objects, and where there is no x.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.npy")) if not path.name.startswith(".")}
    if not files:
        return {}
    found = parts_of(files)
    if "" not in found:
        raise DataError(
            "the folder has no features", where=folder, expected="x.npy and y.npy, or x_train.npy and y_train.npy, ...",
            got=", ".join(path.name for path in list(files.values())[:6]), fix="rename the files",
        )  # fmt: skip
    arrays = {part: {field: open_npy(files[key]) for field, key in keys.items()} for part, keys in found.items()}
    return {part: {k: v if k == "x" else np.array(v) for k, v in fields.items()} for part, fields in arrays.items()}
