"""Which rows train, which choose the best epoch, and which give the score: decided before anything is fitted.

Every function takes and returns row numbers. Fractions are of the rows given; `Philox` makes the shuffles the same on
every machine. From simple to complex: `in_time_order`, `shuffled`, `stratified`, `by_group`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pellucid.errors import DataError, SettingError

DEFAULT = (0.70, 0.15, 0.15)
LARGEST = 10_000  # rows that a validation or test part needs at most: accuracy is then within 0.5 % in 95 % of cases


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, in rising order (in time order when there is a time); an empty part has none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    rows: int,
    fractions: tuple[float, float],
    *,
    classes: np.ndarray | None = None,
    group: np.ndarray | None = None,
    time: np.ndarray | None = None,
    seed: int = 0,
) -> Split:
    """Split `rows` rows into train, validation and test, `fractions` being those of validation and test.

    With `time`: oldest rows train, newest test. With `group`: no group is in two parts. Else shuffled, and with
    `classes` stratified: each part has its share of every class, within one row, and a class of three rows or more
    is in each part. Raises `DataError` when there are too few rows or groups.

    >>> s = split_rows(100, (0.2, 0.1), classes=np.arange(100) % 4)
    >>> len(s.train), len(s.validation), len(s.test)
    (70, 20, 10)
    """
    parts = 1 + sum(f > 0 for f in fractions)
    if rows < parts:
        raise DataError(
            "there are too few rows to split",
            where="split",
            expected=f"at least {parts} rows, one for each part",
            got=f"{rows} row{'s' * (rows != 1)} (n_samples = {rows})",
        )
    if time is not None:
        return in_time_order(time, fractions)
    if group is not None:
        return by_group(group, fractions, classes, seed)
    if classes is not None:
        return stratified(classes, fractions, seed)
    return shuffled(rows, fractions, seed)


def in_time_order(time: np.ndarray, fractions: tuple[float, float]) -> Split:
    """The oldest rows train, then come validation and test. Rows of one moment stay together where that is possible."""
    order = np.argsort(time, kind="stable")
    ordered, n = time[order], len(order)
    validation, test = _count(n, fractions[0]), _count(n, fractions[1])
    last = n - test  # where test begins
    if test:
        last = _change_of_moment(ordered, last, 1 + (validation > 0), n - 1)
    first = max(last - validation, 1)  # where validation begins
    if validation:
        first = _change_of_moment(ordered, first, 1, last - 1)
    return Split(order[:first], order[first:last], order[last:])


def shuffled(rows: int, fractions: tuple[float, float], seed: int) -> Split:
    order = generator(seed).permutation(rows)
    test, validation = _count(rows, fractions[1]), _count(rows, fractions[0])
    return _sorted(order[test + validation :], order[test : test + validation], order[:test])


def stratified(classes: np.ndarray, fractions: tuple[float, float], seed: int) -> Split:
    """Each class is shuffled and shared out on its own; a class of one or two rows goes to train first."""
    g = generator(seed)
    parts: tuple[list, list, list] = ([], [], [])
    owed = np.zeros(2)  # what rounding has kept back from each part so far, so that the totals come out right as well
    for label in np.unique(classes):
        mine = g.permutation(np.flatnonzero(classes == label))
        counts = [_share(len(mine), f, i, owed) for i, f in enumerate(fractions)]
        while sum(counts) > max(len(mine) - 1, 0):  # train is never left without
            counts[int(np.argmax(counts))] -= 1
        validation, test = counts
        parts[1].append(mine[:validation])
        parts[2].append(mine[validation : validation + test])
        parts[0].append(mine[validation + test :])
    return _sorted(*(np.concatenate(p) for p in parts))


def by_group(group: np.ndarray, fractions: tuple[float, float], classes: np.ndarray | None, seed: int) -> Split:
    """Whole groups go to the part that is furthest from its share of rows (and of each class)."""
    shares = np.array([1 - sum(fractions), *fractions])
    part = assign_groups(group, shares, classes, seed)
    return Split(*(np.flatnonzero(part == i) for i in range(3)))


def fold_rows(
    rows: int,
    fold: tuple[int, int],
    *,
    classes: np.ndarray | None = None,
    group: np.ndarray | None = None,
    time: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(rest, test) for fold k of K, k from 0: each row is tested in one fold (stratified, or by group).

    With `time` the rows are cut into K + 1 blocks in order; fold k tests block k + 1 and may learn from those before.

    >>> np.concatenate([fold_rows(6, (k, 3))[1] for k in range(3)]).tolist().sort() is None
    True
    """
    k, folds = fold
    if folds < 2 or not 0 <= k < folds:
        raise SettingError("the fold does not exist", where="fold", expected="k from 0 to K - 1, K from 2", got=fold)
    if folds + (time is not None) > rows:
        raise DataError(
            "there are fewer rows than folds",
            where="fold",
            expected=f"at least {folds + (time is not None)} rows",
            got=rows,
        )
    if time is not None:
        blocks = np.array_split(np.argsort(time, kind="stable"), folds + 1)
        return np.concatenate(blocks[: k + 1]), blocks[k + 1]
    if group is not None:
        part = assign_groups(group, np.full(folds, 1 / folds), classes, seed)
    else:
        part = np.empty(rows, dtype=np.int64)
        g, dealt = generator(seed), 0
        labels = np.zeros(rows, dtype=np.int64) if classes is None else classes
        for label in np.unique(labels):  # dealt out like cards, each class going on where the last one stopped
            mine = g.permutation(np.flatnonzero(labels == label))
            part[mine] = (dealt + np.arange(len(mine))) % folds
            dealt += len(mine)
    return np.flatnonzero(part != k), np.flatnonzero(part == k)


def assign_groups(group: np.ndarray, shares: np.ndarray, classes: np.ndarray | None, seed: int) -> np.ndarray:
    """The part `[rows]` of each row: largest groups first, each to where shares come closest to what is due."""
    _, codes = np.unique(group.astype(str) if group.dtype == object else group, return_inverse=True)
    groups = int(codes.max()) + 1
    open_parts = np.flatnonzero(shares > 0)
    if groups < len(open_parts):
        raise DataError(
            "there are fewer groups than parts",
            where="group",
            expected=f"at least {len(open_parts)} groups, for no group may be in two parts",
            got=groups,
        )
    labels = np.zeros(len(codes), np.int64) if classes is None else np.unique(classes, return_inverse=True)[1]
    counts = np.zeros((groups, int(labels.max()) + 1))
    np.add.at(counts, (codes, labels), 1)
    due = shares[open_parts, None] * counts.sum(axis=0)  # [parts, classes]
    have = np.zeros_like(due)
    order = generator(seed).permutation(groups)
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of = np.empty(groups, dtype=np.int64)
    for place, which in enumerate(order):
        cost = (((have + counts[which] - due) ** 2 - (have - due) ** 2) / due).sum(axis=1)
        empty = have.sum(axis=1) == 0
        if groups - place <= empty.sum():  # the last groups go where there is none yet
            cost = np.where(empty, cost, np.inf)
        best = int(np.argmin(cost))
        have[best] += counts[which]
        part_of[which] = open_parts[best]
    return part_of[codes]


def generator(seed: int) -> np.random.Generator:
    """NumPy's Philox generator: the same numbers on every machine."""
    return np.random.Generator(np.random.Philox(seed))


def _count(rows: int, fraction: float) -> int:
    return max(1, round(rows * fraction)) if fraction > 0 else 0


def _share(rows: int, fraction: float, part: int, owed: np.ndarray) -> int:
    """This class's rows for one part: its share rounded up or down, whichever mends the total."""
    if fraction <= 0:
        return 0
    exact = rows * fraction
    count = int(np.floor(exact + np.clip(owed[part], -0.5, 0.5) + 0.5))
    count = int(np.clip(count, np.floor(exact), np.ceil(exact)))
    if rows >= 3:
        count = max(count, 1)
    owed[part] += exact - count
    return count


def _change_of_moment(ordered: np.ndarray, cut: int, lowest: int, highest: int) -> int:
    """The cut, moved to where the moment changes if there is such a place that leaves no part empty."""
    for side in ("right", "left"):
        place = int(np.searchsorted(ordered, ordered[cut - 1], side=side))
        if lowest <= place <= highest:
            return place
    return cut


def _sorted(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Split:
    return Split(np.sort(train), np.sort(validation), np.sort(test))
