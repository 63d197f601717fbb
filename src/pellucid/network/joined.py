"""A convolution and what follows it at once: ReLU, the largest of each window, or both. One native kernel computes
them, so that what lies between, several times the size of what comes out, never goes through memory."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import jax

from pellucid.native import calls
from pellucid.network.activations import ReLU, relu
from pellucid.network.convolve import Window, convolve
from pellucid.network.layer import Layer
from pellucid.network.pool import MaxPool, side_by_side, tiled_max

NONE = Window((1, 1))


class Followers(NamedTuple):
    """What a kernel takes in after a convolution. layers: how many they are."""

    relu: bool
    pool: Window

    @property
    def layers(self) -> int:
        return self.relu + (self.pool != NONE)


def followers(behind: Sequence[Layer], shape: tuple[int, ...]) -> Followers | None:
    """What of the layers behind a convolution that gives this shape can be computed with it; None for nothing.

    >>> followers([ReLU(), MaxPool(2), ReLU()], (1, 8, 8, 4))
    Followers(relu=True, pool=Window(size=(2, 2), stride=(2, 2), pads=((0, 0), (0, 0)), dilation=(1, 1)))
    """
    bends = isinstance(behind[0], ReLU) if behind else False
    rest, pool = behind[bends:], NONE
    if rest and isinstance(rest[0], MaxPool):
        pool = side_by_side(rest[0], jax.ShapeDtypeStruct(shape, "float32")) or NONE
    found = Followers(bends, pool)
    return found if found.layers else None


def convolve_joined(
    x: jax.Array, w: jax.Array, b: jax.Array | None, window: Window, then: Followers, reverse_only: bool
) -> jax.Array:
    """The convolution plus b, and then what follows. reverse_only: as in `Context`."""
    how = calls.Sliding(window.stride, window.dilation, (window.pads[0][0], window.pads[1][0]), window.out(x))
    join = calls.Join(how, then.pool.size, then.relu)
    if reverse_only:
        return cast(jax.Array, calls.convolve_join(x, w, b, join))

    def plain(x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
        y = convolve(x, w, window)
        y = y if b is None else y + b
        return tiled_max(relu(y) if then.relu else y, then.pool)

    return calls.aside(lambda x, w, b: calls.joined(x, w, b, join), plain)(x, w, b)
