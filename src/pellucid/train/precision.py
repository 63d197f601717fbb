"""Training in numbers of 16 bits: weights, optimizer and losses stay float32, the layers compute in fewer bits.

bfloat16 needs nothing more: its range is float32's. float16 ends at 6e-8, below which gradients become 0, so the loss
is multiplied by a scale, and the gradients, in float32 again, divided by it:

    a step whose gradients are all finite     is made; after `GROW` of them in a row the scale doubles
    a step with one that is not               is not made; the scale is halved

Micikevicius et al. 2018, 3.2 (dynamic loss scaling, with PyTorch's numbers). All scales are powers of two, so that
scaling rounds nothing. At a scale of 1 nothing is left to try, and a gradient that is not finite goes where it would in
float32: into the weights, and the next loss tells of it.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from pellucid.network.probes import FIELDS, is_time

Precision = Literal["float32", "bfloat16", "float16"]
FIRST = 2.0**16  # the scale that training begins with
MOST = 2.0**24
GROW = 2_000  # good steps in a row after which it doubles
POWER = {"sum": 1, "square": 2}  # of the scale, in the sums that a probe takes of a gradient; the others only count


class Scale(NamedTuple):
    """value: what the loss is multiplied by.   good: steps made since it last changed.   skipped: steps not made."""

    value: jax.Array
    good: jax.Array
    skipped: jax.Array


def begin(precision: str) -> Any:
    """The scale before the first step; () where none is needed."""
    if precision != "float16":
        return ()
    return Scale(jnp.float32(FIRST), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def scaled(loss: Any, scale: Any) -> Any:
    """What is differentiated.

    >>> scaled(0.5, begin("float32")), float(scaled(0.5, begin("float16")))
    (0.5, 32768.0)
    """
    return loss * scale.value if scale else loss


def unscaled(scale: Scale, loss: Any, grads: Any, felt: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Loss, gradients, and the statistics that probes took of gradients, as they would be without the scale."""
    once = 1 / scale.value  # exact: a power of two
    power = jnp.asarray([POWER.get(name, 0) for name in FIELDS], jnp.float32)

    grads = jax.tree.map(lambda g: g * once, grads)
    return loss * once, grads, {path: sums * once ** (2 if is_time(path) else power) for path, sums in felt.items()}


def judged(scale: Scale, grads: Any) -> tuple[jax.Array, Scale]:
    """(whether the step is made, the scale after it).

    >>> fine, after = judged(begin("float16"), {"w": jnp.array([1.0, jnp.inf])})
    >>> bool(fine), float(after.value), int(after.skipped)
    (False, 32768.0, 1)
    """
    finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
    fine = finite | (scale.value <= 1)
    good = jnp.where(finite, scale.good + 1, 0)
    grown = jnp.where(good >= GROW, jnp.minimum(scale.value * 2, MOST), scale.value)
    value = jnp.where(finite, grown, jnp.maximum(scale.value / 2, 1))
    skipped = scale.skipped + (~fine).astype(jnp.int32)
    return fine, Scale(value, jnp.where(good >= GROW, 0, good).astype(jnp.int32), skipped)


def made(fine: jax.Array, new: Any, old: Any) -> Any:
    """`new` where the step is made, `old` where it is not; elementwise, for a branch would copy the weights."""
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)


def to_record(scale: Any) -> dict[str, Any]:
    """What a chunk's line of the record says of it: nothing, unless there is a scale."""
    return {"scale": float(scale.value), "skipped": int(scale.skipped)} if scale else {}
