"""The parts of a set: which rows go where, and what each part holds once it is encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.data.dataset import Dataset
from pellucid.data.features import Features
from pellucid.data.sequences import Sequences
from pellucid.data.split import DEFAULT, LARGEST, Split, fold_rows, split_rows
from pellucid.data.targets import Targets
from pellucid.errors import SettingError


@dataclass(frozen=True, eq=False)
class Part:
    """Encoded rows, ready for the device: `x` float32 or uint8 `[n, ...]`, `y` int32 `[n]` or float32 `[n, k]`.

    Token ids are whole numbers `[n, steps]`, in `y` too where there is a target for each step; a `y` below 0 does not
    count. Sequences of numbers are float32 `[n, steps, d]`, shorter ones filled up with NaN at the end.
    `weight` (float32 `[n]`, or None where all count the same) and `rows`: which rows of the set, or of its own part.
    `characters`: characters of text for each token of a language model, so that bits per character are
    loss / (ln 2 · characters).
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    rows: np.ndarray
    characters: float | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A set that is split and encoded, with the fitted preprocessing, and what a person should be told."""

    train: Part
    validation: Part | None
    test: Part | None
    features: Features
    targets: Targets
    notes: list[str]
    fingerprint: str


def strided(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, evenly apart.

    >>> strided(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def runs(n: int, most: int) -> np.ndarray:
    """At most `most` of n rows, in 64 runs of neighbours that lie evenly apart: cheap to read of a disk, and a fair
    sample of a set that lies sorted.

    >>> runs(1000, 128).tolist()[:5], len(runs(1000, 128))
    ([0, 1, 16, 17, 32], 128)
    """
    if n <= most:
        return np.arange(n)
    each = max(most // 64, 1)
    starts = np.linspace(0, n - each, most // each).round().astype(np.int64)
    return np.unique((starts[:, None] + np.arange(each)).reshape(-1))


def check_split(split: Any) -> tuple[float, float, float]:
    """Three fractions, or a `SettingError`."""
    split = tuple(split)
    if len(split) != 3 or min(split) < 0 or split[0] <= 0 or abs(sum(split) - 1) > 1e-6:
        raise SettingError(
            "the split is not usable",
            where="split",
            expected="three fractions for train, validation and test that add up to 1, the first above 0",
            got=split,
        )
    return split


def choose_parts(
    data: Dataset, split: tuple[float, float, float], seed: int, fold: Any, classes: np.ndarray | None, notes: list[str]
) -> Split:
    """The rows of each part; a set's own parts stand beside them and leave theirs empty here."""
    if data.group is not None and data.time is not None:
        raise SettingError(
            "a split goes by group or in time order, not both",
            where="group, time",
            fix="leave one out; or say sequences=True (--sequences), if a group's rows are the steps of a sequence",
        )
    by = {"classes": classes, "group": data.group, "time": data.time}
    if fold is not None:
        found = _fold(data, split, seed, fold, by, notes)
    elif data.validation is not None and data.test is not None:
        whole = np.arange(len(data))
        found = Split(whole, whole[:0], whole[:0])
    else:
        found = split_rows(len(data), fractions(data, split), seed=seed, **by)
    return _apart(data, found, notes)


def _fold(
    data: Dataset, split: tuple[float, float, float], seed: int, fold: Any, by: dict[str, Any], notes: list[str]
) -> Split:
    if data.validation is not None or data.test is not None:
        notes.append("with folds the set's own validation and test parts are not used")
    rest, test = fold_rows(len(data), fold, seed=seed, **by)
    shares = (_fraction(len(rest), split, 1, 0, split == DEFAULT), 0.0)
    inner = split_rows(len(rest), shares, seed=seed, **{k: None if v is None else v[rest] for k, v in by.items()})
    return Split(rest[inner.train], rest[inner.validation], test)


def fractions(data: Dataset, split: tuple[float, float, float], rows: int | None = None) -> tuple[float, float]:
    """The shares of validation and test that are drawn from a set, which may bring one of them.

    `rows`: how many examples it makes, where that is not their number in the set.
    """
    rows, cap = len(data) if rows is None else rows, tuple(split) == DEFAULT
    if data.test is not None:
        return _fraction(rows, split, 1, 0, cap), 0.0
    if data.validation is not None:
        return 0.0, _fraction(rows, split, 2, 0, cap)
    most = LARGEST / rows if cap else 1.0
    return min(split[1], most), min(split[2], most)


def _fraction(rows: int, split: tuple[float, float, float], part: int, train: int, cap: bool) -> float:
    fraction = split[part] / (split[part] + split[train])
    return min(fraction, LARGEST / rows) if cap else fraction


def _apart(data: Dataset, found: Split, notes: list[str]) -> Split:
    """Windows of one series overlap: those that reach back into an earlier part are left out of the later one."""
    if not isinstance(data.x, Sequences):
        return found
    apart = data.x.without_overlap(found)
    gone = sum(len(getattr(found, p)) - len(getattr(apart, p)) for p in ("validation", "test"))
    if gone:
        notes.append(f"{gone:,} windows that reach from one part into the next are left out")
    return apart
