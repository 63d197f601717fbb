"""Baselines: what a network has to beat, on the same rows: majority or mean, linear, gradient-boosted trees."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.data.parts import Part, Prepared
from pellucid.threads import one_thread

MOST_ROWS, MOST_ROWS_WIDE, WIDE = 10_000, 5_000, 200
MOST_SCORED = 20_000
CHUNK = 4_096
TREES = 200  # in all: shared out among the classes, for each class needs a tree of its own in each round

# scikit-learn swaps Python's warning filters while it fits, for all threads alike: two at once would mix them up
ONE_AT_A_TIME = threading.Lock()

Predict = Callable[[np.ndarray], np.ndarray]  # [n, d] -> class indices [n], or numbers, 0 and 1 [n, k]


@dataclass(frozen=True)
class Rows:
    """The rows that a baseline learns from: a standardised matrix, targets (`[n]` classes or `[n, k]`), weights."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def baselines(prepared: Prepared, seed: int = 0) -> list[dict[str, Any]]:
    """Scores of simple models from scikit-learn on the same split, as a list of dicts.

    Each has `name` ("majority" or "mean", "linear", "boosted trees"), `metric` ("accuracy" or "r2"), `train` (None
    where its rows have weights), `validation` and `test` (None where there is no such part or nothing could be fitted),
    and `note` (what was left out, or "").
    At most 10,000 training rows are used (5,000 past 200 features); trees only for tables of up to 200 features.
    A text's are what counting foretells: "unigram" and "bigram", scored by the loss (lower is better).
    Targets of several kinds, pairs of texts, and sequences of numbers or tokens have no baseline. It may run in a
    thread: it leaves no global state changed.

    >>> from pellucid.data.load import load
    >>> from pellucid.data.prepare import prepare
    >>> [(b["name"], b["test"] > 0.3) for b in baselines(prepare(load("iris")))]
    [('majority', True), ('linear', True), ('boosted trees', True)]
    """
    if prepared.targets.task == "language":
        return _counted(prepared)
    if prepared.targets.each_step or prepared.features.padded or prepared.features.vocabulary:
        return []
    loss, table = prepared.targets.loss, prepared.train.x.ndim == 2
    if loss == "joint":
        return [_row("majority", prepared, None, "targets of several kinds have no common score")]
    rows, note = _sample(prepared, seed)
    numbers = loss == "mean_squared_error"
    fits: list[tuple[str, Callable[[Rows, int], Predict]]] = [
        ("mean" if numbers else "majority", _constant),
        ("linear", _linear_numbers if numbers else _each_column(_linear_classes)),
    ]
    if table and rows.x.shape[1] <= WIDE:
        fits.append(("boosted trees", _each_column(_trees_numbers if numbers else _trees_classes)))
    found = []
    for name, fit in fits:
        try:
            with ONE_AT_A_TIME:
                found.append(_row(name, prepared, fit(rows, seed), note))
        except Exception as error:  # a baseline is a courtesy: it must never end a run
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            found.append(_row(name, prepared, None, f"could not be fitted: {problem}"))
    return found


def _counted(prepared: Prepared) -> list[dict[str, Any]]:
    from pellucid.data.ngrams import ngram_losses

    def ids(part: Any) -> np.ndarray:  # the windows lie one behind the other
        return np.concatenate([part.x.reshape(-1), part.y[-1, -1:]])

    held = {name: part for name in ("validation", "test") if (part := getattr(prepared, name)) is not None}
    scores = ngram_losses(
        ids(prepared.train), {name: ids(part) for name, part in held.items()}, prepared.features.vocabulary or 0
    )
    return [
        {"name": name, "metric": "loss", "validation": None, "test": None, **found, "note": ""}
        for name, found in scores.items()
    ]


def _row(name: str, prepared: Prepared, predict: Predict | None, note: str) -> dict[str, Any]:
    metric = prepared.targets.metric
    scores: dict[str, float | None] = {"train": None, "validation": None, "test": None}
    for part, rows in (("train", prepared.train), ("validation", prepared.validation), ("test", prepared.test)):
        if predict is not None and rows is not None and (part != "train" or rows.weight is None):
            scores[part] = _score(predict, prepared, rows, metric)
    return {"name": name, "metric": metric, **scores, "note": note}


def _sample(prepared: Prepared, seed: int) -> tuple[Rows, str]:
    part = prepared.train
    width = int(np.prod(part.x.shape[1:]))
    most = MOST_ROWS_WIDE if width > WIDE else MOST_ROWS
    picked, note = np.arange(len(part.x)), ""
    if len(picked) > most:
        chosen = np.random.Generator(np.random.Philox(seed)).choice(len(part.x), most, replace=False)
        picked, note = np.sort(chosen), f"on {most:,} of {len(part.x):,} training rows"
    y = part.y[picked]
    weight = None if part.weight is None else part.weight[picked].astype(np.float64)
    return Rows(_matrix(prepared, part.x[picked]), y, weight), note


def _matrix(prepared: Prepared, x: np.ndarray) -> np.ndarray:
    """Standardised as the network's input layer does it, one row of numbers for each example: [n, ...] -> [n, d]."""
    f = prepared.features
    z = ((x - f.mean) / f.scale).reshape(len(x), -1)
    return z.astype(np.float32) if z.shape[1] > WIDE else z


def _score(predict: Predict, prepared: Prepared, part: Part, metric: str) -> float:
    thin = slice(None, None, -(-len(part.x) // MOST_SCORED))  # every so manieth row of a very long part
    x, y = part.x[thin], part.y[thin]
    guess = np.concatenate([predict(_matrix(prepared, x[i : i + CHUNK])) for i in range(0, len(x), CHUNK)])
    weight = np.ones(len(y)) if part.weight is None else part.weight[thin].astype(np.float64)
    if not weight.any():
        return float("nan")
    if metric == "accuracy":
        right = (guess == y).reshape(len(y), -1).mean(axis=1)
        return float(np.average(right, weights=weight))
    y, guess = y.reshape(len(y), -1).astype(np.float64), guess.reshape(len(y), -1)
    centre = np.average(y, axis=0, weights=weight)
    left = (weight[:, None] * (y - guess) ** 2).sum(axis=0)
    spread = (weight[:, None] * (y - centre) ** 2).sum(axis=0)
    flat = spread <= 1e-12 * (weight[:, None] * y**2).sum(axis=0)  # a constant column: met exactly or not
    return float(np.where(flat, left == 0, 1 - left / np.where(flat, 1, spread)).mean())


def _constant(rows: Rows, seed: int) -> Predict:
    """The commonest class (of each column), or the mean."""
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    if rows.y.ndim == 1:
        guess = np.asarray(np.bincount(rows.y, weight).argmax())
    else:
        guess = np.average(rows.y, axis=0, weights=weight)
        if set(np.unique(rows.y)) <= {0.0, 1.0}:
            guess = (guess > 0.5).astype(np.float64)
    return lambda x: np.broadcast_to(guess, (len(x), *guess.shape))


def _linear_numbers(rows: Rows, seed: int) -> Predict:
    from sklearn.linear_model import Ridge

    predict = _on_one_thread(Ridge(), rows)
    return lambda x: predict(x).reshape(len(x), -1)


def _linear_classes(rows: Rows, seed: int) -> Predict:
    from sklearn.linear_model import LogisticRegression

    # The iterations are never used up at these tolerances, so no convergence warning has to be silenced:
    # silencing would touch the warning filters of every thread.
    tolerance = 1e-2 if rows.x.shape[1] > WIDE else 1e-3
    return _on_one_thread(LogisticRegression(max_iter=5_000, tol=tolerance), rows)


def _trees_classes(rows: Rows, seed: int) -> Predict:
    from sklearn.ensemble import HistGradientBoostingClassifier

    classes = len(np.unique(rows.y))
    rounds = int(np.clip(TREES // (classes if classes > 2 else 1), 5, 100))
    return _trees(HistGradientBoostingClassifier, rounds, rows, seed)


def _trees_numbers(rows: Rows, seed: int) -> Predict:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return _trees(HistGradientBoostingRegressor, 100, rows, seed)


def _trees(model: Any, rounds: int, rows: Rows, seed: int) -> Predict:
    rate = 0.1 if rounds == 100 else 0.2
    return _on_one_thread(model(max_iter=rounds, learning_rate=rate, early_stopping=False, random_state=seed), rows)


def _on_one_thread(model: Any, rows: Rows) -> Predict:
    """A model fitted to the rows, beside a training that has its own threads."""
    with one_thread():
        model.fit(rows.x, rows.y, sample_weight=rows.weight)

    def predict(x: np.ndarray) -> np.ndarray:
        with one_thread():
            return model.predict(x)

    return predict


def _each_column(fit: Callable[[Rows, int], Predict]) -> Callable[[Rows, int], Predict]:
    """A model that knows one target only, fitted for each of several."""

    def fit_all(rows: Rows, seed: int) -> Predict:
        if rows.y.ndim == 1:
            return fit(rows, seed)
        models = []
        for column in rows.y.T:
            one = Rows(rows.x, column, rows.weight)
            models.append(
                fit(one, seed) if np.ptp(column) > 0 else _constant(Rows(rows.x, column[:, None], None), seed)
            )
        return lambda x: np.stack([m(x).reshape(len(x)) for m in models], axis=1)

    return fit_all
