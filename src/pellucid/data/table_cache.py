"""A table in files, encoded once into one array on disk, from which any row is read in one request.

Parquet packs columns together: to read single rows in any order it would have to be unpacked again and again. The
array is named by the files (names, sizes, times of change) and by what was fitted, written beside its place and then
moved there, so that several processes can share it, and removed when the cache is full, the longest unused first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pellucid import files
from pellucid.data.image_cache import BUDGET_GB
from pellucid.data.lazy import Rows
from pellucid.data.lazy_table import LazyTable
from pellucid.data.mapped import release
from pellucid.data.table_encoder import TableEncoder
from pellucid.errors import ResourceError
from pellucid.memory import in_words

FORMAT = 1
GROUP = 128 << 20  # bytes of a row group that are unpacked together
BLOCK = 8 << 20  # bytes that are encoded together


def encoded(table: LazyTable, encoder: TableEncoder, where: str) -> tuple[Rows, list[str]]:
    """The rows of `table` as float32 [n, d] on disk, and what is to be said of values that training did not have.

    Raises `ResourceError` where the disk has no room, `DataError` where a file is damaged.
    """
    folder = files.make_folder(files.cache_folder() / "tables")
    key = _key(table, encoder)
    path = folder / f"{key}.npy"
    shape = (table.starts[-1], len(encoder.names))
    found = _cached(path, shape)
    if found is None:
        with files.disk_errors(path):
            _write(table, encoder, where, path, shape)
        found = _cached(path, shape)
    if found is None:
        raise ResourceError("the encoded rows cannot be read back", where=path, fix="is the disk sound? try again")
    array, notes = found
    return Rows(array, table.index), notes


def _key(table: LazyTable, encoder: TableEncoder) -> str:
    """What the encoded numbers depend on. What gaps are filled with plays no part for columns that have none, so that
    another split, whose medians differ, finds the same file."""
    told: Any = (FORMAT, table.listing, encoder.to_json()["columns"])
    for column in told[-1]:
        if column["name"] in table.whole:
            column.pop("fill", None)
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=20).hexdigest()


def _cached(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray, list[str]] | None:
    try:
        array = np.load(path, mmap_mode="r")
        notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    return (array, notes) if array.shape == shape and array.dtype == np.float32 else None


def _write(table: LazyTable, encoder: TableEncoder, where: str, path: Path, shape: tuple[int, int]) -> None:
    need = shape[0] * shape[1] * 4
    _sweep(path.parent)
    _make_room(path.parent, need)
    _check_space(path.parent, need)
    table.say(f"{in_words(need)} of encoded rows are written once to {path.parent}, where later runs find them")
    temporary = path.parent / f".{os.getpid()}.{threading.get_ident()}.npy"
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is told now, and not by a signal later
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
        said = _fill(table, encoder, where, array)
        array.flush()  # type: ignore[attr-defined]
        del array
        files.write_json(path.with_suffix(".json"), said)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _fill(table: LazyTable, encoder: TableEncoder, where: str, array: np.ndarray) -> list[str]:
    """Encode all rows into `array`; gives what was said, once for each column."""
    places, start = {}, 0
    for column in encoder.columns:
        places[column.name] = (start, column)
        start += len(column.outputs)
    said: dict[str, list[str]] = {}
    for first, frame in table.pieces(list(places), GROUP):
        for series in frame.get_columns():
            place, column = places[series.name]
            width = len(column.outputs)
            step = max(1, BLOCK // (8 * width))
            for begin in range(0, len(series), step):
                values = column.encode(series[begin : begin + step], where, said.setdefault(series.name, []).append)
                array[first + begin : first + begin + len(values), place : place + width] = values
        release(array)
        if table.progress is not None:
            table.progress(first + frame.height, len(array))
    return [texts[0] + (", and so in further rows" if len(texts) > 1 else "") for texts in said.values() if texts]


def _check_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need * 1.02:
        raise ResourceError(
            "the disk has too little room for the encoded rows", where=folder, expected=f"{in_words(need)} free",
            got=in_words(free), fix="free some space, or set XDG_CACHE_HOME to a folder on a larger disk; a folder of "
            "x.npy and y.npy is streamed as it lies and needs none",
        )  # fmt: skip


def _sweep(folder: Path) -> None:
    """Remove what processes that are gone have left half done."""
    for path in folder.glob(".*.npy"):
        number = re.match(r"\.(\d+)\.", path.name)
        if number and int(number[1]) != os.getpid() and not _alive(int(number[1])):
            with suppress(OSError):
                path.unlink()


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _make_room(folder: Path, need: int) -> None:
    budget = float(os.environ.get("PELLUCID_CACHE_GB") or BUDGET_GB) * 1e9
    found = sorted(folder.glob("[!.]*.npy"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in found) + need
    for path in found:
        if total > budget:
            total -= path.stat().st_size
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
