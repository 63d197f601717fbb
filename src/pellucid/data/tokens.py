"""The kinds of tokens, and the one place that makes them: from simple to complex, characters, words, byte pairs."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pellucid.data.byte_pairs import BytePairs
from pellucid.data.tokenizer import Tokenizer
from pellucid.errors import DataError, PellucidWarning, SettingError, nearest

SIZES = {"characters": None, "words": 10_000, "bpe": 1_000}  # of the vocabulary, where the text names none


@dataclass(frozen=True)
class Characters(Tokenizer):
    """One id for each character (Unicode code point), in the order of their code points.

    >>> t = Characters.fit(["hello"])
    >>> t.characters, t.encode("hole").tolist(), t.decode([1, 0])
    ('ehlo', [1, 3, 2, 0], 'he')
    """

    characters: str = ""
    kind: ClassVar[str] = "characters"

    @classmethod
    def fit(cls, texts: Iterable[str], specials: tuple[str, ...] = ()) -> Characters:
        return cls(specials, "".join(sorted(set().union(*map(set, texts)))))

    def learned(self) -> Sequence[bytes]:
        return [c.encode("utf-8", "replace") for c in self.characters]

    @cached_property
    def _table(self) -> np.ndarray:
        """The id of each code point, -1 for those that have none; the last entry stands for all beyond."""
        points = _code_points(self.characters)
        table = np.full(int(points.max(initial=0)) + 2, -1, np.int32)
        table[points] = np.arange(len(points)) + len(self.specials)
        return table

    def encode(self, text: str, where: str = "the text", *, lenient: bool = False) -> np.ndarray:
        ids = self._table[np.minimum(_code_points(text), len(self._table) - 1)]
        unseen = ids < 0
        if not unseen.any():
            return ids
        if (unknown := self.special("unknown")) is not None:
            return np.where(unseen, np.int32(unknown), ids)
        place = int(unseen.argmax())
        if not lenient:
            raise DataError(
                f"the character {text[place]!r} did not occur in training",
                where=f"{where}, line {text.count(chr(10), 0, place) + 1}, character {place + 1:,}",
                expected=f"one of the {len(self.characters)} characters of training"
                + (f": {self.characters!r}" if len(self.characters) <= 80 else ""),
                got=", ".join(repr(c) for c in sorted(set(np.array(list(text))[unseen].tolist()))[:8]),
                fix="leave it out or write it otherwise; byte pairs (--tokens bpe:1000) know every character",
            )
        warnings.warn(
            f"{where}: {int(unseen.sum()):,} characters that did not occur in training are dropped, such as "
            f"{text[place]!r}", PellucidWarning, stacklevel=2,
        )  # fmt: skip
        return ids[~unseen]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "specials": list(self.specials), "characters": self.characters}


@dataclass(frozen=True)
class Words(Tokenizer):
    """One id for each of the commonest words, in lower case; punctuation marks are words of their own.

    Of more than 1,000 different words, those that occur once share the unknown id. Decoding puts spaces between words,
    so that white space and capitals are lost.

    >>> t = Words.fit(["A good film, a good one."], ("padding", "unknown"))
    >>> t.words, t.encode("Good films.").tolist(), t.decode(t.encode("a good one."))
    (('a', 'good', ',', '.', 'film', 'one'), [3, 1, 5], 'a good one.')
    """

    words: tuple[str, ...] = ()
    kind: ClassVar[str] = "words"

    @classmethod
    def fit(cls, texts: Iterable[str], specials: tuple[str, ...] = ("unknown",), size: int | None = None) -> Words:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split_words(text))
        least = 2 if len(counts) > 1_000 else 1
        ranked = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
        return cls(specials, tuple(ranked[: (size or 10_000) - len(specials)]))

    def learned(self) -> Sequence[bytes]:
        return [(word if word in ".,;:!?)]}" else f" {word}").encode("utf-8", "replace") for word in self.words]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*(f"<{name}>" for name in self.specials), *self.words)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, len(self.specials))}

    def encode(self, text: str, where: str = "the text", *, lenient: bool = False) -> np.ndarray:
        unknown = self.special("unknown")
        found = [self._places.get(word, unknown) for word in split_words(text)]
        if None in found and not lenient:
            word = split_words(text)[found.index(None)]
            raise DataError(f"the word {word!r} did not occur in training", where=where, fix="leave it out")
        return np.array([i for i in found if i is not None], np.int32)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "specials": list(self.specials), "words": list(self.words)}


def fit_tokenizer(tokens: str, texts: Iterable[str], specials: tuple[str, ...] = ()) -> Tokenizer:
    """A tokenizer for these texts, of the kind that `tokens` names: "characters", "words", "words:5000", "bpe:1000"."""
    kind, size = parse(tokens)
    if kind == "characters":
        return Characters.fit(texts, specials)
    return (Words if kind == "words" else BytePairs).fit(texts, specials, size or int(SIZES[kind] or 0))


def parse(tokens: str) -> tuple[str, int | None]:
    """The kind of tokens, and the size of the vocabulary if one is named.

    >>> parse("bpe:2000"), parse("characters")
    (('bpe', 2000), ('characters', None))
    """
    kind, colon, size = tokens.strip().partition(":")
    if kind not in SIZES:
        raise SettingError(f"unknown kind of tokens {kind!r}", where="tokens", fix=nearest(kind, SIZES))
    if not colon:
        return kind, None
    if kind == "characters" or not size.strip().isdecimal() or int(size) < 10:
        raise SettingError(
            "this is no size of a vocabulary", where="tokens", got=tokens,
            expected="characters alone" if kind == "characters" else f"a whole number, such as {kind}:{SIZES[kind]}",
        )  # fmt: skip
    return kind, int(size)


def tokenizer_from_json(data: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` wrote, exactly."""
    specials = tuple(data["specials"])
    if data["kind"] == "characters":
        return Characters(specials, data["characters"])
    if data["kind"] == "words":
        return Words(specials, tuple(data["words"]))
    return BytePairs(specials, data["tokenizer"])


def split_words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
