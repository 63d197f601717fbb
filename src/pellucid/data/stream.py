"""Whether a set is read into memory or stays on disk, from which it is then streamed while it is learned from.

It stays on disk where it is told to (`stream=True`, `--stream`), and by itself where its examples, as a network takes
them in, need more than half of the memory that is available. The numbers that come out are the same either way.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from pellucid import memory
from pellucid.data import lazy
from pellucid.data.dataset import Dataset
from pellucid.data.mapped import map_of
from pellucid.errors import SettingError

SHARE = 0.5  # of the available memory, that examples may take


def streamed(data: Dataset, asked: bool | None) -> Dataset:
    """The set with its examples left on disk, where they lie there and `asked` or their size says so.

    Raises `SettingError` where streaming is asked for and the examples lie in memory already.
    """
    if isinstance(data.x, lazy.OnDisk):
        return data
    if not isinstance(data.x, np.ndarray) or (map_of(data.x) is None and not _decoded(data)):
        if asked:
            raise cannot(data)
        return data
    if asked is False:
        return _read(data)
    parts = [part for part in (data, data.validation, data.test) if part is not None]
    size = sum(encoded_bytes(part.x) for part in parts if isinstance(part.x, np.ndarray))
    if not asked and size <= room() and not (_decoded(data) and data.x.nbytes > lazy.LARGEST):
        return _read(data)
    own = {name: _left(part) for name in ("validation", "test") if (part := getattr(data, name)) is not None}
    return replace(_left(data), notes=(*data.notes, said(size)), **own)


def _read(data: Dataset) -> Dataset:
    """The set in memory, where its file was opened by its name; a map that a person opened is theirs."""
    if _decoded(data) or not data.source:
        return data
    own = {name: _read(part) for name in ("validation", "test") if (part := getattr(data, name)) is not None}
    return replace(data, x=np.array(data.x), **own)


def _left(data: Dataset) -> Dataset:
    return replace(data, x=lazy.Rows(data.x)) if isinstance(data.x, np.ndarray) else data


def _decoded(data: Dataset) -> bool:
    """Images in the cache, which may also be arrays in memory where it could not be written."""
    return data.content is not None


def encoded_bytes(x: np.ndarray) -> int:
    """Of an array as a network takes it in: bytes stay bytes, all else becomes float32."""
    return int(np.prod(x.shape, dtype=np.int64)) * (1 if x.dtype == np.uint8 else 4)


def said(size: int) -> str:
    """The one line that a person is told; the same whoever asked for it, so that a resumed run says the same."""
    return (
        f"{memory.in_words(size)} of examples stay on disk and are streamed (--no-stream reads them into memory); the "
        "checks before training, baselines and inspection look at samples of rows"
    )


def cannot(data: Dataset) -> SettingError:
    return SettingError(
        "these data cannot be streamed", where=f"stream, {data.source or data.name}",
        expected="Parquet files, a folder of x.npy and y.npy, an .npz of np.savez, a memory-mapped array "
        "(np.load(path, mmap_mode='r')), or a folder of images", got=repr(data),
        fix="leave stream out, or write them in one of these forms, for instance "
        "polars.scan_csv('data.csv').sink_parquet('data.parquet')",
    )  # fmt: skip


def cannot_because(where: object, what: str) -> SettingError:
    return SettingError(
        f"{what} cannot be streamed", where=f"stream, {where}", expected="a table whose rows are examples",
        fix="leave stream out",
    )  # fmt: skip


def room() -> int:
    """Bytes that examples may take in memory."""
    return int(available() * SHARE)


def available() -> float:
    """Bytes of memory that this process can still have, see `memory.available`; where the system does not tell, half of
    what the machine has (macOS), or else no bound."""
    known = memory.available()
    if known is not None:
        return float(known)
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    return float("inf")
