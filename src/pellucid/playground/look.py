"""What is drawn of a network at a moment: every neuron's response over the plane, and the gradient that flows back.

Two compiled functions; equal structures share them. `responses` gives bytes, so that little has to travel.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pellucid.network.layer import Context, Layer, nest
from pellucid.network.outputs import OutputTaps

MIDDLE = 127.5  # the byte of 0


class Nudges(OutputTaps):
    """Adds zeros to what leaves some layers: the gradient by these zeros is dL/dy of each example and unit there."""

    def __init__(self, zeros: Mapping[str, jax.Array]):
        super().__init__()
        self.zeros = zeros

    def tap(self, path: str, y: Any) -> Any:
        self.taken[path] = y
        return y + self.zeros[path] if path in self.zeros else y


@partial(jax.jit, static_argnames=("layer", "paths", "few"))
def responses(layer: Layer, paths: tuple[str, ...], few: int, params: dict[str, Any], state: Any, x: Any) -> Any:
    """(raw outputs [m, k], {path: (uint8 [units, few], scale [units])}) for inputs x [m, ...], the units' responses to
    the first `few` of them: byte 127.5 is 0, 255 is `scale`, the unit's largest response. What is not finite is drawn
    as 0."""
    taps = OutputTaps()
    outputs = Context(state=state, probes=taps).run(layer, nest(params), x)
    found = {}
    for path in paths:
        y = jnp.nan_to_num(taps.taken[path][:few].T, nan=0.0, posinf=0.0, neginf=0.0)  # -> [units, few]
        scale = jnp.abs(y).max(1)
        level = MIDDLE + MIDDLE * y / jnp.where(scale > 0, scale, 1.0)[:, None]
        found[path] = jnp.round(level).astype(jnp.uint8), scale
    return outputs, found


@partial(jax.jit, static_argnames=("layer", "loss", "widths"))
def flow(
    layer: Layer, loss: Any, widths: tuple[tuple[str, int], ...], params: dict[str, Any], state: Any, x: Any, y: Any
) -> Any:
    """Back through the network, for the mean loss of the rows x, y: (the gradient by each weight, {path: the root mean
    square over the rows of dL/dz, of each unit}). widths: the layers whose output z is looked at, with their units."""
    rows = x.shape[0]
    zeros = {path: jnp.zeros((rows, units), jnp.float32) for path, units in widths}

    def objective(params: Any, zeros: Any) -> jax.Array:
        outputs = Context(state=state, probes=Nudges(zeros)).run(layer, nest(params), x)
        return jnp.mean(loss.per_example(outputs, y))

    gradients, felt = jax.grad(objective, argnums=(0, 1))(params, zeros)
    return gradients, {path: jnp.sqrt(jnp.mean(jnp.square(rows * d), 0)) for path, d in felt.items()}
