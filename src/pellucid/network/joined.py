"""A convolution and what follows it at once: ReLU, the largest of each window, or both. One native kernel computes
them, so that what lies between, several times the size of what comes out, never goes through memory."""

from collections.abc import Sequence
from typing import cast

import jax

from pellucid.native import calls
from pellucid.network.activations import ReLU, relu
from pellucid.network.convolve import Window, convolve, sliding
from pellucid.network.layer import Layer
from pellucid.network.pool import MaxPool, side_by_side, tiled_max


def followers(behind: Sequence[Layer], shape: tuple[int, ...]) -> calls.Then | None:
    """What of the layers behind one that gives this shape can be computed with it; None for nothing.

    >>> followers([ReLU(), MaxPool(2), ReLU()], (1, 8, 8, 4))
    Then(window=(2, 2), relu=True)
    """
    bends = isinstance(behind[0], ReLU) if behind else False
    rest, window = behind[bends:], None
    if rest and isinstance(rest[0], MaxPool):
        window = side_by_side(rest[0], jax.ShapeDtypeStruct(shape, "float32"))
    found = calls.Then(window.size if window else (1, 1), bends)
    return found if found.layers else None


def convolve_joined(
    x: jax.Array, w: jax.Array, b: jax.Array | None, window: Window, then: calls.Then, reverse_only: bool
) -> jax.Array:
    """The convolution plus b, and then what follows. reverse_only: as in `Context`."""
    join = calls.Join(sliding(window, x), then)
    if reverse_only:
        return cast(jax.Array, calls.convolve_join(x, w, b, join))

    def plain(x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
        y = convolve(x, w, window)
        y = y if b is None else y + b
        return tiled_max(relu(y) if then.relu else y, Window(then.window, then.window))

    return calls.aside(lambda x, w, b: calls.joined(x, w, b, join), plain)(x, w, b)
