"""Arrays that lie in a file, opened as memory maps: `.npy` files, and what `np.savez` stored within an `.npz`."""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import DataError


def map_of(array: Any) -> np.memmap | None:
    """The memory map that an array is a view of, or None where it lies in memory.

    >>> map_of(np.zeros((2, 3)))[:1] if map_of(np.zeros((2, 3))) is not None else "in memory"
    'in memory'
    """
    found = None
    while isinstance(array, np.ndarray):
        found = array if isinstance(array, np.memmap) else found  # the last one is the map itself, not a part of it
        array = array.base
    return found if isinstance(array, mmap.mmap) else None


def place_of(array: np.ndarray) -> tuple[str, int] | None:
    """(file, offset of the first byte) of an array whose rows lie one behind the other in a file; else None."""
    found = map_of(array)
    if found is None or found.filename is None or found.mode == "c" or not array.flags.c_contiguous:
        return None
    address = array.__array_interface__["data"][0] - found.__array_interface__["data"][0]
    return str(found.filename), int(found.offset) + int(address)


def release(array: Any) -> None:
    """Let the system take back the pages of a map; what was written to it stays written."""
    found = map_of(array)
    if found is not None and found.mode != "c" and hasattr(mmap.mmap, "madvise"):
        found._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def open_npy(path: Path) -> np.ndarray:
    """A `.npy` file as a memory map that cannot be written to.

    Raises `DataError` for what is no such file, is cut off, or holds Python objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file)
            expected = file.tell() + int(np.prod(shape)) * dtype.itemsize
    except (OSError, EOFError, ValueError):
        return DataError(
            "this is no .npy file", where=path, expected="what np.save writes", got=str(error).splitlines()[0],
            fix="save it again: np.save(path, array)",
        )  # fmt: skip
    if dtype.hasobject:
        return DataError(
            "the .npy file holds Python objects, which could run code when opened", where=path,
            expected="an array of numbers or text", got="an object array", fix="save it with a plain dtype",
        )  # fmt: skip
    return DataError(
        "the .npy file is cut off", where=path, expected=f"{expected:,} bytes, for {dtype} of shape {tuple(shape)}",
        got=f"{size:,} bytes", fix="copy or write it again",
    )  # fmt: skip


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran's order, type) of the array that begins where `file` stands."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def open_stored(path: Path, member: str) -> np.ndarray | None:
    """An array within an `.npz` as a memory map; None where it is compressed, for then it must be unpacked.

    `np.savez` stores arrays as they are, `np.savez_compressed` does not.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member + ".npy")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        return None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
        name, extra = struct.unpack("<HH", local[26:30])
        begin = info.header_offset + 30 + name + extra
        file.seek(begin)
        shape, fortran, dtype = _header(file)
        offset = file.tell()
        file.seek(0, os.SEEK_END)
        if dtype.hasobject or offset + int(np.prod(shape)) * dtype.itemsize > file.tell():
            return None  # the ordinary way of reading tells what is wrong
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
