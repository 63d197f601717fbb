"""Pairs of texts, one to be written from the other: `[source, padded | begin, target, padded]` -> `[target, end]`.

One vocabulary serves both sides. The ids 0 to 3 are padding, begin, end and unknown; in `y` padding is -1: no target.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.dataset import Dataset, is_texts
from pellucid.data.features import Features
from pellucid.data.parts import Part, Prepared, check_split, choose_parts
from pellucid.data.split import DEFAULT
from pellucid.data.targets import TargetColumn, Targets
from pellucid.data.text import is_text_file
from pellucid.data.token_encoder import CONTEXT, PAIRED, TokenEncoder, check_context, pad, texts_of
from pellucid.data.tokens import fit_tokenizer
from pellucid.data.utf8 import utf8
from pellucid.errors import DataError, SettingError

HEADERS = {
    "source", "src", "from", "input", "in", "question", "x", "text", "target", "trg", "tgt", "to", "output", "out",
    "answer", "y", "translation", "reversed", "sorted",
}  # fmt: skip


@dataclass(frozen=True)
class Sides:
    """The ids of both sides of each pair."""

    source: list[np.ndarray]
    target: list[np.ndarray]


def read_pairs(path: Path) -> tuple[list[str], list[str], tuple[str, str], list[str]]:
    """(sources, targets, names of the columns, notes) of a text file with two columns.

    The first line holds names if both are such as source, target, input, output; else it is a pair like the others.
    In a `.tsv` quotes are letters like any other; in a `.txt` a tab stands between source and target.
    """
    text = utf8(path, holds="two columns of text", kind="a table of text (UTF-8)").decode().replace("\r\n", "\n")
    tabs = "\t" in text.split("\n", 1)[0] or is_text_file(path)
    rows = _fields(text, tabs)
    for number, row in rows:
        if len(row) != 2:
            raise DataError(
                "a row does not hold a pair", where=f"{path}, line {number}", expected="two fields, source and target",
                got=f"{len(row)}: {' | '.join(row)[:60]}", fix=_mend(len(row), tabs),
            )  # fmt: skip
    names, notes = ("source", "target"), []
    first = rows[0][1]
    if {name.strip().lower() for name in first} <= HEADERS:
        names, rows = (first[0].strip(), first[1].strip()), rows[1:]
    else:
        notes.append(f"the first line ({first[0][:20]!r}, {first[1][:20]!r}) is taken as a pair, not as column names")
    if not rows:
        raise DataError("the table has a header but no rows", where=path, expected="pairs of texts", got="none")
    return [row[0] for _, row in rows], [row[1] for _, row in rows], names, notes


def _fields(text: str, tabs: bool) -> list[tuple[int, list[str]]]:
    """(line, fields) of each row that is not empty."""
    if tabs:
        return [(number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    reader = csv.reader(io.StringIO(text))
    return [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]


def _mend(fields: int, tabs: bool) -> str:
    if not tabs:
        return "put quotes around fields with a comma, or use tabs"
    return "put a tab between source and target, a pair a line" if fields < 2 else "leave further columns out"


def read_sources(path: Path, column: str | None) -> list[str] | None:
    """The texts from which others are to be written: the lines of a `.txt`, or the first of the one or two columns of a
    table without a header. None where the table has a header (it names `column`), or more columns.

    Where each line of a `.txt` has one tab, the target stands behind it and is not read.
    """
    text = utf8(path, holds="text", kind="a text file (UTF-8), a source a line").decode().replace("\r\n", "\n")
    if is_text_file(path):
        lines = text.removesuffix("\n").split("\n")
        return [line.split("\t")[0] if text.count("\t") == len(lines) else line for line in lines]
    rows = [row for _, row in _fields(text, "\t" in text.split("\n", 1)[0])]
    if column in rows[0] or {len(row) for row in rows} not in ({1}, {2}):
        return None
    named = {name.strip().lower() for name in rows[0]} <= HEADERS
    return [row[0] for row in rows[named:]] or None


def load_pairs(path: Path, name: str, target: Any, text: str | None) -> Dataset | None:
    """Pairs of texts, or with `target=False` their sources, from a text file or a table that may have no header; None
    where it has one that must be read as that of any table."""
    if target is False:
        sources = read_sources(path, text)
        column = None if text is None else (text,)
        return None if sources is None else Dataset(sources, None, name, str(path), feature_names=column)
    if not is_text_file(path) and (text is not None or not _headed(target)):
        return None
    sources, written, (source, goal), notes = read_pairs(path)
    return Dataset(sources, written, name, str(path), feature_names=(source,), target=(goal,), notes=tuple(notes))


def _headed(target: Any) -> bool:
    """Whether the target of pairs is one that a file without column names may have, too."""
    names = target if isinstance(target, list | tuple) else [target]
    return target is None or {str(name).lower() for name in names} <= HEADERS


def prepare_pairs(
    dataset: Dataset, *, split: Any = None, seed: int = 0, fold: Any = None, context: int | None = None,
    tokens: str | None = None, features: Features | None = None, class_weights: Any = None, **others: Any,
) -> Prepared:  # fmt: skip
    """Pairs split at random, with one tokenizer (characters by default) that is fitted on the training part.

    A side of a pair may have `context` tokens (256 by default); longer pairs are left out, and counted.

    >>> pairs = Dataset(["ab", "abc", "b", "ca"], ["ba", "cba", "b", "ac"], task="pairs")
    >>> p = prepare_pairs(pairs, split=(0.5, 0.5, 0))
    >>> p.train.x.shape, p.train.y.shape, p.features.source_steps
    ((2, 7), (2, 4), 3)
    """
    if class_weights is not None:
        raise SettingError("pairs of texts have no classes to weigh", where="class_weights", fix="leave it out")
    place = dataset.source or dataset.name
    notes = list(dataset.notes)
    data, known = _complete(dataset, place, notes)
    if len(data) == 1:
        raise DataError("there is one pair only", where=place, expected="two or more", got="n_samples = 1")
    rows = choose_parts(data, check_split(split or DEFAULT), seed, fold, None, notes)
    own = {} if fold is not None else {"validation": dataset.validation, "test": dataset.test}
    owned = {name: _complete(part, f"{place} ({name})", notes)[0] for name, part in own.items() if part is not None}
    if features is None:
        features = _fit(data, rows.train, owned, context, tokens, notes)
    encoder = _encoder(features, place)
    parts: dict[str, Part | None] = {}
    for name, picked in (("train", rows.train), ("validation", rows.validation), ("test", rows.test)):
        if name in owned:
            parts[name] = _part(owned[name], np.arange(len(owned[name])), encoder, f"{place} ({name})", notes.append)
        elif len(picked):
            where = f"the {'training' if name == 'train' else name} part of {place}"
            parts[name] = _part(data.take(picked), known[picked], encoder, where, notes.append)
    train = parts["train"]
    assert train is not None
    return Prepared(
        train, parts.get("validation"), parts.get("test"), features, _targets(encoder, dataset), notes,
        dataset.fingerprint(),
    )  # fmt: skip


def encode_pairs(dataset: Dataset, features: Features, where: str, say: Callable[[str], None] | None) -> Part:
    """Pairs with a tokenizer that was fitted before."""
    notes: list[str] = []
    data, known = _complete(dataset, where, notes)
    part = _part(data, known, _encoder(features, where), where, notes.append)
    for note in notes:
        if say is not None:
            say(note)
    return part


def _part(data: Dataset, rows: np.ndarray, encoder: TokenEncoder, where: str, say: Callable[[str], None]) -> Part:
    source_steps = encoder.source_steps or 0
    target_steps = encoder.steps - source_steps
    sides = _sides(data, encoder)
    fits = np.array(
        [len(s) <= source_steps and len(t) < target_steps for s, t in zip(sides.source, sides.target, strict=True)]
    )
    if not fits.all():
        say(
            f"{where}: {int((~fits).sum()):,} of {len(fits):,} pairs are left out, for a side is longer than "
            f"{source_steps} (source) or {target_steps - 1} tokens (target)"
        )
    if not fits.any():
        raise DataError("no pair is left", where=where, expected=f"sides of up to {source_steps} tokens", got="longer")
    kept = np.flatnonzero(fits)
    begin, end = (np.array([encoder.tokenizer.special(name)], np.int32) for name in ("begin", "end"))
    source = pad([sides.source[i] for i in kept], source_steps)
    shifted = pad([np.concatenate([begin, sides.target[i]]) for i in kept], target_steps)
    y = pad([np.concatenate([sides.target[i], end]) for i in kept], target_steps, filler=-1)
    weight = None if data.weight is None else data.weight[kept].astype(np.float32)
    x = np.concatenate([source, shifted], axis=1)  # [n, S] and [n, T] -> [n, S + T]
    return Part(x, y, weight, rows[kept])


def _fit(
    data: Dataset, train: np.ndarray, owned: dict[str, Dataset], context: int | None, tokens: str | None,
    notes: list[str],
) -> Features:  # fmt: skip
    """The tokenizer from the pairs that train; the steps from the longest sides of all, which is structure."""
    most = check_context(context) or CONTEXT
    seen = data.take(train)
    texts = [*texts_of(seen.x, None, "training"), *texts_of(seen.y, None, "training")]
    tokenizer = fit_tokenizer(tokens or "characters", texts, PAIRED)
    unfit = TokenEncoder(tokenizer, 0, "pairs", 0)
    found = [_sides(part, unfit) for part in (data, *owned.values())]
    source = min(most, max(len(ids) for sides in found for ids in sides.source))
    target = min(most, max(len(ids) for sides in found for ids in sides.target)) + 1
    column = data.feature_names[0] if data.feature_names else None
    ratio = sum(map(len, texts)) / max(sum(map(len, tokenizer.encode_all(texts))), 1)
    encoder = TokenEncoder(tokenizer, source + target, "pairs", source, column, ratio)
    notes.append(
        f"pairs of {tokens or 'characters'}: {tokenizer.vocabulary:,} different tokens, sources of up to {source}, "
        f"targets of up to {target - 1}"
    )
    return Features(encoder, (encoder.steps,), encoder.dtype, (), "all", np.zeros(()), np.ones(()))


def _sides(data: Dataset, encoder: TokenEncoder) -> Sides:
    both = [encoder.tokenizer.encode_all(texts_of(side, None, data.name)) for side in (data.x, data.y)]
    return Sides(*both)


def _targets(encoder: TokenEncoder, dataset: Dataset) -> Targets:
    name = dataset.target[0] if dataset.target else "target"
    return Targets((TargetColumn(name, "token", 0, encoder.vocabulary),), pairs=True)


def _encoder(features: Features, place: str) -> TokenEncoder:
    encoder = features.encoder
    if not isinstance(encoder, TokenEncoder) or encoder.layout != "pairs":
        raise DataError("the network was not trained on pairs of texts", where=place, got="pairs")
    return encoder


def _complete(dataset: Dataset, place: str, notes: list[str]) -> tuple[Dataset, np.ndarray]:
    """The pairs of which no side is missing or empty, and their numbers."""
    if not is_texts(dataset.x) or dataset.y is None or not is_texts(dataset.y):
        raise DataError(
            "pairs need two columns of text", where=place, expected="a source and a target in each row",
            got="no targets" if dataset.y is None else repr(dataset),
        )  # fmt: skip
    whole = np.array([bool(s and t) for s, t in zip(dataset.x.tolist(), dataset.y.tolist(), strict=True)])
    if not whole.any():
        raise DataError("a side of every pair is empty", where=place, expected="a source and a target in some rows")
    if whole.all():
        return dataset, np.arange(len(whole))
    notes.append(f"{place}: {int((~whole).sum()):,} of {len(whole):,} pairs have an empty side and are left out")
    return dataset.take(np.flatnonzero(whole)), np.flatnonzero(whole)
