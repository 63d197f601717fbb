"""Byte pairs: tokens between characters and words, merged from bytes where they often stand side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pellucid.data.tokenizer import Tokenizer
from pellucid.errors import SettingError

BYTES = 256


@dataclass(frozen=True)
class BytePairs(Tokenizer):
    """Byte-level byte pairs (Sennrich et al. 2016, Radford et al. 2019): every text has ids, and comes back exactly.

    `written` is the text of a `tokenizer.json`, as Hugging Face's library writes it; its ids come behind the specials.

    >>> t = BytePairs.fit(["low lower lowest " * 9], size=260)
    >>> len(t.encode("lower low")), t.decode(t.encode("λ low")), t.vocabulary
    (4, 'λ low', 260)
    """

    written: str = ""
    kind: ClassVar[str] = "bpe"

    @classmethod
    def fit(cls, texts: Iterable[str], specials: tuple[str, ...] = (), size: int = 1_000) -> BytePairs:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, pre_tokenizers, trainers

        if size < BYTES + len(specials):
            raise SettingError(
                "the vocabulary is too small for byte pairs", where=f"tokens bpe:{size}",
                expected=f"at least {BYTES + len(specials)}: every byte has an id", got=size, fix="bpe:1000",
            )  # fmt: skip
        made = Library(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
        trainer = trainers.BpeTrainer(
            vocab_size=size - len(specials), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=[], show_progress=False,
        )  # fmt: skip
        made.train_from_iterator((chunk for text in texts for chunk in _chunks(text)), trainer)
        return cls(specials, made.to_str())

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Tokenizer as Library

        return Library.from_str(self.written)

    def learned(self) -> Sequence[bytes]:
        byte = {char: i for i, char in enumerate(_byte_characters())}
        known = sorted(self._library.get_vocab().items(), key=lambda item: item[1])
        return [bytes(byte[c] for c in token) for token, _ in known]

    def encode(self, text: str, where: str = "the text", *, lenient: bool = False) -> np.ndarray:
        found = self._library.encode_batch_fast(list(_chunks(text)), add_special_tokens=False)
        ids = [np.array(piece.ids, np.int32) for piece in found] or [np.empty(0, np.int32)]
        return np.concatenate(ids) + np.int32(len(self.specials))

    def encode_all(self, texts: Sequence[str], where: str = "the text") -> list[np.ndarray]:
        found = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(piece.ids, np.int32) + np.int32(len(self.specials)) for piece in found]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "specials": list(self.specials), "tokenizer": self.written}


def _chunks(text: str, size: int = 65_536) -> Iterator[str]:
    """Text in pieces that encode as the whole does: cut where white space begins with a line's end, for there the
    library cuts words anyway."""
    start = 0
    edge = re.compile(r"(?<=\S)\n")
    while start < len(text):
        found = edge.search(text, start + size)
        end = found.start() if found else len(text)
        yield text[start:end]
        start = end


def _byte_characters() -> list[str]:
    """The printable character that byte-level tokens write for each byte (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(BYTES) if b not in plain]
    return [chr(b) if b in plain else chr(BYTES + others.index(b)) for b in range(BYTES)]
