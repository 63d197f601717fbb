"""What the columns of a table are worth to the network: how much worse it scores when one is shuffled among the rows.

Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019), of the table's own columns: all the numbers that
one column became (one for each level, a flag for gaps) are shuffled together. It tells what this network uses, not what
the world depends on: of two columns that say the same, either may seem worthless.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from pellucid.data.parts import strided
from pellucid.inspection.subject import Subject, rounded

MOST_COLUMNS, SHUFFLES = 30, 5
MOST_SCREENED = 400  # columns; beyond, the first ones
ROWS, LEAST_ROWS = 1_000, 100
WORK = 20_000_000_000  # operations that all shuffles may take


def importance(subject: Subject) -> dict[str, Any] | None:
    """{"metric", "score", "columns": [{"column", "drop", "spread"}], "more": how many are not told}, largest first.

    drop: the mean over `SHUFFLES` shuffles of how much the metric gets worse (the loss rises); spread: its standard
    deviation. With more than `MOST_COLUMNS`, one shuffle of each says which are looked at closely.
    """
    groups = columns_of(subject)
    if groups is None or len(subject.part) < 2 or (subject.metric is None and subject.loss is None):
        return None
    tried = len(groups) if len(groups) > MOST_COLUMNS else 0
    passes = tried + min(len(groups), MOST_COLUMNS) * SHUFFLES
    afford = max(WORK // (subject.operations * passes), LEAST_ROWS)
    rows = strided(len(subject.part), int(min(ROWS, afford)))
    x, worse, base = np.asarray(subject.part.x[rows]), *_scorer(subject, rows)
    generator = np.random.default_rng(0)
    names = list(groups)
    if tried:
        first = {name: worse(_shuffled(x, groups[name], generator)) for name in names}
        names = sorted(names, key=lambda name: -first[name])[:MOST_COLUMNS]
    found = []
    for name in names:
        drops = np.array([worse(_shuffled(x, groups[name], generator)) for _ in range(SHUFFLES)])
        found.append({"column": name, "drop": rounded(drops.mean()), "spread": rounded(drops.std())})
    found.sort(key=lambda one: -one["drop"])
    return {
        "part": subject.name, "rows": len(rows), "shuffles": SHUFFLES, "score": rounded(base),
        "metric": "loss" if subject.metric is None else subject.metric.name, "columns": found,
        "more": len(groups) - len(found),
    }  # fmt: skip


def columns_of(subject: Subject) -> dict[str, list[int]] | None:
    """{column of the data: the encoded features it became}, where examples are rows of columns."""
    features = subject.prepared.features
    encoder: Any = features.encoder
    if len(features.shape) != 1 or features.vocabulary is not None:
        return None
    if hasattr(encoder, "columns"):
        groups, start = {}, 0
        for column in encoder.columns:
            groups[column.name] = list(range(start, start + len(column.outputs)))
            start += len(column.outputs)
        return dict(list(groups.items())[:MOST_SCREENED])
    width = encoder.width
    flags = {feature: width + i for i, feature in enumerate(encoder.flagged)}
    groups = {features.names[i]: [i, flags[i]] if i in flags else [i] for i in range(width)}
    return dict(list(groups.items())[:MOST_SCREENED])


def _shuffled(x: np.ndarray, columns: list[int], generator: np.random.Generator) -> np.ndarray:
    """The rows with these columns taken from other rows."""
    out = x.copy()
    out[:, columns] = x[generator.permutation(len(x))][:, columns]
    return out


def _scorer(subject: Subject, rows: np.ndarray) -> tuple[Callable[[np.ndarray], float], float]:
    """(how much worse than the rows as they are others score, the score of the rows as they are)."""
    y = subject.part.y[rows]
    weight = None if subject.part.weight is None else subject.part.weight[rows]

    def score(x: np.ndarray) -> float:
        if subject.metric is not None:
            return subject.metric(subject.network._forward(x), y, weight)
        assert subject.loss is not None
        raw, true = jnp.asarray(subject.network._forward(x, raw=True)), jnp.asarray(y)
        return float(subject.loss(raw, true, None if weight is None else jnp.asarray(weight)))

    base = score(np.asarray(subject.part.x[rows]))
    sign = 1.0 if subject.metric is not None and subject.metric.higher_is_better else -1.0
    return lambda x: sign * (base - score(x)), base
