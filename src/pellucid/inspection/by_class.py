"""How good the network is at each class: precision, recall and F1, and how many examples there are (support)."""

from typing import Any

import numpy as np

from pellucid.inspection.classified import classified
from pellucid.inspection.subject import Subject, rounded

MOST_CLASSES = 200


def by_class(subject: Subject) -> dict[str, Any] | None:
    """{"classes": [{"class", "precision", "recall", "f1", "support", "predicted"}]}; of several labels, a row a label.
    Precision is None where a class was never predicted, recall where it never occurs."""
    targets = subject.targets
    if targets.kinds == {"binary"} and subject.outputs is not None:
        said, true = subject.outputs.reshape(subject.y.shape) > 0.5, subject.y > 0.5
        names = [f"{c.name}: {c.classes[-1]}" for c in targets.columns]
        counts = (said & true).sum(0), true.sum(0), said.sum(0)
    else:
        found = classified(subject)
        if found is None:
            return None
        names, n = subject.labels, found.p.shape[1]
        counts = (
            np.bincount(found.y[found.predicted == found.y], minlength=n), np.bincount(found.y, minlength=n),
            np.bincount(found.predicted, minlength=n),
        )  # fmt: skip
    rows = [_row(name, *map(int, one)) for name, *one in zip(names, *counts, strict=True)]
    return {"part": subject.name, "classes": rows[:MOST_CLASSES], "more": max(len(rows) - MOST_CLASSES, 0)}


def _row(name: str, hits: int, support: int, predicted: int) -> dict[str, Any]:
    """F1 = 2 hits / (support + predicted), the harmonic mean of precision and recall.

    >>> row = _row("a", hits=2, support=4, predicted=2)
    >>> row["precision"], row["recall"], row["f1"]
    (1.0, 0.5, 0.6667)
    """
    return {
        "class": name, "precision": rounded(hits / predicted) if predicted else None,
        "recall": rounded(hits / support) if support else None,
        "f1": rounded(2 * hits / (support + predicted)) if support + predicted else None,
        "support": support, "predicted": predicted,
    }  # fmt: skip
