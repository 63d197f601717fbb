"""Which piece of the image one place of a deeper layer sees. Dumoulin & Visin 2016; Araujo, Norris & Sim 2019.

A window of span s over places that lie `jump` pixels apart widens the field by (s - 1) * jump; p zeros before the
image move its first place p * jump pixels outward; a stride multiplies the jump. Of branches that run side by side
each widens the field, so that it may be told too large.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pellucid.network.convolve import Window, window_of
from pellucid.network.layer import Layer, Leaf

Pair = tuple[int, int]


class Field(NamedTuple):
    """Place i of an axis sees the pixels origin + i * jump and the size - 1 behind it."""

    size: Pair
    origin: Pair
    jump: Pair

    def start(self, place: Pair) -> Pair:
        (a, b), (c, d), (e, f) = self.origin, self.jump, place
        return a + c * e, b + d * f


def receptive_field(leaves: Sequence[Leaf], path: str) -> Field | None:
    """The field of the layer at `path`; None where something other than windows lies before it.

    >>> from pellucid.network.composite import Sequential
    >>> from pellucid.network.conv import Conv
    >>> from pellucid.network.pool import MaxPool
    >>> from pellucid.network.trace import trace
    >>> import jax
    >>> layers = Sequential(("a", Conv(1, 3)), ("pool", MaxPool(2)), ("b", Conv(1, 3)))
    >>> receptive_field(trace(layers, jax.ShapeDtypeStruct((1, 8, 8, 1), "float32")).leaves, "b")
    Field(size=(8, 8), origin=(-3, -3), jump=(2, 2))
    """
    size, origin = (1, 1), (0, 0)
    jumps: dict[Pair, Pair] = {}  # by the image's size: branches that meet again have one
    for leaf in leaves:
        before, after = (_image(shape) for shape in (leaf.x, leaf.y))
        if before is not None and after is not None:
            jump = jumps.setdefault(before, (1, 1) if not jumps else (0, 0))
            window = _window(leaf.layer, leaf.x)
            if jump == (0, 0) or (window is None and before != after):
                return None
            if window is not None:
                size = _with(size, jump, [span - 1 for span in window.span])
                origin = _with(origin, jump, [-pads[0] for pads in window.pads])
                jumps.setdefault(after, (jump[0] * window.stride[0], jump[1] * window.stride[1]))
        if leaf.path == path:
            return None if after is None or after not in jumps else Field(size, origin, jumps[after])
    return None


def _image(x: Any) -> Pair | None:
    """Height and width of [batch, h, w, n]."""
    shape = getattr(x, "shape", ())
    return (int(shape[1]), int(shape[2])) if len(shape) == 4 else None


def _with(pair: Pair, jump: Pair, more: Sequence[int]) -> Pair:
    return pair[0] + more[0] * jump[0], pair[1] + more[1] * jump[1]


def _window(layer: Layer, x: Any) -> Window | None:
    settings: Any = layer
    if layer.name == "conv":
        return window_of("conv", x, None, settings.size, settings.stride, settings.padding, settings.dilation)
    if layer.name in ("max_pool", "avg_pool"):
        stride = settings.size if settings.stride is None else settings.stride
        return window_of(layer.name, x, None, settings.size, stride, settings.padding)
    return None
