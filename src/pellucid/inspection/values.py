"""Predicted numbers beside the true ones, and the residuals: what a regression's R2 is made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.data.parts import strided
from pellucid.inspection.subject import Subject, rounded

MOST_POINTS, MOST_COLUMNS = 400, 4
BINS = 24


@dataclass(frozen=True, eq=False)
class Values:
    """true, said: [n, k] in the targets' own units."""

    true: np.ndarray
    said: np.ndarray


def in_own_units(subject: Subject) -> Values | None:
    if subject.targets.task != "regression" or subject.outputs is None:
        return None
    outputs, y = subject.outputs, subject.y
    if subject.targets.steps:
        real = ~np.isnan(y)
        outputs, y = outputs[real], y[real]
    scale, mean = subject.targets.scale, subject.targets.mean
    said, true = (np.asarray(v, np.float64).reshape(len(y), -1) * scale + mean for v in (outputs, y))
    return Values(true, said) if said.shape == true.shape else None


def values(subject: Subject) -> dict[str, Any] | None:
    """{"columns": [{"name", "true", "predicted" (points, evenly strided), "bias", "spread", "histogram"}]}.

    bias, spread: mean and standard deviation of predicted - true; histogram: its {"edges", "counts"}.
    """
    found = in_own_units(subject)
    if found is None or not len(found.true):
        return None
    picked = strided(len(found.true), MOST_POINTS)
    columns = []
    for i, column in enumerate(subject.targets.columns[:MOST_COLUMNS]):
        rest = found.said[:, i] - found.true[:, i]
        rest = rest[np.isfinite(rest)]
        if not len(rest):
            continue
        counts, edges = np.histogram(rest, bins=min(BINS, max(len(rest) // 4, 3)))
        columns.append({
            "name": column.name, "true": [rounded(v) for v in found.true[picked, i]],
            "predicted": [rounded(v) for v in found.said[picked, i]], "bias": rounded(rest.mean()),
            "spread": rounded(rest.std()),
            "histogram": {"edges": [rounded(v) for v in edges], "counts": counts.tolist()},
        })  # fmt: skip
    return {"part": subject.name, "rows": len(found.true), "columns": columns} if columns else None
