"""What the single units of each layer do over a pass of (a sample of) the training set: no single batch tells it.

A unit is a place on a layer's last axis: a neuron, a channel of a convolution. Measured once an epoch, in evaluation,
in blocks whose maxima, minima and sums are put together, so that the training step costs nothing more.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Part
from pellucid.network.compiling import compiled
from pellucid.network.layer import Context, Layer, nest
from pellucid.network.probes import Probes
from pellucid.network.trace import block_rows, floor_power
from pellucid.signals.record import numbers

ROWS = 512  # of the sample that are looked at
RANK_ROWS, RANK_UNITS = 1024, 256  # of which the rank is found
FLAT = 0.01  # a slope below this share of the largest counts as saturated
SLOPES = {"sigmoid": lambda y: 4 * y * (1 - y), "tanh": lambda y: 1 - y * y, "rnn": lambda y: 1 - y * y}  # of y = f(z)


class UnitTaps(Probes):
    """Takes, where a leaf's output leaves it, [units] maxima and minima, the saturated share, and the rank."""

    def __init__(self, kinds: dict[str, str]):
        super().__init__({})
        self.kinds = kinds

    def tap(self, path: str, y: Any) -> Any:
        if path in self.kinds:
            v = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1).astype(jnp.float32)  # -> [examples and places, units]
            slope = SLOPES.get(self.kinds[path])
            flat = jnp.float32(jnp.nan) if slope is None else (slope(v) < FLAT).mean(dtype=jnp.float32)
            self.taken[path] = (v.max(0), v.min(0), flat, participation(v))  # pyright: ignore[reportArgumentType]
        return y


def participation(v: jax.Array) -> jax.Array:
    """In how many directions the rows of `v` [n, units] differ: (sum of eigenvalues)² / (sum of their squares) of the
    covariance, as a share of the number possible; 0 where all rows are equal. Gao & Ganguli 2015.

    >>> participation(jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item()
    1.0
    >>> participation(jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])).item()
    0.5
    """
    v = v[:: -(-v.shape[0] // RANK_ROWS), :: -(-v.shape[1] // RANK_UNITS)]
    v = v - v.mean(0)
    v = v / jnp.maximum(jnp.abs(v).max(), 1e-30)  # no square of a large or tiny number leaves float32
    covariance = v.T @ v
    squares = jnp.square(covariance).sum()
    most = max(min(v.shape[0] - 1, v.shape[1]), 1)
    return jnp.where(squares > 0, jnp.trace(covariance) ** 2 / jnp.maximum(squares, 1e-30) / most, 0.0)


@partial(compiled, effort="little", static_argnames=("layer", "kinds"))
def _block(layer: Layer, kinds: tuple[tuple[str, str], ...], params: Any, state: Any, x: Any) -> Any:
    taps = UnitTaps(dict(kinds))
    Context(state=state, probes=taps).run(layer, nest(params), x)
    return taps.taken


class Units:
    """`units(params, state)` -> {"dead", "saturated", "rank"}: one value a watched layer, as the record holds them."""

    def __init__(self, layer: Layer, kinds: dict[str, str], sample: Part):
        self.layer, self.kinds = layer, tuple(kinds.items())
        example = jax.ShapeDtypeStruct((1, *sample.x.shape[1:]), sample.x.dtype)
        rows = min(len(sample.y), ROWS)
        size = min(block_rows(layer, example), floor_power(rows))
        self.blocks = [jnp.asarray(sample.x[i : i + size]) for i in range(0, rows - size + 1, size)]

    def __call__(self, params: Any, state: Any) -> dict[str, list[float | str]]:
        found = jax.device_get([_block(self.layer, self.kinds, params, state, x) for x in self.blocks])
        dead, saturated, rank = [], [], []
        for path, _ in self.kinds:
            taken = [block[path] for block in found if path in block]
            if not taken:  # inside a loop over steps
                dead, saturated, rank = [*dead, np.nan], [*saturated, np.nan], [*rank, np.nan]
                continue
            most, least = np.max([t[0] for t in taken], 0), np.min([t[1] for t in taken], 0)
            dead.append(float((most == least).mean()))
            saturated.append(float(np.mean([t[2] for t in taken])))
            rank.append(float(np.mean([t[3] for t in taken])))
        return {"dead": numbers(dead), "saturated": numbers(saturated), "rank": numbers(rank)}
