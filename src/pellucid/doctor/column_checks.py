"""Preflight of a table's columns: those that say nothing, the same as another, which row it is, or the answer."""

import re

import numpy as np

from pellucid.doctor.checks import counted, listed
from pellucid.doctor.data_checks import FEW_ROWS, DataFacts
from pellucid.doctor.finding import Finding, Remedy

FORETELLS = 0.999  # R² or AUC of a single column


def constant_columns(d: DataFacts) -> list[Finding]:
    if d.kind != "columns" or d.train.x.ndim != 2 or len(d.train.x) < 2:
        return []
    flat = np.flatnonzero((d.train.x == d.train.x[:1]).all(axis=0))
    if not len(flat):
        return []
    everything = len(flat) == d.train.x.shape[1]
    names = [d.name(int(i)) for i in flat]
    said = "every input is constant, so the inputs say nothing" if everything else (
        f"{counted(len(flat), 'column')} never {'changes' if len(flat) == 1 else 'change'} in training: {listed(names)}"
    )  # fmt: skip
    return [Finding(
        "constant_columns", "warning" if everything else "note", said, confidence=1.0,
        evidence={"count": len(flat), "columns": names[:50]}, remedies=(Remedy({}, "leave these columns out"),),
    )]  # fmt: skip


def duplicate_columns(d: DataFacts) -> list[Finding]:
    x = d.table
    if x is None or len(x) < FEW_ROWS or x.shape[1] < 2:
        return []
    with np.errstate(all="ignore"):
        centred = x - x.mean(axis=0)
        z = centred / np.sqrt((centred**2).sum(axis=0))
        alike = np.abs(z.T @ z) > 1 - 1e-9
    named = [re.search(r" (missing|unknown)$", d.name(i)) is not None for i in range(x.shape[1])]
    pairs = [
        (int(i), int(j)) for i, j in np.argwhere(np.triu(alike, 1)) if d.apart(i, j) and not (named[i] and named[j])
    ]
    if not pairs:
        return []
    names = [[d.name(i), d.name(j)] for i, j in pairs]
    more = f", and {counted(len(pairs) - 1, 'pair')} more" if len(pairs) > 1 else ""
    return [Finding(
        "duplicate_columns", "note",
        f"{names[0][0]!r} and {names[0][1]!r} say the same but for their scale (correlation ±1){more}",
        evidence={"pairs": names[:50], "count": len(pairs)}, remedies=(Remedy({}, "leave one of each pair out"),),
    )]  # fmt: skip


def id_columns(d: DataFacts) -> list[Finding]:
    """A column that rises by the same amount with every row of the file, or is named an id and never repeats.

    A warning only where it also foretells the target, as a running number does in a sorted file.
    """
    x = d.table
    if x is None or len(x) < FEW_ROWS or x.shape[1] < 2:
        return []
    rows = d.train.rows[: len(x)].astype(np.float64)
    found = [i for i in range(x.shape[1]) if _counts(x[:, i], rows) or _called_id(d.name(i), x[:, i])]
    if not found:
        return []
    telling = [i for i in found if _foretells(d, x[:, i]) > 0.9]
    names = [d.name(i) for i in telling or found]
    tells = "; it foretells the target, for the file is sorted by it" if telling else ""
    return [Finding(
        "id_columns", "warning" if telling else "note",
        f"{listed(names)} {'numbers' if len(names) == 1 else 'number'} the rows{tells}",
        evidence={"columns": names, "foretells": bool(telling)}, confidence=0.85,
        remedies=(Remedy({}, f"leave {listed(names)} out"),),
    )]  # fmt: skip


def _counts(column: np.ndarray, rows: np.ndarray) -> bool:
    order = np.argsort(rows)
    rows, column = rows[order], column[order]
    run, rise = rows[-1] - rows[0], column[-1] - column[0]
    if not run or not rise:
        return False
    return bool(np.abs(column - column[0] - rise / run * (rows - rows[0])).max() < 1e-4 * abs(rise) / run + 1e-6)


def _called_id(name: str, column: np.ndarray) -> bool:
    return bool(re.search(r"(^|[_ .-])(id|uuid|guid|key|index|idx)$", name.strip().lower())) and len(
        np.unique(column)
    ) == len(column)


def target_in_inputs(d: DataFacts) -> list[Finding]:
    """A warning for a copy: R² of 1 with a number, or as many values as classes, each with a class of its own. One
    column that parts two classes by a threshold may be a leak or a good feature: a note."""
    x = d.table
    if x is None or len(x) < FEW_ROWS or x.shape[1] < 2 or len(d.targets) != 1:
        return []
    target, y = d.targets[0], d.train.y[: len(x)].reshape(len(x), -1)[:, 0]
    copies, telling = [], []
    for i in range(x.shape[1]):
        if target.kind == "number":
            (copies if _r2(x[:, i], y) > FORETELLS else []).append(i)
        elif target.kind in ("class", "binary") and 1 < len(np.unique(y)) <= 20:
            if _one_to_one(x[:, i], y):
                copies.append(i)
            elif len(target.classes) == 2 and _auc(x[:, i], y) > FORETELLS:
                telling.append(i)
    if not copies and target.kind == "class":
        copies = _indicators(d, x, y)
    if not copies and not telling:
        return []
    names = [d.name(i) for i in copies or telling]
    what = "is a copy of" if copies else "alone foretells"
    said = f"{listed(names)} {what} the target {target.name!r}"
    if target.kind == "number":
        said += f" (R² {max(_r2(x[:, i], y) for i in copies):.4f} by itself)"
    return [Finding(
        "target_in_inputs", "warning" if copies else "note", said,
        evidence={"columns": names, "copy": bool(copies)}, confidence=0.95 if copies else 0.5,
        remedies=(Remedy({}, f"leave {listed(names)} out, if it is made from the target"),),
    )]  # fmt: skip


def _foretells(d: DataFacts, column: np.ndarray) -> float:
    """How well one column alone gives the target, 0 to 1: R², or the share of rows right by the best cuts."""
    if len(d.targets) != 1 or d.targets[0].kind == "token":
        return 0.0
    y = d.train.y[: len(column)].reshape(len(column), -1)[:, 0]
    if d.targets[0].kind == "number":
        return _r2(column, y)
    changes = int((np.diff(y[np.argsort(column, kind="stable")]) != 0).sum())
    return 1.0 - changes / len(y) if changes < 0.1 * len(y) else 0.0


def _r2(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b.astype(np.float64) - b.mean()
    below = float((a @ a) * (b @ b))
    return float((a @ b) ** 2 / below) if below > 0 else 0.0


def _auc(column: np.ndarray, y: np.ndarray) -> float:
    """The area under the ROC curve of one column, either way round; ties count half."""
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    second = y == y.max()
    n1, n0 = int(second.sum()), int((~second).sum())
    area = (rank[second].sum() - n1 * (n1 + 1) / 2) / max(n1 * n0, 1)
    return float(max(area, 1 - area))


def _one_to_one(column: np.ndarray, y: np.ndarray) -> bool:
    """Whether each class has one value of its own, and each value a class."""
    values = np.unique(column)
    if not 1 < len(values) == len(np.unique(y)) or len(values) > 20:
        return False
    return len(np.unique(np.stack([column, y.astype(np.float64)], axis=1), axis=0)) == len(values)


def _indicators(d: DataFacts, x: np.ndarray, y: np.ndarray) -> list[int]:
    """The columns of 0 and 1 that say which class it is, where there is one for every class (but perhaps the last)."""
    classes = np.unique(y)
    if len(classes) < 3 or len(classes) > 20:
        return []
    hot = [i for i in range(x.shape[1]) if set(np.unique(x[:, i])) == {0.0, 1.0}]
    found = [i for c in classes for i in hot if np.array_equal(x[:, i] == 1, y == c)]
    return found if len(found) >= len(classes) - 1 else []


CHECKS = (constant_columns, duplicate_columns, id_columns, target_in_inputs)
