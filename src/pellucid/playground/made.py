"""Points in the plane to learn from: made anew from a seed, with a dial for noise.

A set is a function (n points, noise 0 to 1, generator) -> x [n, 2], y [n]; classes are whole numbers, values floats
from -1 to 1. All lie within about ±6, so that x², x1·x2 and sin x are worth trying as features.
"""

from collections.abc import Callable

import numpy as np

Made = tuple[np.ndarray, np.ndarray]
RANGE = 6.0  # the plane that is drawn: ±6


def circles(n: int, noise: float, g: np.random.Generator) -> Made:
    """A disc inside a ring."""
    y = np.arange(n) % 2
    radius = np.where(y == 1, g.uniform(0, 2.5, n), g.uniform(3.5, 5.0, n))
    angle = g.uniform(0, 2 * np.pi, n)
    return _moved(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), noise, g), y


def xor(n: int, noise: float, g: np.random.Generator) -> Made:
    """The class says whether the signs differ: no straight line parts them (Minsky & Papert 1969)."""
    corner = np.arange(n) % 4
    sign = np.stack([np.where(corner % 2, 1, -1), np.where(corner // 2, 1, -1)], 1)
    return _moved(sign * g.uniform(0.3, 5.0, (n, 2)), noise, g), (sign[:, 0] * sign[:, 1] < 0).astype(np.int64)


def two_gaussians(n: int, noise: float, g: np.random.Generator) -> Made:
    """Two round clouds; with more noise they overlap."""
    y = np.arange(n) % 2
    return np.where(y == 1, 2.0, -2.0)[:, None] + g.normal(0, 0.7 + 2 * noise, (n, 2)), y


def spiral(n: int, noise: float, g: np.random.Generator) -> Made:
    """Two arms wound around each other (Lang & Witbrock 1988)."""
    y = np.arange(n) % 2
    along = (np.arange(n) // 2 + 1) / max((n + 1) // 2, 1)  # the arms do not meet
    angle = 1.75 * along * 2 * np.pi + np.pi * y
    return _moved((5 * along)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1), noise, g), y


def moons(n: int, noise: float, g: np.random.Generator) -> Made:
    """Two half circles that reach into each other."""
    y = np.arange(n) % 2
    angle = g.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    both = np.where(y[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    return _moved((both - [0.5, 0.25]) * 3, noise, g), y


def three_clouds(n: int, noise: float, g: np.random.Generator) -> Made:
    """Three classes."""
    y = np.arange(n) % 3
    centres = np.array([[-3.0, -2.0], [3.0, -2.0], [0.0, 3.0]])
    return centres[y] + g.normal(0, 0.8 + 2 * noise, (n, 2)), y


def plane(n: int, noise: float, g: np.random.Generator) -> Made:
    """Regression: a tilted plane."""
    x = g.uniform(-5, 5, (n, 2))
    return x, (x[:, 0] + x[:, 1]) / 10 + g.normal(0, noise / 2, n)


def hills(n: int, noise: float, g: np.random.Generator) -> Made:
    """Regression: two hills and two hollows."""
    x = g.uniform(-5, 5, (n, 2))
    return x, np.sin(x[:, 0] / 1.6) * np.cos(x[:, 1] / 1.6) + g.normal(0, noise / 2, n)


def _moved(x: np.ndarray, noise: float, g: np.random.Generator) -> np.ndarray:
    return x + g.normal(0, 2 * noise, x.shape)


SETS: dict[str, Callable[[int, float, np.random.Generator], Made]] = {
    "circles": circles, "xor": xor, "gaussians": two_gaussians, "spiral": spiral, "moons": moons,
    "clouds": three_clouds, "plane": plane, "hills": hills,
}  # fmt: skip


def features(x: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The chosen functions of the points [n, 2] -> [n, len(names)], float32.

    >>> features(np.array([[2.0, -3.0]]), ("x2", "x1^2", "x1*x2")).tolist()
    [[-3.0, 4.0, -6.0]]
    """
    a, b = x[:, 0], x[:, 1]
    known = {
        "x1": a, "x2": b, "x1^2": a * a, "x2^2": b * b, "x1*x2": a * b, "sin(x1)": np.sin(a), "sin(x2)": np.sin(b),
    }  # fmt: skip
    return np.stack([known[name] for name in names], 1).astype(np.float32)
