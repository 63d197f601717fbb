"""A text's fitted encoder: the tokenizer, and how ids are laid out as whole numbers `[n, steps]`.

Three layouts: "windows" of one long text, for language models; texts "padded" with id 0 at the end, for classes and
numbers; "pairs", the source padded, then the target behind the begin id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pellucid.data.dataset import frame_like
from pellucid.data.tokenizer import Tokenizer
from pellucid.data.tokens import fit_tokenizer, tokenizer_from_json
from pellucid.errors import DataError, SettingError, nearest

CONTEXT = 256  # tokens of a text, or of a side of a pair, at most, unless said otherwise
PADDED = ("padding", "unknown")
PAIRED = ("padding", "begin", "end", "unknown")


@dataclass(frozen=True)
class TokenEncoder:
    """`steps`: how many ids an example has; of them, for pairs, `source_steps` are the source's.

    `column`: of a table, the one that holds the text. `characters_per_token` is that of the training text.

    >>> encoder, notes = TokenEncoder.fit(np.array(["so good", "so so", ""], dtype=object), tokens="words")
    >>> encoder.tokenizer.names, encoder.encode(["so bad"], "x").tolist()
    (('<padding>', '<unknown>', 'so', 'good'), [[2, 1]])
    """

    tokenizer: Tokenizer
    steps: int
    layout: str = "padded"
    source_steps: int | None = None
    column: str | None = None
    characters_per_token: float = 1.0
    kind: ClassVar[str] = "tokens"

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocabulary

    @property
    def padded(self) -> bool:
        return self.layout != "windows"

    @property
    def dtype(self) -> str:
        """Windows take the smallest type that holds the ids; padded sets int32."""
        if self.padded:
            return "int32"
        return next((name for name in ("uint8", "uint16") if self.vocabulary <= np.iinfo(name).max + 1), "int32")

    @classmethod
    def fit(
        cls, texts: Any, rows: np.ndarray | None = None, *, column: str | None = None, context: int | None = None,
        tokens: str | None = None,
    ) -> tuple[TokenEncoder, list[str]]:  # fmt: skip
        """For texts that are examples by themselves: tokenizer and number of steps from the rows that train.

        As many steps as 95 % of the texts have tokens, `context` at most (256 by default).
        """
        train = texts_of(texts if rows is None else texts[rows], column, "training")
        empty = sum(not text.strip() for text in train)
        if empty == len(train):
            raise DataError(
                "every text is empty", where=f"column {column!r}" if column else "the texts",
                expected="text in some rows", got=f"{empty:,} empty or missing",
            )  # fmt: skip
        if tokens is None:
            spaces = sum(text.strip().count(" ") for text in train)
            tokens = "words" if spaces >= len(train) - empty else "characters"
        tokenizer = fit_tokenizer(tokens, train, PADDED)
        lengths = np.array([len(ids) for ids in tokenizer.encode_all(train)])
        steps = max(1, min(int(np.ceil(np.percentile(lengths, 95))), check_context(context) or CONTEXT))
        made = cls(tokenizer, steps, column=column, characters_per_token=_ratio(train, lengths))
        long = int((lengths > steps).sum())
        notes = [f"each text becomes {steps} tokens ({tokens}), of {tokenizer.vocabulary:,} different ones"]
        if long:
            notes.append(f"{long:,} of {len(train):,} training texts are longer than {steps} tokens and are cut there")
        if empty:
            notes.append(f"{empty:,} of {len(train):,} training texts are empty: each is one unknown token")
        return made, notes

    def encode(self, x: Any, where: str, say: Callable[[str], None] | None = None) -> np.ndarray:
        """Texts (a list, a table that has the column, or one text) as ids: `[n, steps]`.

        "windows": all windows of the texts in order; a text shorter than one gives `[1, its length]`. "pairs": the
        sources, and a target that has only begun.
        """
        texts = texts_of(x, self.column, where)
        if self.layout == "windows":
            ids = self.tokenizer.encode("\n".join(texts), where).astype(self.dtype)
            if not len(ids):
                raise DataError("the text is empty", where=where, expected="at least one token")
            steps = min(self.steps, len(ids))
            return ids[: len(ids) // steps * steps].reshape(-1, steps)
        unknown = np.array([self.tokenizer.special("unknown")], np.int32)
        ids = [found if len(found) else unknown for found in self.tokenizer.encode_all(texts, where)]
        if self.layout == "padded":
            return pad(ids, self.steps)
        source = self.source_steps or 0
        long = sum(len(found) > source for found in ids)
        if long and say is not None:
            say(f"{where}: {long:,} texts are longer than {source} tokens, the longest of training, and are cut there")
        begun = np.zeros((len(ids), self.steps - source), np.int32)
        begun[:, 0] = self.tokenizer.specials.index("begin")
        return np.concatenate([pad(ids, source), begun], axis=1)  # [n, source] and [n, target] -> [n, steps]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokenizer": self.tokenizer.to_json(),
            "steps": self.steps,
            "layout": self.layout,
            "source_steps": self.source_steps,
            "column": self.column,
            "characters_per_token": self.characters_per_token,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TokenEncoder:
        rest = {k: v for k, v in data.items() if k not in ("kind", "tokenizer")}
        return cls(tokenizer_from_json(data["tokenizer"]), **rest)


def pad(ids: Sequence[np.ndarray], steps: int, filler: int = 0) -> np.ndarray:
    """Ids of different lengths as int32 `[n, steps]`: longer ones cut, shorter ones filled up at the end.

    >>> pad([np.array([5, 6, 7]), np.array([8])], 2).tolist()
    [[5, 6], [8, 0]]
    """
    out = np.full((len(ids), steps), filler, np.int32)
    for row, found in zip(out, ids, strict=True):
        row[: len(found)] = found[:steps]
    return out


def texts_of(x: Any, column: str | None, where: str) -> list[str]:
    """Texts as Python strings, missing ones empty, from a list, an array, one string, or a table that has `column`."""
    if isinstance(x, str):
        return [x]
    if frame_like(x) or isinstance(x, dict):
        x = _column(x, column, where)
    found = x.tolist() if isinstance(x, np.ndarray) else list(x)
    wrong = next((v for v in found if not (v is None or isinstance(v, str))), None)
    if wrong is not None or (isinstance(x, np.ndarray) and x.ndim != 1):
        raise DataError(
            "the network was trained on text", where=where, expected="a list of texts, or a table with such a column",
            got=f"an array of shape {np.shape(x)}" if isinstance(x, np.ndarray) else type(wrong).__name__,
        )  # fmt: skip
    return [v or "" for v in found]


def _column(x: Any, column: str | None, where: str) -> list[str | None]:
    import polars as pl

    from pellucid.data.columns import as_text
    from pellucid.data.frames import as_table

    table = as_table(x, where)
    if column is None and table.width == 1:
        column = table.columns[0]
    if column not in table.columns:
        text = [s.name for s in table.get_columns() if s.dtype == pl.String]
        raise DataError(
            f"column {column!r} is missing" if column else "it is not clear which column holds the text",
            where=where,
            expected=f"the text that was trained on, {column!r}" if column else "a list of texts, or one column",
            got=", ".join(table.columns[:12]),
            fix=nearest(column, table.columns) if column else f"table[{text[0]!r}]" if text else None,
        )
    return as_text(table[column], column, where).to_list()


def check_context(context: int | None) -> int | None:
    """`context`, or a `SettingError` where it is no number of tokens."""
    if context is not None and context < 1:
        raise SettingError("a setting is out of range", where="context", expected="a whole number >= 1", got=context)
    return context


def _ratio(texts: Sequence[str], lengths: np.ndarray) -> float:
    return sum(map(len, texts)) / max(int(lengths.sum()), 1)
