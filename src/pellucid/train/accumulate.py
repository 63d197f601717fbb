"""One batch in several parts, one after the other: the gradient of the whole in the memory of a part.

The loss of a batch is sum(w * l) / sum(w). Each part is divided by the weight of the whole batch and not by its own, so
that the parts' gradients add up to that of the batch, however unevenly it is filled. They are added in the weights'
type. Two things are not those of the whole batch: batch normalisation sees a part at a time (its statistics are of
fewer rows, and its running ones move once a part), and what a layer draws at random is drawn for each part anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pellucid.network.probes import is_time


class Batch(NamedTuple):
    """Rows to learn from. weight: [rows] or None, each counts 1.   mask: [rows], False for what only fills up, or None.
    mix: what rows were mixed with (`augment.Mix`), whose partners are rows of `whole`, the targets of the whole batch.
    """

    x: Any
    y: Any
    weight: jax.Array | None
    mask: jax.Array | None
    mix: Any
    whole: Any


Slopes = tuple[tuple[Any, tuple[Any, Any, Any, Any, Any]], tuple[Any, Any]]


def sizes(rows: int, parts: int) -> tuple[int, int]:
    """(parts, rows of each): as few rows as so many parts need, and no part that would be empty.

    >>> sizes(64, 4), sizes(5, 4), sizes(2, 8)
    ((4, 16), (3, 2), (2, 1))
    """
    size = -(-rows // min(parts, rows))
    return -(-rows // size), size


def in_parts(parts: int, slopes: Callable[..., Slopes], batch: Batch, key: Any, state: Any, carried: Any,
             zeros: tuple[Any, Any, Any]) -> Slopes:  # fmt: skip
    """What `slopes(batch, key, state, carried, total)` gives for the batch, found part by part.

    slopes gives ((loss, (sum of losses, weight, state, taken, kept)), (gradients, felt)).   zeros: of the gradients, of
    `felt` and of `taken`, which tell their shapes.
    """
    rows = jax.tree.leaves(batch.y)[0].shape[0]
    parts, size = sizes(rows, parts)
    weight, mask = batch.weight, batch.mask
    total = jnp.float32(rows) if weight is None else jnp.sum(weight)
    if parts * size > rows:  # rows that only fill up the last part
        mask = jnp.ones(rows, bool) if mask is None else mask
        weight = mask.astype(jnp.float32) if weight is None else weight

    def cut(tree: Any, filler: Any = None) -> Any:
        def one(a: jax.Array) -> jax.Array:
            more = a[: parts * size - rows]
            more = more if filler is None else jnp.full_like(more, filler)
            return jnp.concatenate([a, more]).reshape(parts, size, *a.shape[1:])

        return jax.tree.map(one, tree)

    def part(so_far: Any, now: Any) -> Any:
        state, sums = so_far
        index, x, y, weight, mask, mix, carried = now
        piece = Batch(x, y, weight, mask, mix, batch.whole)
        own = jax.random.fold_in(key, index)
        (loss, (summed, _, state, taken, kept)), (grads, felt) = slopes(piece, own, state, carried, total)
        return (state, jax.tree.map(jnp.add, sums, (loss, summed, taken, grads, felt))), kept

    grads, felt, taken = zeros
    zero = jnp.zeros((), jnp.result_type(total, *jax.tree.leaves(grads)))
    rows_of = (cut(batch.x), cut(batch.y), cut(weight, 0), cut(mask, False), cut(batch.mix), cut(carried))
    pieces = (jnp.arange(parts), *rows_of)
    begin = state, (zero, zero, taken, grads, felt)
    (state, (loss, summed, taken, grads, felt)), kept = jax.lax.scan(part, begin, pieces)
    kept = jax.tree.map(lambda a: a.reshape(parts * size, *a.shape[2:])[:rows], kept)
    # what is told step by step of a sequence is a mean over rows; the rest are sums
    felt = {path: told * (size / rows) if is_time(path) else told for path, told in felt.items()}
    return (loss, (summed, total, state, taken, kept)), (grads, felt)
