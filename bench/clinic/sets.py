"""The clinic's sets: small, made or shipped with scikit-learn, always the same rows; and what may be done to them.

    build({"set": "moons", "rows": 40, "noise": 0.2})     # 40 rows to learn from, a fifth of their labels wrong

Everything works offline. MNIST is read from ../shared/data/mnist where it lies there; elsewhere scikit-learn's digits
stand in for it, enlarged to 28 x 28.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pc

MNIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
MNIST_ROWS = 2_000  # a case has to take seconds
Alter = Callable[[pc.Dataset, Any, np.random.Generator], pc.Dataset]


def build(recipe: Mapping[str, Any]) -> pc.Dataset:
    """The set that a recipe names, altered as it says, in the order of `ALTERATIONS`."""
    return _build(json.dumps(recipe, sort_keys=True))


@lru_cache(maxsize=32)
def _build(text: str) -> pc.Dataset:
    recipe = json.loads(text)
    name = recipe.pop("set")
    if name.startswith("published:"):
        import published_sets

        return published_sets.build(name.removeprefix("published:"))
    data = SETS[name]() if name in SETS else pc.load(name)
    random = np.random.default_rng(np.random.Philox(7))
    unknown = set(recipe) - set(ALTERATIONS)
    assert not unknown, f"unknown alterations: {unknown}"
    for key, alter in ALTERATIONS.items():
        if key in recipe:
            data = alter(data, recipe[key], random)
    return data


# -- sets ---------------------------------------------------------------------------------------------------------


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images.astype(np.float32) / 16, found.target.astype(np.int64)


def _digits_image() -> pc.Dataset:
    x, y = _digits()
    return pc.Dataset(x[..., None], y, name="digits-image")


def _digits_rows() -> pc.Dataset:
    """Each image as a sequence of 8 rows of 8 pixels."""
    x, y = _digits()
    return pc.Dataset(x, y, name="digits-rows")


def _mnist() -> pc.Dataset:
    if MNIST.is_dir():
        whole = pc.load(MNIST)
        return pc.Dataset(whole.x[:MNIST_ROWS], whole.y[:MNIST_ROWS], name="mnist")
    x, y = _digits()
    large = np.kron(x, np.ones((1, 3, 3), np.float32))  # [n, 8, 8] -> [n, 24, 24]
    large = np.pad(large, ((0, 0), (2, 2), (2, 2))) * 255
    return pc.Dataset(large[:MNIST_ROWS].astype(np.uint8), y[:MNIST_ROWS], name="mnist")


def mnist_floats(channels: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from 0 to 255 as floats, [n, 28, 28, 1] or [n, 28, 28], and the labels."""
    data = _mnist()
    x = np.asarray(data.x).reshape(len(data), 28, 28).astype(np.float32)
    return (x[..., None] if channels else x), np.asarray(data.y).astype(np.int64)


def _friedman() -> pc.Dataset:
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(600, n_features=8, noise=0.5, random_state=3)
    return pc.Dataset(x, y, name="friedman", task="regression")


def _adding() -> pc.Dataset:
    """Two numbers of a sequence of 12 are marked; the target is their sum (Hochreiter & Schmidhuber 1997)."""
    random = np.random.default_rng(np.random.Philox(11))
    x = np.zeros((800, 12, 2), np.float32)
    x[..., 0] = random.uniform(0, 1, (800, 12))
    places = np.argsort(random.random((800, 12)), axis=1)[:, :2]  # [n, 12] -> [n, 2]
    np.put_along_axis(x[..., 1], places, 1.0, axis=1)
    return pc.Dataset(x, (x[..., 0] * x[..., 1]).sum(1), name="adding", task="regression")


_THINGS = ["film", "book", "meal", "hotel", "song", "phone", "trip", "game", "lamp", "coat"]
_GOOD = ["great", "lovely", "fine", "superb", "charming", "bright", "splendid", "clever"]
_BAD = ["awful", "dull", "poor", "dreadful", "boring", "weak", "clumsy", "dismal"]


def _reviews() -> pc.Dataset:
    """Made sentences with a verdict; "not" turns it round, so that counting words is not enough. No sentence comes
    twice: one that stood in two parts would be leakage indeed."""
    random = np.random.default_rng(np.random.Philox(13))
    verdicts: dict[str, str] = {}
    while len(verdicts) < 600:
        good, negated = bool(random.integers(2)), random.random() < 0.3
        word = random.choice(_GOOD if good != negated else _BAD)
        filler = random.choice(["", "really", "frankly", "i think", "to me"])
        text = f"the {random.choice(_THINGS)} was {filler} {'not ' if negated else ''}{word}".replace("  ", " ")
        verdicts[text] = "good" if good else "bad"
    return pc.Dataset(list(verdicts), np.array(list(verdicts.values()), object), name="reviews")


def _grammar() -> pc.Dataset:
    """A text of made sentences, for language models."""
    random = np.random.default_rng(np.random.Philox(17))
    nouns, verbs = ["cat", "dog", "bird", "fox", "girl", "king"], ["sees", "finds", "likes", "hears", "follows"]
    adjectives = ["", "old ", "small ", "red "]
    pick = lambda words: words[int(random.integers(len(words)))]  # noqa: E731
    phrase = lambda: f"the {pick(adjectives)}{pick(nouns)}"  # noqa: E731
    text = " ".join(f"{phrase()} {pick(verbs)} {phrase()}." for _ in range(700))
    return pc.Dataset(text, name="grammar", task="language")


SETS: dict[str, Callable[[], pc.Dataset]] = {
    "digits-image": _digits_image,
    "digits-rows": _digits_rows,
    "mnist": _mnist,
    "friedman": _friedman,
    "adding": _adding,
    "reviews": _reviews,
    "grammar": _grammar,
}


# -- what may be done to them -------------------------------------------------------------------------------------


def _apart(data: pc.Dataset, shares: tuple[float, float], random: np.random.Generator) -> pc.Dataset:
    """The set with validation and test parts of its own, which later alterations leave as they are."""
    order = random.permutation(len(data))
    v, t = int(len(data) * shares[0]), int(len(data) * shares[1])
    rest = data.take(order[v + t :])
    return replace(rest, validation=data.take(order[:v]), test=data.take(order[v : v + t]))


def _own_parts(data: pc.Dataset, random: np.random.Generator) -> pc.Dataset:
    return data if data.validation is not None else _apart(_coded(data), (0.2, 0.2), random)


def _coded(data: pc.Dataset) -> pc.Dataset:
    """Classes as numbers with names, so that a part may lack some."""
    y = np.asarray(data.y)
    if y.dtype.kind == "f" or data.task in ("regression", "language"):
        return data
    names, codes = np.unique(y.astype(str), return_inverse=True)
    return replace(data, y=codes.astype(np.int64), class_names=tuple(names), task="classification")


def _rows(data: pc.Dataset, n: int, random: np.random.Generator) -> pc.Dataset:
    """Only n rows to learn from."""
    data = _own_parts(data, random)
    return replace(data.take(np.arange(n)), validation=data.validation, test=data.test)


def _noise(data: pc.Dataset, share: float, random: np.random.Generator) -> pc.Dataset:
    """This share of the training labels is another class; numbers get noise of `share` standard deviations."""
    data = _own_parts(data, random)
    y = np.array(data.y)
    if y.dtype.kind == "f":
        return replace(data, y=y + random.normal(0, share * y.std(), y.shape))
    wrong = random.random(len(y)) < share
    classes = len(data.class_names or np.unique(y))
    y[wrong] = (y[wrong] + random.integers(1, classes, wrong.sum())) % classes
    return replace(data, y=y)


def _permuted(data: pc.Dataset, wanted: bool, random: np.random.Generator) -> pc.Dataset:
    """Labels that belong to other rows."""
    return replace(data, y=np.asarray(data.y)[random.permutation(len(data))]) if wanted else data


def _scale(data: pc.Dataset, factor: Any, random: np.random.Generator) -> pc.Dataset:
    """Features times a number, or times one of these numbers each in turn."""

    def scaled(part: pc.Dataset | None) -> pc.Dataset | None:
        if part is None:
            return None
        x = np.asarray(part.x, np.float64)
        return replace(part, x=x * np.resize(np.asarray(factor, np.float64), x.shape[-1]))

    found = scaled(replace(data, validation=scaled(data.validation), test=scaled(data.test)))
    assert found is not None
    return found


def _shift(data: pc.Dataset, by: float, random: np.random.Generator) -> pc.Dataset:
    return replace(data, x=np.asarray(data.x, np.float64) + by)


def _target_scale(data: pc.Dataset, numbers: tuple[float, float], random: np.random.Generator) -> pc.Dataset:
    """y times a number plus a number."""
    return replace(data, y=np.asarray(data.y, np.float64) * numbers[0] + numbers[1])


def _imbalance(data: pc.Dataset, share: float, random: np.random.Generator) -> pc.Dataset:
    """Of the training rows of every class but the most common one, only this share is left (two rows at least)."""
    data = _own_parts(data, random)
    y = np.asarray(data.y)
    common = np.bincount(y).argmax()
    kept = [np.flatnonzero(y == c) for c in np.unique(y)]
    kept = [rows if y[rows[0]] == common else rows[: max(2, round(share * len(rows)))] for rows in kept]
    return replace(data.take(random.permutation(np.concatenate(kept))), validation=data.validation, test=data.test)


def _sorted(data: pc.Dataset, wanted: bool, random: np.random.Generator) -> pc.Dataset:
    """In the order of the target, and split in that order: the last rows validate."""
    data = _coded(data)
    order = np.argsort(np.asarray(data.y), kind="stable")
    cut, last = int(0.7 * len(order)), int(0.85 * len(order))
    held = random.permutation(order[cut:])
    parts = (order[:cut], held[: last - cut], held[last - cut :])
    train, validation, test = (data.take(rows) for rows in parts)
    return replace(train, validation=validation, test=test)


def _leak(data: pc.Dataset, share: float, random: np.random.Generator) -> pc.Dataset:
    """This share of the validation rows is among the training rows as well."""
    data = _own_parts(data, random)
    assert data.validation is not None
    seen = data.validation.take(np.arange(round(share * len(data.validation))))
    both = replace(data, x=np.concatenate([data.x, seen.x]), y=np.concatenate([np.asarray(data.y), np.asarray(seen.y)]))
    return both


def _divided(data: pc.Dataset, by: float, random: np.random.Generator) -> pc.Dataset:
    """Every feature divided by this, whatever was done before."""
    return replace(data, x=(np.asarray(data.x, np.float64) / by).astype(np.float32))


ALTERATIONS: dict[str, Alter] = {
    "divided": _divided,
    "scale": _scale,
    "shift": _shift,
    "target_scale": _target_scale,
    "permuted": _permuted,
    "sorted": _sorted,
    "rows": _rows,
    "noise": _noise,
    "imbalance": _imbalance,
    "leak": _leak,
}
