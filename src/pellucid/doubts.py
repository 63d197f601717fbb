"""Whether a network is as sure of its wrong answers on the training set as of its right ones: the mark of labels that
are wrong, for an example that is merely hard leaves it unsure.

Confidence tells right from wrong on most sets, with an area under the curve of 0.8 to 0.95 (Hendrycks & Gimpel 2017, "A
baseline for detecting misclassified and out-of-distribution examples"); a label that was exchanged does not make its
example any harder (Northcutt, Jiang & Chuang 2021, "Confident learning").
"""

from typing import Any

import numpy as np

from pellucid.data import Part, Targets
from pellucid.data.parts import strided
from pellucid.network.link import both_classes

ROWS = 2048  # of the training set, evenly spread
SUSPECTS = 10


def few(part: Part) -> Part:
    """The rows that are looked at."""
    if len(part.y) <= ROWS:
        return part
    places = strided(len(part.y), ROWS)
    weight = None if part.weight is None else part.weight[places]
    return Part(part.x[places], part.y[places], weight, part.rows[places])


def applies(targets: Targets) -> bool:
    """Whether there is one class an example to be sure or unsure of."""
    return targets.task == "classification" and len(targets.columns) == 1 and not (targets.steps or targets.tokens)


def doubts(chances: np.ndarray, part: Part) -> dict[str, Any]:
    """chances: of each class [n, classes], or of the second of two [n, 1].

    rows, wrong: how many were looked at, and answered otherwise than labelled.   auroc: the chance that a right answer
    is surer than a wrong one (None where there is none of either).   suspects: rows of the set whose label the network
    is surest against.

    >>> part = Part(np.zeros((4, 1)), np.array([0, 1, 0, 1]), None, np.array([10, 11, 12, 13]))
    >>> doubts(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]), part)["suspects"]
    [12]
    >>> doubts(np.array([[0.9, 0.1]]), Part(np.zeros((1, 1)), np.array([5]), None, np.array([0])))["wrong"]
    1
    """
    chances = np.asarray(chances, np.float64)
    chances = both_classes(chances.reshape(len(chances), -1))
    given = np.asarray(part.y).reshape(-1).astype(np.int64)
    said, sure = chances.argmax(1), chances.max(1)
    wrong = said != given
    known = (given >= 0) & (given < chances.shape[1])  # a label that no output stands for is never answered
    own = np.where(known, chances[np.arange(len(given)), np.where(known, given, 0)], 0.0)
    margin = np.where(wrong, sure - own, -np.inf)
    order = np.argsort(-margin, kind="stable")[: min(SUSPECTS, int(wrong.sum()))]
    return {
        "rows": len(given), "wrong": int(wrong.sum()), "auroc": auroc(sure[~wrong], sure[wrong]),
        "suspects": [int(row) for row in np.asarray(part.rows)[order]],
    }  # fmt: skip


def auroc(high: np.ndarray, low: np.ndarray) -> float | None:
    """The chance that one of `high` is above one of `low`, a tie counting half (Mann & Whitney 1947).

    >>> auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    if not len(high) or not len(low):
        return None
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / len(low))
