"""Scalars into TensorBoard's event files, in the layout that `signals/events.py` reads and describes.

Each record's length and bytes carry a checksum, which TensorBoard looks at: CRC-32C (Castagnoli 1993), turned by 15
bits and shifted, so that a checksum of data that hold checksums is none by accident (TensorFlow's `crc32c.h`).
"""

import os
import socket
import struct
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from pellucid.files import disk_errors, make_folder

VERSION = b"brain.Event:2"
START = 1  # SessionLog.SessionStatus
_number = count()  # of the files that this process writes


def _table() -> list[int]:
    """CRC-32C of each single byte, the polynomial 0x1EDC6F41 read backwards."""
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return found


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, appendix B.4.

    >>> hex(crc32c(b"123456789")), hex(crc32c(bytes(32)))
    ('0xe3069283', '0x8a9136aa')
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


class EventWriter:
    """A new file `events.out.tfevents...` in `folder`; TensorBoard reads all files of a folder in the order of their
    names. from_step: of a run that goes on; what earlier files say of this step and later ones is void.

    No file stays open between two events: a run may end at any of them without a word.
    """

    def __init__(self, folder: Path, from_step: int | None = None):
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self.path = make_folder(folder) / name
        self._append(_double(1, now) + _bytes(3, VERSION))
        if from_step is not None:
            session = _bytes(7, _whole(1, START))
            self._append(_double(1, now) + _whole(2, from_step) + session)

    def scalars(self, step: int, values: Iterable[tuple[str, float]]) -> None:
        """One event: these (tag, value) pairs after so many updates. They are on disk when this returns."""
        summary = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values)
        if summary:
            self._append(_double(1, time.time()) + _whole(2, step) + _bytes(5, summary))

    def _append(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        record = length + struct.pack("<I", masked(length)) + event + struct.pack("<I", masked(event))
        with disk_errors(self.path), open(self.path, "ab") as file:
            file.write(record)


# -- fields of protocol buffers: a key (number, kind), then the value -------------------------------------------------


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last with the high bit set.

    >>> _varint(300)
    b'\\xac\\x02'
    """
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    """A number beyond float32 is infinite."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _varint(number << 3 | 5) + packed


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
