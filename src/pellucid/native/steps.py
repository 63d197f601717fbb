"""Many updates of a dense network as one call: what the kernel `dense_steps` takes, and what it gives back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.native.calls import BENDS

LOSSES = ("cross_entropy", "mean_squared_error", "binary_cross_entropy")
RULES = ("plain", "momentum", "nesterov", "adam")


class DenseSteps(NamedTuple):
    """What is compiled in. widths: inputs, then each layer's outputs; bends: after each layer, from `BENDS`, but not
    gelu; loss and rule: from `LOSSES` and `RULES`; decoupled: whether decay shrinks the weight itself; examples: of an
    epoch.

    watched: (layer, or 0 for what arrives; whether after what bends it; every so many numbers) for each array that
    measured updates tell of; without any, none is measured.   every: the same for w and b of each layer in turn.
    """

    widths: tuple[int, ...]
    bends: tuple[str, ...]
    loss: str
    rule: str
    decoupled: bool
    batch: int
    examples: int
    watched: tuple[tuple[int, bool, int], ...] = ()
    every: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """What the kernel takes for itself: outputs of every layer and their gradients, on measured updates before and
        after what bends them; weights and moments in its own order, and the weights' transpose."""
        rows = self.batch * sum(self.widths) * (4 if self.watched else 2)
        weights = sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))
        return 4 * (rows + weights * (4 if self.rule == "adam" else 3))


class Examples(NamedTuple):
    """x: [n, inputs] uint8 or float32; y: [n] int32, or float32 [n, outputs]; order: [rows] int32, or empty: as they
    lie; mean, scale: [k], repeated over the inputs, or empty."""

    x: jax.Array
    y: jax.Array
    order: jax.Array
    mean: jax.Array
    scale: jax.Array


class Told(NamedTuple):
    """losses: [most], each batch's mean.   Of measured updates by segment: activation, gradient: [held, watched, 5],
    the fields of `network.probes.FIELDS`; weights: [held, 2 * layers, 3], mean squares of a sample of gradient, update
    and weight.   squares: [2 * layers], sums of squares after all.   sums: as given, with the losses added."""

    losses: jax.Array
    activation: jax.Array
    gradient: jax.Array
    weights: jax.Array
    squares: jax.Array
    sums: jax.Array


def dense_steps(
    steps: DenseSteps, examples: Examples, segments: Any, counts: Any, settings: Any, rates: Any, sums: Any,
    arrays: Sequence[jax.Array],
) -> tuple[Told, list[jax.Array]]:  # fmt: skip
    """-> what is told, and the arrays after the updates, each written over the one that was given.

    segments: int32 [held, 2]: plain updates, then measured ones (0 or 1).   counts: int32 [3]: segments to go through,
    the number of the first batch in the epoch, examples before `order`.   settings: float32 [6]: decay, momentum, b1,
    b2, eps, the labels' smoothing.   rates: [3, most]: of each update the learning rate, and Adam's a and b
    (`optimizers.scale_by_adam`).   sums: [2]: losses of all examples, and their number.   arrays: w [n, width] and b
    [width] (or empty) of each layer in turn, then the first moments of all, then the second ones.
    """
    given = [*examples, segments, counts, settings, rates, sums, *arrays]
    layers, watched, held, most = len(steps.bends), len(steps.watched), segments.shape[0], rates.shape[1]
    told = (most,), (held, watched, 5), (held, watched, 5), (held, 2 * layers, 3), (2 * layers,), (2,)  # as `Told`
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (*told, *(a.shape for a in arrays))]
    kinds = [LOSSES.index(steps.loss), RULES.index(steps.rule), int(steps.decoupled)]
    over = {len(given) - i: len(results) - i for i in range(1, len(arrays) + 2)}  # the arrays, and the sums before them
    call = jax.ffi.ffi_call(
        "pellucid_dense_steps", results, vmap_method="sequential", input_output_aliases=over,
    )  # fmt: skip
    made = call(
        *given, widths=np.array(steps.widths, np.int64), kinds=np.array(kinds, np.int64),
        bends=np.array([BENDS.index(bend) for bend in steps.bends], np.int64),
        batch=np.int64(steps.batch), examples=np.int64(steps.examples),
        watched=np.array(steps.watched, np.int64).reshape(-1), every=np.array(steps.every, np.int64),
    )  # fmt: skip
    return Told(*made[: len(told)]), list(made[len(told) :])
