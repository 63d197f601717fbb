"""The sets that come with Pellucid: small real ones (scikit-learn brings them) and made ones, always the same rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pellucid.data.dataset import Dataset

FILES = {
    "digits": "digits.csv.gz",
    "iris": "iris.csv",
    "wine": "wine_data.csv",
    "breast-cancer": "breast_cancer.csv",
}
NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
NAMES = {
    "digits": tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
    "iris": ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
    "wine": (
        "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
        "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
    ),
    "breast-cancer": (
        *(f"mean {n}" for n in NUCLEUS), *(f"{n} error" for n in NUCLEUS), *(f"worst {n}" for n in NUCLEUS)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Builtin:
    rows: int
    features: int
    task: str
    about: str
    make: Callable[[], Dataset]


def datasets() -> list[tuple[str, int, int, str, str]]:
    """The built-in sets: (name, rows, features, task, one line about it).

    >>> [name for name, *_ in datasets()][:3]
    ['digits', 'iris', 'wine']
    """
    return [(name, b.rows, b.features, b.task, b.about) for name, b in BUILTIN.items()]


def builtin(name: str) -> Dataset:
    """A built-in set by its name, as `datasets` lists them (a `KeyError` otherwise)."""
    return BUILTIN[name].make()


def _sklearn(name: str) -> Dataset:
    """A set of scikit-learn's: read from its files where they lie as expected, for importing its loaders takes longer
    than training on iris; through `sklearn.datasets` otherwise."""
    x, y, names, classes = _from_files(name) or _from_loader(name)
    return Dataset(
        x,
        y if classes is None else np.asarray(classes, dtype=object)[y],
        name=name,
        source=f"builtin:{name}",
        task="regression" if name == "diabetes" else "classification",
        feature_names=names,
        class_names=classes,
        target=({"diabetes": "progression", "digits": "digit", "iris": "species"}.get(name, "class"),),
    )


def _from_loader(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[str, ...] | None]:
    from sklearn import datasets as sets

    bunch = getattr(sets, f"load_{name.replace('-', '_')}")()
    classes = None if name in ("digits", "diabetes") else tuple(str(c) for c in bunch.target_names)
    return np.asarray(bunch.data), np.asarray(bunch.target), tuple(str(n) for n in bunch.feature_names), classes


def _from_files(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[str, ...] | None] | None:
    """The same as `_from_loader`, or None where the files are elsewhere (diabetes needs scikit-learn's arithmetic)."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations or name not in FILES:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / FILES[name]
    if not path.is_file():
        return None
    if name == "digits":
        table = np.loadtxt(path, delimiter=",")
        return table[:, :-1], table[:, -1].astype(np.int64), NAMES[name], None
    with path.open(encoding="utf-8") as file:
        classes = tuple(file.readline().strip().split(",")[2:])  # the first line: rows, features, classes
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64), NAMES[name], classes


def _made(name: str, x: np.ndarray, y: np.ndarray, order: np.random.Generator) -> Dataset:
    rows = order.permutation(len(x))
    return Dataset(
        x[rows],
        y[rows],
        name=name,
        source=f"builtin:{name}",
        task="regression" if y.dtype.kind == "f" else "classification",
        feature_names=tuple(f"x{i + 1}" for i in range(x.shape[1])),
        target=("y",),
    )


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(20))


def _xor() -> Dataset:
    """Points in a square; the class says whether the signs differ. No straight line parts them."""
    g = _generator()
    corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    x = np.repeat(corners, 100, axis=0) + g.uniform(-0.6, 0.6, (400, 2))
    return _made("xor", x, (x[:, 0] * x[:, 1] < 0).astype(np.int64), g)


def _spirals() -> Dataset:
    """Two arms, one and a half turns each (Lang and Witbrock 1988, "Learning to tell two spirals apart")."""
    g = _generator()
    y = np.repeat([0, 1], 300)
    along = np.sqrt(g.uniform(0.01, 1.0, 600))
    angle = 3 * np.pi * along + np.pi * y
    x = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _made("spirals", x + g.normal(0, 0.02, x.shape), y, g)


def _moons() -> Dataset:
    g = _generator()
    y = np.repeat([0, 1], 200)
    angle = g.uniform(0, np.pi, 400)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(y[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return _made("moons", x + g.normal(0, 0.15, x.shape), y, g)


def _circles() -> Dataset:
    g = _generator()
    y = np.repeat([0, 1], 200)
    angle = g.uniform(0, 2 * np.pi, 400)
    x = np.where(y == 0, 1.0, 0.5)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _made("circles", x + g.normal(0, 0.08, x.shape), y, g)


def _blobs() -> Dataset:
    g = _generator()
    y = np.repeat([0, 1, 2], 150)
    centres = np.array([[-2.0, -1.0], [2.0, -1.0], [0.0, 2.0]])
    return _made("blobs", centres[y] + g.normal(0, 0.9, (450, 2)), y, g)


def _sine() -> Dataset:
    g = _generator()
    x = g.uniform(-2 * np.pi, 2 * np.pi, (500, 1))
    return _made("sine", x, np.sin(x[:, 0]) + g.normal(0, 0.1, 500), g)


def _real(name: str, rows: int, features: int, task: str, about: str) -> Builtin:
    return Builtin(rows, features, task, about, lambda: _sklearn(name))


BUILTIN: dict[str, Builtin] = {
    "digits": _real("digits", 1797, 64, "classification", "handwritten digits, 8 x 8 grey values, ten classes"),
    "iris": _real("iris", 150, 4, "classification", "sepals and petals of three kinds of iris (Fisher 1936)"),
    "wine": _real("wine", 178, 13, "classification", "chemical analysis of wines from three growers"),
    "breast-cancer": _real("breast-cancer", 569, 30, "classification", "cell nuclei in images, malignant or benign"),
    "diabetes": _real("diabetes", 442, 10, "regression", "progression of diabetes after one year (Efron 2004)"),
    "xor": Builtin(400, 2, "classification", "made: the signs differ or not; no straight line parts them", _xor),
    "spirals": Builtin(600, 2, "classification", "made: two arms wound around each other", _spirals),
    "moons": Builtin(400, 2, "classification", "made: two half circles that reach into each other", _moons),
    "circles": Builtin(400, 2, "classification", "made: a circle inside a circle", _circles),
    "blobs": Builtin(450, 2, "classification", "made: three round clouds that overlap a little", _blobs),
    "sine": Builtin(500, 1, "regression", "made: one sine wave with noise", _sine),
}
