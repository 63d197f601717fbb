"""The sets of the published programs: made as their texts say, or stand-ins of the same shape, scale and kind.

Capped, so that a case takes seconds: SO-31880720 2,000 of 20,000 rows, SO-33969059 3,000 of 100,000, SO-38648195 3,000
of 60,000, SO-47724077 3,000 of 32,561, SO-56380303 3,000 of 10,000, MF-68321264 and the MNIST programs 600 to 1,500 of
60,000, SO-48594888 400 of 50,000. Stand-ins: a made table of like columns and scales for Titanic, Adult, Pima, cars and
auto-mpg; MNIST (or digits enlarged) for CIFAR-10, Fashion-MNIST and photographs.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

import pellucid as pc

Arrays = tuple[np.ndarray, np.ndarray]
SETS: dict[str, Callable[[np.random.Generator], Arrays]] = {}
LAST = 0.2  # what validates where the program splits: its last rows


def made_for(*ids: str) -> Callable[[Callable[[np.random.Generator], Arrays]], Callable[[np.random.Generator], Arrays]]:
    def put(function: Callable[[np.random.Generator], Arrays]) -> Callable[[np.random.Generator], Arrays]:
        SETS.update(dict.fromkeys(ids, function))
        return function

    return put


def build(id: str) -> pc.Dataset:
    """The set of a case, the last fifth of its rows for validation; of fewer than 20 rows, all of them for both."""
    make = SETS.get(id) or next(f for prefix, f in FAMILIES if id.startswith(prefix))
    x, y = make(np.random.default_rng(np.random.Philox(23)))
    x = np.asarray(x, np.float32)
    if y.dtype.kind == "f":
        whole = pc.Dataset(x, y, name=id, task="regression")
    elif y.ndim > 1:  # several yes-or-no labels
        whole = pc.Dataset(x, y, name=id)
    else:
        names = tuple(str(i) for i in range(int(y.max()) + 1))
        whole = pc.Dataset(x, y, name=id, task="classification", class_names=names)
    if len(x) < 20:
        return replace(whole, validation=whole)
    share = 0.3 if id.startswith(("AT-B", "AT-C", "HEALTHY")) else LAST
    cut = round(len(x) * (1 - share)) if id != "MF-46247619" else 5  # which trains on its first five rows
    return replace(whole.take(np.arange(cut)), validation=whole.take(np.arange(cut, len(x))))


def _table(random: np.random.Generator, rows: int, scales: list[float], offsets: float = 1.0) -> Arrays:
    """Columns of these scales, mostly positive, and a score that some of them foretell, neither linear nor certain."""
    z = random.normal(size=(rows, len(scales)))
    score = z[:, 0] - z[:, 1] * z[:, 2 % len(scales)] + 0.7 * z[:, -1] + random.normal(0, 0.7, rows)
    return np.abs(z + offsets) * np.array(scales), score


@made_for("SO-31627380")
def titanic(random: np.random.Generator) -> Arrays:
    x, score = _table(random, 891, [1, 0.5, 14, 1, 0.8, 50, 1.5, 60, 250, 340])
    return x, (score > 0.4).astype(np.int64)


@made_for("SO-31880720")
def ones_and_zeros(random: np.random.Generator) -> Arrays:
    y = random.permutation(np.repeat([0, 1], 1000))
    return np.repeat(y[:, None], 128, axis=1).astype(np.float32), y


@made_for("SO-33969059")
def large_linear(random: np.random.Generator) -> Arrays:
    x = random.uniform(0, 10_000, (3_000, 3))
    return x, x @ np.array([2, 1, 0.5]) + 2.2


@made_for("SO-34311586")
def xor_of_six(random: np.random.Generator) -> Arrays:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [0, 0]])
    return x, x[:, 0] ^ x[:, 1]


@made_for("SO-38648195")
def word_counts(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import make_multilabel_classification

    x, y = make_multilabel_classification(3_000, n_features=20, n_classes=3, random_state=1)
    return x, y.astype(np.int64)


@made_for("SO-39525358")
def four_rows_of_twenty(random: np.random.Generator) -> Arrays:
    distinct = np.array([[65, 66, 67], [65, 66, 66], [68, 69, 70], [68, 69, 69]])
    pick = random.integers(0, 4, 20)
    return distinct[pick], (pick > 1).astype(np.int64)


@made_for("SO-47724077")
def census(random: np.random.Generator) -> Arrays:
    x, score = _table(random, 3_000, [13, 3, 2e5, 4, 10, 2, 4, 1, 1, 0.5, 7e3, 400, 12, 8])
    return x, (score > 0.8).astype(np.int64)


def _mnist(rows: int) -> Arrays:
    from sets import mnist_floats

    x, y = mnist_floats()
    return x[:rows], y[:rows]


@made_for("SO-48594888")
def coloured(random: np.random.Generator) -> Arrays:
    x, y = _mnist(400)
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))  # [n, 28, 28, 1] -> [n, 32, 32, 1]
    return np.clip(x * random.uniform(0.3, 1, (400, 1, 1, 3)) + random.uniform(0, 60, (400, 1, 1, 3)), 0, 255), y


@made_for("SO-50079585", "MF-68321264")
def three_kinds(random: np.random.Generator) -> Arrays:
    x, y = _mnist(2_000)
    chosen = np.flatnonzero(y < 3)[:500]
    return x[chosen], y[chosen]


@made_for("SO-58609115")
def one_number_of_69_classes(random: np.random.Generator) -> Arrays:
    y = random.integers(0, 69, 2_209)
    return np.sort(random.uniform(1, 1e9, 69))[y][:, None] * random.uniform(0.99, 1.01, (2_209, 1)), y


@made_for("SO-56380303")
def modular_arithmetic(random: np.random.Generator) -> Arrays:
    """The 17 bits that are never 1 would not be taken for labels: the first and the last row have them all."""
    bits = random.integers(0, 2, (3_000, 20))
    number = (bits * 2 ** np.arange(20)).sum(1) % 7
    y = (number[:, None] >> np.arange(20)) & 1
    y[[0, -1]] = 1
    return bits, y


@made_for("GH-kerasma")
def pima(random: np.random.Generator) -> Arrays:
    x, score = _table(random, 768, [3.4, 32, 19, 16, 115, 8, 0.33, 12], offsets=1.5)
    return x, (score > 0.6).astype(np.int64)


@made_for("MF-41999686")
def four_of_283(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import make_classification

    return make_classification(
        1_000, 283, n_informative=4, n_redundant=0, n_classes=4, n_clusters_per_class=1, random_state=1
    )


@made_for("MF-46247619")
def five_rows(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import make_regression

    x, y = make_regression(500, 50, n_informative=10, random_state=1)
    return x[..., None], y


@made_for("MF-46359741")
def two_points(random: np.random.Generator) -> Arrays:
    return np.array([[1.0], [2.0]]), np.array([1, 0])


@made_for("MF-48976413")
def cars(random: np.random.Generator) -> Arrays:
    x, score = _table(random, 963, [1, 1, 1, 1, 1, 1])
    return _unit(x), 15_000 + 6_000 * score


@made_for("MF-52983831")
def parity(random: np.random.Generator) -> Arrays:
    """Eight sequences of eight bits, where the program has one: a set of one row is refused."""
    bits = random.integers(0, 2, (8, 8))
    return bits[..., None], bits.cumsum(1) % 2


@made_for("MF-54811239")
def two_sequences(random: np.random.Generator) -> Arrays:
    x = np.arange(24.0).reshape(2, 3, 4) + 4
    return x, np.array([[7.0, 8.0, 9.0], [10.0, 11.0, 12.0]])


def _regression(targets: int, features: int) -> Callable[[np.random.Generator], Arrays]:
    def make(random: np.random.Generator) -> Arrays:
        from sklearn.datasets import make_regression

        return make_regression(1_000, features, n_informative=5, n_targets=targets, random_state=1)

    return make


made_for("MF-56774954")(_regression(3, 10))
made_for("MF-60766775")(_regression(4, 8))


@made_for("MF-57397440")
def cells(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def _unit(x: np.ndarray) -> np.ndarray:
    return (x - x.min(0)) / (x.max(0) - x.min(0))


def mileage(random: np.random.Generator) -> Arrays:
    """Like auto-mpg: nine columns, three of them 0 or 1, all from 0 to 1; a smooth target from 0 to 1."""
    size = random.normal(size=(392, 1))  # large cars are heavy and strong, and need more
    x = size + 0.5 * random.normal(size=(392, 6))
    kinds = np.eye(3)[random.integers(0, 3, 392)]
    need = 0.5 * x[:, 0] + np.abs(x[:, 1]) - 0.3 * x[:, 2] ** 2 + 0.8 * kinds[:, 0] + random.normal(0, 0.2, 392)
    return np.concatenate([_unit(x), kinds], 1), _unit(-need)


@made_for("TDC-regr-dbl-norm")
def mileage_scaled_twice(random: np.random.Generator) -> Arrays:
    x, y = mileage(random)
    return x / np.array([5, 387, 184, 3527, 16.8, 12, 1, 1, 1]), y


def _small_mnist(divide: float, rows: int = 750) -> Callable[[np.random.Generator], Arrays]:
    def make(random: np.random.Generator) -> Arrays:
        x, y = _mnist(rows)
        return x / divide, y

    return make


made_for("TDC-cnn-no-norm")(_small_mnist(1.0))
made_for("TDC-cnn-dbl-norm")(_small_mnist(255.0**2))


@made_for("TDC-cnn-imbalance")
def few_of_six(random: np.random.Generator) -> Arrays:
    """Classes 0 to 5 cut to 1 to 5 in a hundred of the others; validation is not cut."""
    x, y = _mnist(2_000)
    train, rest = np.arange(1_600), np.arange(1_600, 2_000)
    kept = [rows if c > 5 else rows[: max(2, round(0.01 * max(c, 1) * len(rows)))]
            for c in range(10) for rows in [train[y[train] == c]]]  # fmt: skip
    first = random.permutation(np.concatenate(kept))
    rows = np.concatenate([first, rest[: round(len(first) / 4)]])
    return x[rows] / 255, y[rows]


@made_for("TDC-IPS_12")
def shifted(random: np.random.Generator) -> Arrays:
    y = random.permutation(np.repeat([0, 1], 50))
    x = random.normal(0, 0.1, (100, 14)) + (1 - y)[:, None] * random.integers(-1, 2, (1, 14))
    return x * (random.random((100, 14)) < 1 / 3), y


@made_for("TDC-IPS_15")
def line(random: np.random.Generator) -> Arrays:
    x = np.arange(100.0)
    return np.stack([x, np.ones(100)], 1), 2 * x + 4 + random.uniform(0, 10, 100)


def blobs(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import make_blobs

    x, y = make_blobs(1_000, centers=3, cluster_std=2, random_state=2)
    return x, y


def circles(random: np.random.Generator) -> Arrays:
    from sklearn.datasets import make_circles

    return make_circles(1_000, noise=0.1, random_state=1)


FAMILIES: tuple[tuple[str, Callable[[np.random.Generator], Arrays]], ...] = (
    ("AT-Blob", blobs),
    ("HEALTHY-Blob", blobs),
    ("AT-Circle", circles),
    ("HEALTHY-Circle", circles),
    ("AT-MNIST", _small_mnist(255.0, 1_500)),
    ("TDC-regr", mileage),
    ("TDC-", _small_mnist(255.0)),
)
