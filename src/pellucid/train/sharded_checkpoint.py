"""The last complete state of a run on a mesh: each process writes what it holds, and an index makes them a set.

checkpoint/index.json                        what there is: the set's folder, shapes, and where each piece lies
checkpoint/set-<step>-<epoch>/part-0-of-2.safetensors    the pieces that process 0 holds; one file for each process

The index is replaced, atomically, when every process has written its file, and only then is the set before it taken
away: whenever the run ends, the index names a whole set. Pieces know their place in the whole array, so that a set can
be read on another number of devices or processes, on a single device too; each process reads what its devices need.
All processes must see the same folder.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from pellucid import files
from pellucid.errors import RunError
from pellucid.train import checkpoint, hosts

FORMAT = 1
INDEX = "index.json"
Box = tuple[tuple[int, int], ...]  # where a piece begins and ends on each axis


def write(folder: Path, arrays: dict[str, Any], plain: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`; all processes together. arrays: on the mesh, or NumPy arrays that all hold.
    plain: JSON values, of which the first process's are kept."""
    name = f"set-{plain['loop']['step']}-{plain['loop']['epoch']}"
    count, own = hosts.count(), jax.process_index()
    laid = {path: _layout(a) for path, a in arrays.items()}
    if hosts.is_first():
        files.make_folder(folder / name)
    hosts.wait("the checkpoint's folder is there")
    pieces = {
        _piece(path, box): np.array(_take(arrays[path], box), order="C")
        for path, boxes in laid.items()
        for box, owner in boxes.items()
        if owner == own
    }
    file = folder / name / _part(own, count)
    if not file.parent.is_dir():
        raise RunError(
            "the processes do not share the run's folder", where=file.parent,
            fix="--out (or --resume) with a folder that every host has mounted at the same place",
        )  # fmt: skip
    files.write_bytes(file, save_tensors(pieces))
    hosts.wait("the checkpoint's parts are written")
    if hosts.is_first():
        _commit(folder, name, arrays, laid, count, plain)
    hosts.wait("the checkpoint is whole")


def _commit(folder: Path, name: str, arrays: Any, laid: Any, count: int, plain: dict[str, Any]) -> None:
    missing = [part for i in range(count) if not (part := folder / name / _part(i, count)).is_file()]
    if missing:
        raise RunError(
            "a process has written its part of the checkpoint elsewhere", where=missing[0],
            fix="--out (or --resume) with a folder that every host has mounted at the same place",
        )  # fmt: skip
    index = {
        "format": FORMAT, "set": name, "parts": count, "pellucid": plain,
        "arrays": {
            path: {
                "shape": list(arrays[path].shape), "dtype": str(np.dtype(arrays[path].dtype)),
                "pieces": [{"part": owner, "box": [list(axis) for axis in box]} for box, owner in boxes.items()],
            }
            for path, boxes in laid.items()
        },
    }  # fmt: skip
    files.write_json(folder / INDEX, index, indent=None)
    (folder / checkpoint.STATE).unlink(missing_ok=True)
    _clear(folder, keep=name)


def _clear(folder: Path, keep: str | None = None) -> None:
    for old in folder.glob("set-*"):
        if old.name != keep:
            shutil.rmtree(old, ignore_errors=True)


def discard(folder: Path) -> None:
    """Take a set away, where a run goes on on one device and has written a checkpoint of its own."""
    (folder / INDEX).unlink(missing_ok=True)
    _clear(folder)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(arrays, plain values) of the last checkpoint, of whichever kind; None where there is none. Arrays of a set are
    `Stored`: what is asked of them is read."""
    alone = checkpoint.read(folder)
    if not (folder / INDEX).is_file():
        return alone
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise RunError(
                "the checkpoint was written by another version of Pellucid", where=folder / INDEX,
                expected=f"format {FORMAT}", got=f"format {index['format']}",
            )  # fmt: skip
        plain, where, count = index["pellucid"], folder / index["set"], index["parts"]
        arrays = {path: Stored(where, count, path, entry) for path, entry in index["arrays"].items()}
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            "the checkpoint cannot be read", where=folder / INDEX, got=error, fix="train again from the recipe"
        ) from error
    if alone is not None and _age(alone[1]) >= _age(plain):  # killed between writing the one and dropping the other
        return alone
    return arrays, plain


def _age(plain: dict[str, Any]) -> tuple[int, int]:
    return plain["loop"]["step"], plain["loop"]["epoch"]


class Stored:
    """An array of a set, read piece by piece as it is asked for."""

    def __init__(self, where: Path, count: int, path: str, entry: dict[str, Any]):
        self.where, self.count, self.path = where, count, path
        self.shape, self.dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
        self.pieces: list[tuple[int, Box]] = [
            (piece["part"], tuple((int(a), int(b)) for a, b in piece["box"])) for piece in entry["pieces"]
        ]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[tuple(slice(0, size) for size in self.shape)]
        return found if dtype is None else found.astype(dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        wanted = _box(index, self.shape)
        out, filled = np.empty([b - a for a, b in wanted], self.dtype), 0
        for part, box in self.pieces:
            common = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(wanted, box, strict=True))
            if all(a < b for a, b in common):
                piece = self._read(
                    part, box, tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(common, box, strict=True))
                )
                out[tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(common, wanted, strict=True))] = piece
                filled += piece.size
        if filled != out.size:
            raise RunError("the checkpoint lacks a piece", where=self.where, got=f"{self.path} {list(wanted)}")
        return out

    def _read(self, part: int, box: Box, inside: tuple[slice, ...]) -> np.ndarray:
        file = self.where / _part(part, self.count)
        try:
            with safe_open(file, framework="numpy") as opened:
                name = _piece(self.path, box)
                return opened.get_slice(name)[inside] if inside else opened.get_tensor(name)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise RunError(
                "the checkpoint cannot be read", where=file, got=error, fix="train again from the recipe"
            ) from error


def _part(process: int, count: int) -> str:
    return f"part-{process}-of-{count}.safetensors"


def _piece(path: str, box: Box) -> str:
    """A piece's name in its file: the array's own, where it is whole or begins at 0 everywhere."""
    start = ",".join(str(a) for a, _ in box)
    return f"{path}@{start}" if any(a for a, _ in box) else path


def _box(index: Any, shape: tuple[int, ...]) -> Box:
    return tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))


def _layout(a: Any) -> dict[Box, int]:
    """{piece: the process that writes it}; of what several hold, the first device's."""
    if not isinstance(a, jax.Array) or not hasattr(a.sharding, "mesh"):
        return {tuple((0, size) for size in np.shape(a)): 0}
    laid: dict[Box, int] = {}
    for device, index in a.sharding.devices_indices_map(a.shape).items():
        laid.setdefault(_box(index, a.shape), device.process_index)
    return laid


def _take(a: Any, box: Box) -> np.ndarray:
    if isinstance(a, jax.Array):
        for shard in a.addressable_shards:
            if _box(shard.index, a.shape) == box:
                return np.asarray(shard.data)
    return np.asarray(a)
