"""Many updates of a dense network as one call: what the kernel `dense_steps` takes, and what it gives back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BENDS = ("identity", "relu", "tanh", "sigmoid")  # as source/kernels.h numbers them
LOSSES = ("cross_entropy", "mean_squared_error")
RULES = ("plain", "momentum", "nesterov", "adam")


class DenseSteps(NamedTuple):
    """What is compiled in. widths: inputs, then each layer's outputs; bends: after each layer, from `BENDS`; loss and
    rule: from `LOSSES` and `RULES`; decoupled: whether decay shrinks the weight itself; examples: of an epoch."""

    widths: tuple[int, ...]
    bends: tuple[str, ...]
    loss: str
    rule: str
    decoupled: bool
    batch: int
    examples: int

    @property
    def moments(self) -> int:
        """How many arrays like the weights the rule keeps."""
        return {"plain": 0, "adam": 2}.get(self.rule, 1)


class Examples(NamedTuple):
    """x: [n, inputs] uint8 or float32; y: [n] int32, or float32 [n, outputs]; order: [rows] int32, or empty: as they
    lie; mean, scale: [k], repeated over the inputs, or empty."""

    x: jax.Array
    y: jax.Array
    order: jax.Array
    mean: jax.Array
    scale: jax.Array


def dense_steps(
    steps: DenseSteps, examples: Examples, counts: Any, settings: Any, rates: Any, sums: Any, losses: Any,
    arrays: Sequence[jax.Array],
) -> tuple[jax.Array, jax.Array, list[jax.Array]]:  # fmt: skip
    """-> sums, losses and arrays after the updates, each written over the one that was given.

    counts: int32 [4]: updates, number of the first one's batch in the epoch, examples before `order`, and the first
    one's place in `losses` and `rates`.   settings: float32 [5]: decay, momentum, b1, b2, eps.   rates: [3, most]: the
    learning rate, and Adam's a and b (`optimizers.scale_by_adam`).   sums: [2], added to: losses of all examples, and
    their number.   losses: [most]: each batch's mean.   arrays: w [n, width] and b [width] (or empty) of each layer in
    turn, then the first moments of all, then the second ones.
    """
    given = [*examples, counts, settings, rates, sums, losses, *arrays]
    first = len(given) - len(arrays) - 2
    results = [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in given[first:]]
    kinds = [LOSSES.index(steps.loss), RULES.index(steps.rule), int(steps.decoupled)]
    call = jax.ffi.ffi_call(
        "pellucid_dense_steps", results, vmap_method="sequential",
        input_output_aliases={first + i: i for i in range(len(results))},
    )  # fmt: skip
    sums, losses, *arrays = call(
        *given, widths=np.array(steps.widths, np.int64), kinds=np.array(kinds, np.int64),
        bends=np.array([BENDS.index(bend) for bend in steps.bends], np.int64),
        batch=np.int64(steps.batch), examples=np.int64(steps.examples),
    )  # fmt: skip
    return sums, losses, list(arrays)
