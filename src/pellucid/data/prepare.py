"""`prepare`: split first, fit the preprocessing on the training rows only, and encode every part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pellucid.data.array_encoder import ArrayEncoder
from pellucid.data.array_stream import stray_gaps
from pellucid.data.arrays import missing
from pellucid.data.dataset import Dataset, is_texts
from pellucid.data.features import Features
from pellucid.data.labels import split_targets
from pellucid.data.lazy import OnDisk, Rows
from pellucid.data.pairs import encode_pairs, prepare_pairs
from pellucid.data.parts import Part, Prepared, check_split, choose_parts
from pellucid.data.sequences import Sequences
from pellucid.data.split import DEFAULT
from pellucid.data.steps import known as known_steps
from pellucid.data.steps import last_steps
from pellucid.data.targets import Targets
from pellucid.data.text import encode_language, prepare_language
from pellucid.errors import DataError, SettingError, nearest

FEW = 64  # rows


def prepare(
    dataset: Dataset,
    *,
    split: tuple[float, float, float] | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    class_weights: str | Mapping[Any, float] | None = None,
    standardize: bool = True,
    context: int | None = None,
    tokens: str | None = None,
    features: Features | None = None,
    targets: Targets | None = None,
) -> Prepared:
    """Split a set and encode it; everything fitted is fitted on the training part alone.

    Rows are shuffled with `seed` and stratified by class; by group or in time order where the set has one. A set's own
    test (or validation) part is used as it is, and the other part drawn from the rest in the proportion of `split`.
    With the default `split`, (0.7, 0.15, 0.15), no part that is drawn holds more than 10,000 rows: more would only cost
    training data. A fraction of 0 leaves that part out. `fold=(k, K)` makes the test part fold k of K, and validation
    from the rest.
    `features` and `targets`, fitted before, are used in place of new ones: to go on training a network on new rows.
    `class_weights` is "balanced" (rows / (classes · rows of the class), King and Zeng 2001) or `{label: weight}`; it
    multiplies into the training part's `weight`, for it changes what is learned, not how it is scored.
    `tokens` is what texts are cut into: "characters", "words", "words:5000" or "bpe:1000"; `context` how many of them
    (or steps of a sequence) an example has at most. The text of a language model is split in order, by default
    (0.9, 0.05, 0.05).

    Raises `DataError` where the targets are missing, of one class, or too few, and `SettingError` for a bad split.

    >>> from pellucid.data.load import load
    >>> p = prepare(load("iris"))
    >>> len(p.train), len(p.validation), len(p.test), p.targets.classes
    (104, 23, 23, ('setosa', 'versicolor', 'virginica'))
    """
    _check_text(dataset, context, tokens)
    if dataset.task in ("language", "pairs"):
        prepare_text = prepare_language if dataset.task == "language" else prepare_pairs
        return prepare_text(
            dataset, split=split, seed=seed, fold=fold, class_weights=class_weights, context=context, tokens=tokens,
            features=features,
        )  # fmt: skip
    data, known, notes = _labelled(dataset)
    place = dataset.source or dataset.name
    split = check_split(split or DEFAULT)
    if len(data) == 1:
        raise DataError("there is one row only", where=place, expected="two or more", got="n_samples = 1")
    fitted = targets
    targets = fitted or Targets.fit(data, where=place)
    classes = _strata(data, targets)
    parts = choose_parts(data, split, seed, fold, classes, notes)
    targets = fitted or Targets.fit(data, parts.train, where=place)
    if features is None:
        features, said = Features.fit(
            data.x, parts.train, names=data.feature_names, standardize=standardize, context=context, tokens=tokens
        )
        notes += said
    notes += _target_notes(targets, data)
    if isinstance(data.x, OnDisk):
        notes += _strays(data.x, features, place)

    def part(rows: np.ndarray, name: str) -> Part | None:
        if not len(rows):
            return None
        return _encode(data, rows, known, features, targets, f"the {name} part of {place}", notes.append)

    train = part(parts.train, "training")
    assert train is not None
    train = replace(train, weight=_class_weighted(train, class_weights, targets))
    own = {} if fold is not None else {"validation": dataset.validation, "test": dataset.test}
    held = {"validation": part(parts.validation, "validation"), "test": part(parts.test, "test")}
    for name, given in own.items():
        if given is not None:
            held[name] = encode(given, features, targets, f"{given.source or place} ({name})", notes.append)
    fingerprint = dataset.fingerprint()
    return Prepared(train, held["validation"], held["test"], features, targets, notes, fingerprint)


def encode(dataset: Dataset, features: Features, targets: Targets, where: str | None = None, say: Any = None) -> Part:
    """Encode a set with preprocessing that was fitted before; rows without a target are left out.

    Raises `DataError` for labels that were not trained, missing columns, and wrong types.
    """
    place = where or dataset.source or dataset.name
    if targets.task == "language":
        return encode_language(dataset, features, place)
    if targets.task == "pairs":
        return encode_pairs(dataset, features, place, say)
    data, known, notes = _labelled(dataset)
    if isinstance(data.x, OnDisk) and len(data) <= FEW:
        data = replace(data, x=data.x[0 : len(data)])  # a few rows of a set on disk: not the place to encode all of it
    x: Any
    if isinstance(data.x, OnDisk):
        x, said = features.on_disk(data.x, place)
        if say is not None:
            for text in said:
                say(text)
    else:
        x = features.transform(data.x, place) if say is None else features.transform_own(data.x, place, say)
    if say is not None and len(known) < len(dataset):
        say(f"{place}: {notes[-1]}")
    weight = None if data.weight is None else data.weight.astype(np.float32)
    return Part(x, targets.encode(_kept_steps(data.x, data.y, features, targets), place), weight, known)


def _check_text(dataset: Dataset, context: int | None, tokens: str | None) -> None:
    """Settings for texts are told, not dropped, where there is none."""
    for name, given, fine, what in (
        ("tokens", tokens, is_texts(dataset.x), "text"),
        ("context", context, is_texts(dataset.x) or isinstance(dataset.x, Sequences), "text and no sequence"),
    ):
        if given is not None and not fine:
            raise SettingError(
                f"the data hold no {what}", where=name, got=given,
                fix=f"leave {name} out, or name the column of text with text=... (--text COLUMN)",
            )  # fmt: skip


def _labelled(dataset: Dataset) -> tuple[Dataset, np.ndarray, list[str]]:
    """The rows that have a target, their numbers, and a note about the others."""
    if dataset.y is None:
        raise DataError(
            "the set has no targets", where=dataset.name, expected="y, a target for each row", got="none",
            fix="name the target column, or give (x, y)",
        )  # fmt: skip
    notes = list(dataset.notes)
    if dataset.each_step:
        gaps: np.ndarray = np.logical_not(known_steps(dataset.y).any(axis=1))
        names = list(dataset.target or ("target",))
    else:
        raw = split_targets(dataset.y, dataset.target)
        gaps, names = np.logical_or.reduce([missing(values) for _, values in raw]), [name for name, _ in raw]
    known = np.flatnonzero(~gaps)
    if not len(known):
        raise DataError(
            "the target is missing in every row",
            where=f"{dataset.source or dataset.name}, {' and '.join(map(repr, names))}",
            expected="a value in some rows",
            got=f"{len(gaps):,} missing",
        )
    if len(known) == len(gaps):
        return dataset, known, notes
    notes.append(f"{int(gaps.sum()):,} of {len(gaps):,} rows have no target and are left out")
    return dataset.take(known), known, notes


def _strata(data: Dataset, targets: Targets) -> np.ndarray | None:
    """The class of each row, by which splits are stratified; None for numbers and for several targets of a row."""
    if targets.loss != "cross_entropy" or targets.each_step:
        return None
    classes = targets.encode(data.y)
    if len(data) < len(targets.classes):
        raise DataError(
            "there are fewer rows than classes",
            where=data.source or data.name,
            expected=f"at least a row for each of the {len(targets.classes)} classes",
            got=f"{len(data)} rows",
        )
    if len(np.unique(classes)) * 2 > len(data) and len(data) > 4:
        raise DataError(
            "there are too few rows for so many classes",
            where=f"{data.source or data.name}, {targets.columns[0].name!r}",
            expected="two rows for each class, or more",
            got=f"{len(data)} rows of {len(targets.classes)} classes",
            fix="is the target a text to be written? then say task='pairs' (--task pairs)"
            if isinstance(targets.classes[0], str)
            else "is the target a number? then say task='regression' (--task regression)",
        )
    return classes


def _encode(data: Dataset, rows: np.ndarray, known: np.ndarray, f: Features, t: Targets, where: str, say: Any) -> Part:
    if isinstance(data.x, OnDisk):
        taken: Any = f.on_disk(data.x, where)[0].take(rows)
        return Part(taken, t.encode(data.y[rows], where), _weights_of(data, rows), _same(known, rows, taken))
    everything = len(rows) == len(data) and bool((rows == np.arange(len(rows))).all())
    raw = data.x if everything else data.x[rows]
    x = f.transform_own(raw, where, say)
    y = t.encode(_kept_steps(raw, data.y if everything else data.y[rows], f, t), where)
    return Part(x, y, _weights_of(data, rows), known[rows])


def _strays(x: OnDisk, features: Features, place: str) -> list[str]:
    """What is to be said of values that are missing outside the training rows, where those had none."""
    if isinstance(x, Rows) and isinstance(features.encoder, ArrayEncoder):
        return stray_gaps(x, features.encoder, f"the held-out parts of {place}")
    return features.on_disk(x, f"the held-out parts of {place}")[1]


def _same(known: np.ndarray, rows: np.ndarray, x: Rows) -> np.ndarray:
    """`known[rows]`, without a second copy of millions of row numbers where they are those of `x`."""
    mine = known[rows]
    return x.index if x.index is not None and np.array_equal(x.index, mine) else mine


def _kept_steps(x: Any, y: Any, features: Features, targets: Targets) -> Any:
    """The targets of those steps that the features keep."""
    if not targets.steps or not isinstance(x, Sequences) or np.ndim(y) != 2:
        return y
    return last_steps(y, x.lengths, features.shape[0])


def _weights_of(data: Dataset, rows: np.ndarray) -> np.ndarray | None:
    return None if data.weight is None else data.weight[rows].astype(np.float32)


def _class_weighted(train: Part, weights: Any, targets: Targets) -> np.ndarray | None:
    if weights is None:
        return train.weight
    if targets.loss != "cross_entropy" or targets.each_step:
        got = "a class at every step" if targets.steps else targets.task
        raise SettingError("class weights need one target of classes for each example", where="class_weights", got=got)
    if isinstance(weights, str):
        if weights != "balanced":
            raise SettingError(
                "unknown class weights", where="class_weights", expected="'balanced' or {label: weight}", got=weights
            )
        counts = np.bincount(train.y, minlength=targets.width)
        table = len(train.y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        table = _weight_table(weights, targets)
    weight = table[train.y].astype(np.float32)
    return weight if train.weight is None else weight * train.weight


def _weight_table(weights: Mapping[Any, float], targets: Targets) -> np.ndarray:
    table = np.ones(targets.width)
    places = {str(label): i for i, label in enumerate(targets.classes)}  # a recipe's keys are text
    for label, weight in weights.items():
        if str(label) not in places:
            raise SettingError(
                f"class_weights names {label!r}, which is no class", where="class_weights",
                fix=nearest(str(label), list(places)),
            )  # fmt: skip
        if not (np.isfinite(weight) and weight >= 0):
            raise SettingError(
                "a class weight must be finite and not negative", where=f"class_weights[{label!r}]", got=weight
            )
        table[places[str(label)]] = weight
    return table


def _target_notes(targets: Targets, data: Dataset) -> list[str]:
    if data.task is not None:
        return []
    notes = []
    for column in targets.columns:
        what = "a number" if column.kind == "number" else f"a class ({len(column.classes)} values)"
        notes.append(f"target {column.name!r} is taken as {what}{' at every step' if targets.steps else ''}")
    return notes
