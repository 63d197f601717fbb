"""Which rows a shard of the data holds, in which order it takes them, and the batch that all shards make together.

Rows are dealt once into `shards` contiguous stretches. Each is shuffled by itself, from seed, epoch and shard, and
gives as many rows to every batch; a batch is the shards' parts one after the other. So its rows follow from the number
of shards and not from the number of devices: one device that holds four shards takes the same batches as four devices.
Rows never travel between devices: each gathers its own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from pellucid.network.rows import pad_rows
from pellucid.train.mesh import AXES
from pellucid.train.order import by_blocks


def dealt(rows: int, shards: int, shard: int) -> range:
    """The rows of one shard: as many as any other's, or one more.

    >>> [list(dealt(7, 3, shard)) for shard in range(3)]
    [[0, 1, 2], [3, 4], [5, 6]]
    """
    size, more = divmod(rows, shards)
    first = shard * size + min(shard, more)
    return range(first, first + size + (shard < more))


def filled(batch: int, rows: int, shards: int) -> int:
    """The batch size; where a batch takes every row, so many that each shard gives as many.

    >>> filled(8, 103, 4), filled(103, 103, 4)
    (8, 104)
    """
    return batch if batch < rows else -(-rows // shards) * shards


class Orders:
    """`orders[shard]`: int32 [steps of an epoch · rows of a shard in a batch], places among the shard's own rows."""

    def __init__(self, program: Any, seed: int, epoch: int, blocks: int = 0):
        """blocks: bytes of a row, where blocks of neighbouring rows are shuffled (see `order`)."""
        self.program, self.seed, self.epoch, self.blocks = program, seed, epoch, blocks

    def generator(self, shard: int = -1) -> np.random.Generator:
        """Shard -1: what all shards share."""
        key = np.array([self.seed, self.epoch], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, shard + 1], np.uint64)))

    def __getitem__(self, shard: int) -> np.ndarray:
        program = self.program
        count, part = len(dealt(program.rows, program.shards, shard)), program.batch // program.shards
        if program.streams:  # a shard is so many streams of the text, each a stretch of it
            return np.arange(count, dtype=np.int32).reshape(part, -1).T.reshape(-1)
        draw = self.generator(shard)
        order = by_blocks(count, self.blocks, draw) if self.blocks else draw.permutation(count).astype(np.int32)
        return pad_rows(order, program.steps_per_epoch * part)[0]


def batch(program: Any, data: Any, order: jax.Array, position: jax.Array, numbers: Any) -> tuple[Any, Any, Any, Any]:
    """As `step._batch`, of data whose arrays are [shards, rows of a shard, ...] and an order [shards, ...]."""
    part = program.batch // program.shards
    first = position * part
    # a batch that takes every row has no order
    plain = program.steps_per_epoch == 1 and not program.context and not program.streamed

    def own(x, y, weight, order, shard):  # what one device holds: [its shards, ...] of each
        rows = jax.lax.dynamic_slice_in_dim(order, first - numbers["skipped"], part, axis=1)

        def take(a):
            taken = a if plain else jax.vmap(lambda v, r: v.at[r].get(mode="promise_in_bounds"))(a, rows)
            return taken.reshape(-1, *taken.shape[2:])  # [its shards, part, ...] -> [its part of the batch, ...]

        if program.context:
            x, y = jax.vmap(lambda ids, r: pieces(program.context, ids, r, numbers["offset"]))(x, rows)
            x, y = (a.reshape(-1, *a.shape[2:]) for a in (x, y))
        else:
            x, y = jax.tree.map(take, (x, y))
        count = program.rows // program.shards + (shard < program.rows % program.shards)
        mask = (first + jnp.arange(part) < count[:, None]).reshape(-1)
        return x, y, None if weight is None else take(weight), mask

    shard = jnp.arange(program.shards)
    arguments = (data.x, data.y, data.weight, order, shard)
    if program.mesh is not None:
        rows = PartitionSpec(AXES)
        held = jax.tree.map(lambda _: rows, arguments)
        own = jax.shard_map(own, mesh=program.mesh, in_specs=held, out_specs=rows)
    x, y, weight, mask = own(*arguments)
    if program.rows % program.batch == 0:
        return x, y, weight, None
    return x, y, mask.astype(jnp.float32) if weight is None else jnp.where(mask, weight, 0), mask


def counted(program: Any, data: Any, position: jax.Array) -> jax.Array | None:
    """The sum of the weights of a batch's rows, where it is known without the devices telling each other: one exchange
    a step less."""
    if program.shards == 1 or data.weight is not None or program.rows % program.batch == 0:
        return None
    part = program.batch // program.shards
    held = program.rows // program.shards + (jnp.arange(program.shards) < program.rows % program.shards)
    return jnp.clip(held - position * part, 0, part).sum().astype(jnp.float32)


def pieces(context: int, ids: jax.Array, rows: jax.Array, offset: Any) -> tuple[jax.Array, jax.Array]:
    """Pieces of a text, and what follows each of their tokens: two of [batch, context]."""
    places = (rows * context + jnp.asarray(offset, rows.dtype))[:, None] + jnp.arange(context + 1)
    tokens = ids.at[places].get(mode="promise_in_bounds").astype(jnp.int32)
    return tokens[:, :-1], tokens[:, 1:]
