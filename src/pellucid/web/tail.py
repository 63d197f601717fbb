"""Reading a log that another process appends to: whole lines only, and from the beginning again where it was rewritten.

A run that is resumed cuts its logs at its last checkpoint and writes on from there. So before new bytes are read, the
last ones that were read must still stand where they stood.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pellucid.files import confined

GUARD = 256  # bytes before the place reached that must still be the same
MOST = 16 << 20  # bytes that are read at once


class Tail:
    """A JSON-lines log. `only`: how the lines begin that are wanted; others are not even parsed."""

    def __init__(self, path: Path, only: bytes = b""):
        self.path, self.only = path, only
        self._seen: tuple[int, int, int] | None = None  # (inode, size, time of change) at the last look
        self._restart()

    def _restart(self) -> None:
        self.offset, self._guard, self.behind = 0, b"", False

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """(whether all that was read before is void, the new lines). A file that is not there, or leads out of its
        folder, has none; a damaged line is passed over."""
        try:
            found = os.stat(self.path)
        except OSError:
            return self._gone()
        now = found.st_ino, found.st_size, found.st_mtime_ns
        if now == self._seen:
            return False, []
        moved = self._seen is not None and self._seen[0] != found.st_ino
        if not confined(self.path, self.path.parent):
            return self._gone()
        try:
            with open(self.path, "rb") as file:
                anew = moved or found.st_size < self.offset or not self._same(file)
                anew = anew and self.offset > 0
                if anew:
                    self._restart()
                file.seek(self.offset)
                block = file.read(MOST)
        except OSError:
            return self._gone()
        end = block.rfind(b"\n") + 1
        self.offset += end
        self._guard = (self._guard + block[:end])[-GUARD:]
        self.behind = end > 0 and self.offset + len(block) - end < found.st_size  # then the rest is read the next time
        if not self.behind:
            self._seen = now
        return anew, self._parsed(block[:end])

    def _gone(self) -> tuple[bool, list[dict[str, Any]]]:
        anew, self._seen = self.offset > 0, None
        self._restart()
        return anew, []

    def _same(self, file: BinaryIO) -> bool:
        file.seek(self.offset - len(self._guard))
        return file.read(len(self._guard)) == self._guard

    def _parsed(self, block: bytes) -> list[dict[str, Any]]:
        lines = []
        for raw in block.splitlines():
            if raw.startswith(self.only):
                with suppress(ValueError, RecursionError):
                    line = json.loads(raw)
                    if isinstance(line, dict):
                        lines.append(line)
        return lines
