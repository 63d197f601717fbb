"""What the end of a Parquet file tells: its row groups. Read by hand, for polars tells no more than the columns.

The footer is one struct in Thrift's compact protocol, followed by its length and the letters PAR1
(https://parquet.apache.org/docs/file-format). FileMetaData: 3 num_rows, 4 row_groups; RowGroup: 1 columns,
2 total_byte_size, 3 num_rows.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.errors import DataError

STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)


class Group(NamedTuple):
    """A row group: its first row in the file, how many it has, and their bytes once unpacked."""

    first: int
    rows: int
    bytes: int


def row_groups(path: Path) -> list[Group]:
    """The row groups of a file, in order.

    Raises `DataError` for what is no Parquet file, is cut off, encrypted, or damaged at its end.
    """
    data = _footer(path)
    try:
        top = _Reader(data).struct()
        groups, first = [], 0
        for group in top.get(4, []):
            groups.append(Group(first, int(group[3]), int(group[2])))
            first += int(group[3])
        if first != top[3]:
            raise ValueError(f"{top[3]:,} rows are announced, {first:,} are in its row groups")
    except (IndexError, KeyError, ValueError, TypeError, struct.error, RecursionError) as error:
        raise DataError(
            "the Parquet file is damaged at its end", where=path, expected="a footer that lists the row groups",
            got=str(error) or type(error).__name__, fix="write or copy the file again",
        ) from None  # fmt: skip
    return groups


def _footer(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        begins = file.read(4)
        file.seek(max(size - 8, 0))
        end = file.read(8)
        if begins != b"PAR1":
            got = "an encrypted file" if begins == b"PARE" else f"{size:,} bytes that begin with {begins!r}"
            raise DataError("this is no Parquet file", where=path, expected="a file that begins with PAR1", got=got)
        length = struct.unpack("<I", end[:4])[0] if len(end) == 8 else 0
        if end[4:] != b"PAR1" or length + 12 > size:
            raise DataError(
                "the Parquet file is cut off", where=path, expected="a footer at its end, and the letters PAR1",
                got=f"{size:,} bytes that end with {end[4:]!r}", fix="write or copy the file again",
            )  # fmt: skip
        file.seek(size - 8 - length)
        return file.read(length)


class _Reader:
    """Thrift's compact protocol: structs as {field: value}, lists as lists, the rest as numbers and bytes."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)  # zigzag: 0, -1, 1, -2, ...

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while (head := self.byte()) & 15 != STOP:
            field = field + (head >> 4) if head >> 4 else self.number()
            kind = head & 15
            found[field] = kind == TRUE if kind in (TRUE, FALSE) else self.value(kind)
        return found

    def value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE, BYTE):  # within a list, true and false are a byte each
            return self.byte()
        if kind in (I16, I32, I64):
            return self.number()
        if kind == DOUBLE:
            self.at += 8
            return struct.unpack("<d", self.data[self.at - 8 : self.at])[0]
        if kind == BINARY:
            length = self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (LIST, SET):
            head = self.byte()
            length = self.varint() if head >> 4 == 15 else head >> 4
            return [self.value(head & 15) for _ in range(length)]
        if kind == MAP:
            length = self.varint()
            kinds = self.byte() if length else 0
            return [(self.value(kinds >> 4), self.value(kinds & 15)) for _ in range(length)]
        if kind == STRUCT:
            return self.struct()
        raise ValueError(f"an unknown kind of field, {kind}")
