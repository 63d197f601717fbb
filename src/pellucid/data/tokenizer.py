"""Tokenizers: text <-> whole numbers. The whole contract:

    ids = tokenizer.encode(text)          # int32 [n]
    text = tokenizer.decode(ids)          # ends at the end id; padding and begin are nothing
    stream = tokenizer.stream()           # the same, an id at a time, as a network writes them:
    stream.add(id), stream.end()          #     the text that is now complete
    tokenizer.vocabulary, tokenizer.names, tokenizer.to_json()

The first ids are the specials that were asked for, in this order: padding, begin, end, unknown (a padded set has its
padding at 0). The rest is what was learned from the training text. The kinds are in `tokens` and `byte_pairs`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pellucid.errors import DataError

SHOWN = {" ": "␣", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True)
class Tokenizer:
    """What all kinds share; see the top of the file."""

    specials: tuple[str, ...] = ()
    kind: ClassVar[str] = ""

    def encode(self, text: str, where: str = "the text", *, lenient: bool = False) -> np.ndarray:
        """Text as int32 ids. What has no id takes the unknown id; without one it raises a `DataError` that names it, or
        is dropped with a `PellucidWarning` if `lenient`."""
        raise NotImplementedError  # abstract

    def encode_all(self, texts: Sequence[str], where: str = "the text") -> list[np.ndarray]:
        return [self.encode(text, where) for text in texts]

    @cached_property
    def pieces(self) -> Sequence[bytes]:
        """The UTF-8 that each id stands for; nothing for specials but unknown."""
        marks = ["�".encode() if name == "unknown" else b"" for name in self.specials]
        return [*marks, *self.learned()]

    def learned(self) -> Sequence[bytes]:
        """The UTF-8 of the ids behind the specials."""
        raise NotImplementedError  # abstract

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError  # abstract

    def special(self, name: str) -> int | None:
        """The id of "padding", "begin", "end" or "unknown", where there is one."""
        return self.specials.index(name) if name in self.specials else None

    @property
    def vocabulary(self) -> int:
        """How many ids there are, the specials among them."""
        return len(self.pieces)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each id is called where it is shown: white space made visible."""
        shown = (printable(piece.decode("utf-8", "replace")) for piece in self.learned())
        return (*(f"<{name}>" for name in self.specials), *shown)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for, up to the end id; bytes that are no UTF-8 become U+FFFD."""
        stream = self.stream()
        return "".join([stream.add(i) for i in ids] + [stream.end()])

    def stream(self) -> Stream:
        return Stream(self)


class Stream:
    """Decoding one id at a time: a character whose bytes are spread over several tokens waits for its last byte."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer, self.ended, self._begun = tokenizer, False, False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """The text that is complete with this id; nothing after the end id."""
        token = int(token)
        if self.ended:
            return ""
        if not 0 <= token < self.tokenizer.vocabulary:
            raise DataError(
                "there is no such token", where="decode", expected=f"0 to {self.tokenizer.vocabulary - 1}", got=token
            )
        self.ended = token == self.tokenizer.special("end")
        piece = self.tokenizer.pieces[token]
        if piece and not self._begun and self.tokenizer.kind == "words":
            piece = piece.removeprefix(b" ")
        self._begun = self._begun or bool(piece)
        return self._decoder.decode(piece)

    def end(self) -> str:
        """What was left incomplete, as U+FFFD."""
        return self._decoder.decode(b"", True)


def printable(text: str) -> str:
    """Text with its white space and control characters made visible.

    >>> printable(" the"), printable("\\n")
    ('␣the', '\\\\n')
    """
    return "".join(SHOWN.get(c, c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
