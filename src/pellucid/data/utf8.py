"""Text files in: gzipped or not, UTF-8 or UTF-16 with its mark; what is none of these is told with its line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pellucid.errors import DataError

MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
    b"SQLite": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
}


def utf8(
    path: Path,
    *,
    holds: str = "a line of column names, then rows",
    kind: str = "a text table (UTF-8)",
    fix: str = "export the table as CSV",
) -> bytes:
    """The text of a file (gzipped or not) in UTF-8; `DataError` where it is empty, binary, or in another encoding.

    `holds`, `kind` and `fix` are what the errors say of a file that is empty or no text.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError("the gzipped file is cut short or damaged", where=path, got=error) from None
    if not raw.strip():
        raise DataError("the file is empty", where=path, expected=holds, got=f"{len(raw)} bytes")
    _refuse_binary(raw, path, kind, fix)
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return raw.decode("utf-16").encode()
        raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            "the file is not UTF-8 text",
            where=f"{path}, line {raw.count(10, 0, error.start) + 1}, byte {error.start}",
            expected="UTF-8",
            got=f"byte 0x{raw[error.start]:02x}",
            fix="save the file as UTF-8 (in Excel: 'CSV UTF-8')",
        ) from None
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    return raw if b"\n" in raw else raw.replace(b"\r", b"\n")  # the lines of old Macs


def _refuse_binary(raw: bytes, path: Path, expected: str, fix: str) -> None:
    kind = next((what for magic, what in MAGIC.items() if raw.startswith(magic)), None)
    start = raw[:65536]
    controls = sum(start.count(byte) for byte in range(32) if byte not in (9, 10, 12, 13))
    utf16 = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    if kind or (controls > len(start) / 100 and not utf16) or (b"\0" in start and not utf16):
        raise DataError(
            "the file is not text",
            where=path,
            expected=expected,
            got=kind or f"binary data (it begins with {raw[:8].hex(' ')})",
            fix=fix,
        )
