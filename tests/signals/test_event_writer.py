"""Event files: read back by our own reader, and by another implementation of their checksums and framing."""

import math
import struct

import pytest

from pellucid.errors import ResourceError
from pellucid.signals.event_writer import EventWriter, crc32c
from pellucid.signals.events import scalars


def bitwise_crc(data: bytes) -> int:
    """CRC-32C by long division, bit by bit (the definition; no table)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def records(path) -> list[bytes]:
    """The records of a TFRecord file, both checksums of each looked at."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        body = data[at + 12 : at + 12 + length]
        (last,) = struct.unpack_from("<I", data, at + 12 + length)
        for given, what in ((check, data[at : at + 8]), (last, body)):
            crc = bitwise_crc(what)
            assert given == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
        found.append(body)
        at += 16 + length
    return found


def test_what_is_written_is_read_back(tmp_path):
    writer = EventWriter(tmp_path / "logs")
    values = [("loss/train", 0.5), ("gradient/a/b", math.inf), ("tag ü", -1e-30), ("huge", 1e300)]
    writer.scalars(0, values[:1])
    writer.scalars(123_456_789, values)
    writer.scalars(7, [])
    found = list(scalars(writer.path))
    assert [(s.tag, s.step) for s in found] == [("loss/train", 0)] + [(tag, 123_456_789) for tag, _ in values]
    assert [s.value for s in found[1:]] == [0.5, math.inf, pytest.approx(-1e-30), math.inf]
    assert len(records(writer.path)) == 3


def test_a_run_that_goes_on_writes_a_second_file_that_voids_what_follows(tmp_path):
    first, second = EventWriter(tmp_path), EventWriter(tmp_path, from_step=300)
    assert first.path.name < second.path.name and "tfevents" in second.path.name
    start = records(second.path)[1]
    assert start.endswith(b"\x10\xac\x02" + b"\x3a\x02\x08\x01")  # step 300, session_log {status: START}


def test_checksums_are_those_of_the_definition():
    for data in (b"", b"a", bytes(range(256)) * 3):
        assert crc32c(data) == bitwise_crc(data)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        EventWriter(tmp_path / "file" / "logs")
