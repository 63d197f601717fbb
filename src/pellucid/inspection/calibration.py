"""Whether a network is as often right as it says: reliability bins and the expected calibration error.

Guo et al. 2017: the predictions go into `BINS` bins of equal width by the probability of the predicted class; a bin's
accuracy should be its mean probability. ECE = sum over bins of (its rows / all rows) * |accuracy - mean probability|.
Of several labels, each counts, by the probability of the answer (yes or no) that was given.
"""

from typing import Any

import numpy as np

from pellucid.inspection.classified import classified
from pellucid.inspection.subject import Subject, rounded

BINS = 15


def calibration(subject: Subject) -> dict[str, Any] | None:
    """{"error", "rows", "confidence", "accuracy", "bins": [{"low", "high", "count", "confidence", "accuracy"}]}; None
    where nothing is classified, or the outputs are no probabilities."""
    found = _answers(subject)
    if found is None:
        return None
    confidence, right = found
    known = np.isfinite(confidence)
    confidence, right = confidence[known], right[known]
    if not len(right):
        return None
    bins = reliability(confidence, right)
    return {
        "part": subject.name, "rows": len(right), "error": rounded(expected_error(bins)),
        "confidence": rounded(confidence.mean()), "accuracy": rounded(right.mean()),
        "bins": [{name: rounded(v) if isinstance(v, float) else v for name, v in one.items()} for one in bins],
    }  # fmt: skip


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """The bins, those without a row too (with "confidence" and "accuracy" None). A bin holds low < p <= high.

    >>> found = reliability(np.array([0.6, 0.9, 1.0]), np.array([True, False, True]), bins=2)
    >>> found[1]["count"], round(found[1]["accuracy"], 3), round(found[1]["confidence"], 3)
    (3, 0.667, 0.833)
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    out = []
    for i in range(bins):
        inside = place == i
        count = int(inside.sum())
        out.append({
            "low": i / bins, "high": (i + 1) / bins, "count": count,
            "confidence": float(confidence[inside].mean()) if count else None,
            "accuracy": float(right[inside].mean()) if count else None,
        })  # fmt: skip
    return out


def expected_error(bins: list[dict[str, Any]]) -> float:
    """The expected calibration error of `reliability`'s bins."""
    total = sum(one["count"] for one in bins)
    return sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["count"]) / max(total, 1)


def _answers(subject: Subject) -> tuple[np.ndarray, np.ndarray] | None:
    """([n] the probability of each answer, [n] whether it was right)."""
    targets = subject.targets
    if targets.kinds == {"binary"} and subject.outputs is not None and subject.network.link == "sigmoid":
        p, y = np.asarray(subject.outputs, np.float64).reshape(-1), subject.y.reshape(-1)
        return np.maximum(p, 1 - p), (p > 0.5) == (y > 0.5)
    found = classified(subject)
    if found is None or not found.certain:
        return None
    return found.confidence, found.predicted == found.y
