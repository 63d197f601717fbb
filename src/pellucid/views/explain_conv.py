"""The rules of convolution and pooling: windows that slide over an image, or over the steps of a sequence.

A sequence [steps, n] is an image of height 1. What all windows see is gathered into one array
[rows, columns, window height, window width, channels], and every rule is a sum over some of its axes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.views.explain_stage import Array, Env, Rule, Stage, rule

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Of both axes (height, width): window size, stride, dilation, zeros (before, after), and places that come out."""

    size: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[Pair, Pair]
    places: Pair

    def corner(self, place: Pair) -> Pair:
        """Row and column, in the image, of what the window sees first at this place; negative in the padding."""
        first = [p * s - b for p, s, (b, _) in zip(place, self.stride, self.pads, strict=True)]
        return first[0], first[1]


def geometry(layer: Any, x: Array) -> Geometry:
    """Of a layer's settings on an input [h, w, n] or [steps, n]."""
    flat = x.ndim == 2

    def both(value: Any, filler: Any) -> tuple[Any, Any]:
        if isinstance(value, tuple):
            return (filler, *value) if flat else value
        return (filler, value) if flat else (value, value)

    size, dilation = both(layer.size, 1), both(getattr(layer, "dilation", 1), 1)
    stride = both(layer.size if layer.stride is None else layer.stride, 1)
    lengths = (1, len(x)) if flat else x.shape[:2]
    padding = (0, 0) if isinstance(layer.padding, str) else both(layer.padding, 0)
    pads, places = [], []
    for n, k, s, d, p in zip(lengths, size, stride, dilation, padding, strict=True):
        span = (k - 1) * d + 1
        if layer.padding == "same":
            total = max((-(-n // s) - 1) * s + span - n, 0)
            pad = (total // 2, total - total // 2)
        else:
            pad = (p, p) if isinstance(p, int) else p
        pads.append(pad)
        places.append((n + sum(pad) - span) // s + 1)
    return Geometry(size, stride, dilation, (pads[0], pads[1]), (places[0], places[1]))


def as_image(x: Array) -> Array:
    return x[None] if x.ndim == 2 else x


def gather(x: Array, g: Geometry, filler: float = 0.0) -> Array:
    """What each window sees: image [h, w, n] -> [rows, columns, window height, window width, n]."""
    x = np.pad(x, (*g.pads, (0, 0)), constant_values=filler)
    rows, columns = (
        np.arange(p)[:, None] * s + np.arange(k)[None] * d  # [places, size]
        for p, s, k, d in zip(g.places, g.stride, g.size, g.dilation, strict=True)
    )
    return x[rows[:, None, :, None], columns[None, :, None, :]]


def scatter(seen: Array, g: Geometry, shape: tuple[int, ...]) -> Array:
    """The transpose of `gather`: every number goes back to where it came from, and what meets there is added."""
    (top, bottom), (left, right) = g.pads
    out = np.zeros((shape[0] + top + bottom, shape[1] + left + right, shape[2]))
    for u in range(g.size[0]):
        for v in range(g.size[1]):
            (a, b), (m, n), (s, t) = (u * g.dilation[0], v * g.dilation[1]), g.places, g.stride
            out[a : a + (m - 1) * s + 1 : s, b : b + (n - 1) * t + 1 : t] += seen[:, :, u, v]
    return out[top : top + shape[0], left : left + shape[1]]


def _only_real(s: Stage, env: Env) -> Array | None:
    """[steps] bool, True for real ones, where some only fill up; which of those that leave are real is told too."""
    valid = env.steps_of(s.x)
    if valid is not None:
        g, length = s.kept["geometry"], int(valid.sum())
        same = s.layer.padding == "same"
        (_, (before, after)), k, d, stride = g.pads, g.size[1], g.dilation[1], g.stride[1]
        left = -(-length // stride) if same else (length + before + after - (k - 1) * d - 1) // stride + 1
        if not (same and stride == 1):
            env.valid = np.arange(g.places[1]) < left
    return valid


class _Windowed(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        s.kept["geometry"] = geometry(s.layer, s.x)
        s.kept["valid"] = _only_real(s, env)
        y = self.slide(s)
        return y[0] if s.x.ndim == 2 else y

    def backward(self, s: Stage, dy: Array) -> Array:
        dx = scatter(self.back(s, as_image(dy)), s.kept["geometry"], as_image(s.x).shape)
        dx = dx[0] if s.x.ndim == 2 else dx
        return dx if s.kept["valid"] is None else dx * s.kept["valid"][:, None]

    def seen(self, s: Stage, filler: float = 0.0) -> Array:
        """What each window sees, places that do not count being `filler`."""
        x = s.x if s.kept["valid"] is None else np.where(s.kept["valid"][:, None], s.x, filler)
        return gather(as_image(x), s.kept["geometry"], filler)

    def slide(self, s: Stage) -> Array:
        raise NotImplementedError  # abstract

    def back(self, s: Stage, dy: Array) -> Array:
        """dL/dy [rows, columns, width] -> the gradient of all that each window saw."""
        raise NotImplementedError  # abstract


def grouped(a: Array, groups: int) -> Array:
    """[..., n] -> [..., groups, n / groups]"""
    return a.reshape(*a.shape[:-1], groups, -1)


def kernel(s: Stage) -> Array:
    """The filters as [window height, window width, channels of a group, width]."""
    w = s.weights["w"]
    return w if w.ndim == 4 else w[None]


@rule("conv")
class _Conv(_Windowed):
    def slide(self, s: Stage) -> Array:
        n = s.layer.groups
        seen, w = grouped(self.seen(s), n), grouped(kernel(s), n)
        y = [np.tensordot(seen[..., i, :], w[..., i, :], 3) for i in range(n)]  # over window and channels
        return np.concatenate(y, axis=-1) + s.weights.get("b", 0.0)

    def back(self, s: Stage, dy: Array) -> Array:
        n = s.layer.groups
        seen, w, d = grouped(self.seen(s), n), grouped(kernel(s), n), grouped(dy, n)
        dw = [np.tensordot(seen[..., i, :], d[..., i, :], ((0, 1), (0, 1))) for i in range(n)]  # over all places
        s.gradients["w"] = np.concatenate(dw, axis=-1).reshape(s.weights["w"].shape)
        if "b" in s.weights:
            s.gradients["b"] = dy.sum((0, 1))
        back = [np.tensordot(d[..., i, :], w[..., i, :], ((-1,), (-1,))) for i in range(n)]
        return np.concatenate(back, axis=-1)


@rule("max_pool")
class _MaxPool(_Windowed):
    def slide(self, s: Stage) -> Array:
        seen = self.seen(s, -np.inf)
        flat = seen.reshape(*seen.shape[:2], -1, seen.shape[-1])  # [rows, columns, window, n]
        s.kept["winner"] = flat.argmax(2)  # the first of equals
        y = flat.max(2)
        return np.where(y == -np.inf, 0.0, y)  # a window without a real step

    def back(self, s: Stage, dy: Array) -> Array:
        k = s.kept["geometry"].size
        won = np.arange(k[0] * k[1])[:, None] == s.kept["winner"][:, :, None]
        return (won * dy[:, :, None]).reshape(*dy.shape[:2], *k, -1)


@rule("avg_pool")
class _AvgPool(_Windowed):
    def slide(self, s: Stage) -> Array:
        real = np.ones(len(s.x) if s.x.ndim == 2 else s.x.shape[:2]) if s.kept["valid"] is None else s.kept["valid"]
        counts = gather(as_image(real[..., None].astype(np.float64)), s.kept["geometry"]).sum((2, 3))
        s.kept["counts"] = np.maximum(counts, 1)  # [rows, columns, 1]: places outside do not count
        return self.seen(s).sum((2, 3)) / s.kept["counts"]

    def back(self, s: Stage, dy: Array) -> Array:
        k, each = s.kept["geometry"].size, dy / s.kept["counts"]
        return np.broadcast_to(each[:, :, None, None], (*each.shape[:2], *k, each.shape[-1]))


@rule("global_pool")
class _GlobalPool(Rule):
    """Over all real places, [..., n] -> [n]: their mean, or their largest, whose gradient equals share."""

    def forward(self, s: Stage, env: Env) -> Array:
        x, valid = s.x.reshape(-1, s.x.shape[-1]), env.steps_of(s.x)
        real = np.ones(len(x), bool) if valid is None else valid
        if s.layer.kind == "mean" or not real.any():
            s.kept["share"] = np.repeat((real / max(real.sum(), 1))[:, None], x.shape[1], 1)
        else:
            won = real[:, None] & (x == x[real].max(0))
            s.kept["share"] = won / won.sum(0)
        return (s.kept["share"] * x).sum(0)

    def backward(self, s: Stage, dy: Array) -> Array:
        return (s.kept["share"] * dy).reshape(s.x.shape)
