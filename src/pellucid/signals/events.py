"""Scalars from TensorBoard's event files: records of a length and an `Event`, a message of Google's protocol buffers.

    file    = record*;  record = length (u64), its checksum (u32), bytes, their checksum (u32)
    Event   = 1: wall time (f64), 2: step (varint), 3: file version (text), 5: Summary
    Summary = 1: Value*;  Value = 1: tag (text), 2: simple value (f32), 8: tensor
    Tensor  = 1: type (1 float, 2 double), 2: shape, 4: bytes, 5: floats, 6: doubles         (what Keras and TF 2 write)

Everything else in a file (images, histograms, graphs) is passed over. Checksums are not looked at: a length that leads
out of the file ends it, as a record does that a crash cut short.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.errors import DataError


class Scalar(NamedTuple):
    tag: str
    step: int
    value: float


def scalars(path: Path) -> Iterator[Scalar]:
    """Every scalar of a file, in its order."""
    for place, event in enumerate(_records(path)):
        fields = _fields(event)
        if place == 0 and not _parts(fields, 3):
            raise DataError(
                "this is no event file of TensorBoard's", where=path, expected="a first record with its version"
            )
        step = _whole(fields, 2)
        for summary in _parts(fields, 5):
            for raw in _parts(_fields(summary), 1):
                value = _fields(raw)
                number = _number(value)
                if number is not None and (tags := _parts(value, 1)):
                    yield Scalar(tags[0].decode("utf-8", "replace"), step, number)


def _number(value: dict[int, list[Any]]) -> float | None:
    if simple := _parts(value, 2):
        return _one("<f", simple[-1])
    if not (tensors := _parts(value, 8)):
        return None
    tensor = _fields(tensors[-1])
    kind = {1: "<f", 2: "<d"}.get(_whole(tensor, 1))
    raw = next((parts[-1] for at in (4, 5, 6) if (parts := _parts(tensor, at))), b"")
    return None if kind is None else _one(kind, raw)


def _one(kind: str, raw: bytes) -> float | None:
    """The one number that these bytes are; None for several, or none."""
    return struct.unpack(kind, raw)[0] if len(raw) == struct.calcsize(kind) else None


def _parts(fields: dict[int, list[Any]], number: int) -> list[bytes]:
    return [value for value in fields.get(number, ()) if isinstance(value, bytes)]


def _whole(fields: dict[int, list[Any]], number: int) -> int:
    return next((value for value in fields.get(number, ()) if isinstance(value, int)), 0)


def _records(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            length = struct.unpack("<Q", head[:8])[0]
            if length > 1 << 31 or len(data := file.read(length)) < length or len(file.read(4)) < 4:
                return
            yield data


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Field number -> its values: numbers of varints, bytes of all else. What is damaged ends it."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = message[at : at + size], at + size
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            return found
        if at > len(message):
            return found
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    return value, len(message) + 1
