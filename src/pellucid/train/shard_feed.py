"""Examples on a mesh: each device holds the rows of its own shards, and each process reads those of its own devices."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from pellucid.data import Part
from pellucid.network.rows import pad_rows
from pellucid.train.feed import CHUNK_BYTES
from pellucid.train.mesh import by_rows
from pellucid.train.program import Data, Program
from pellucid.train.shards import Orders, dealt


class ShardFeed:
    """As `feed.Feed`, of arrays [shards, rows, ...]."""

    def __init__(self, program: Program, train: Part, steps: int):
        self.program, self.train, self.steps = program, train, steps
        self.waited = 0.0
        self.part = program.batch // program.shards
        self.order: tuple[Orders, jax.Array] | None = None
        self.next: tuple[tuple[Orders, int], Future] | None = None
        if program.streamed:
            row = int(np.prod(train.x.shape[1:])) * np.dtype(train.x.dtype).itemsize
            self.steps = max(min(steps, CHUNK_BYTES // (row * self.part)), 1)
            self.reader = ThreadPoolExecutor(1, thread_name_prefix="pellucid-feed")
            self.places = self._each(lambda shard: np.arange(self.steps * self.part, dtype=np.int32))
        elif program.context:
            self.data = Data(self._each(self._text), self._each(lambda shard: np.zeros(1, np.float32)), None)
        else:
            self.data = self._rows(lambda shard: np.asarray(dealt(program.rows, program.shards, shard)), self._most)

    def chunk(self, order: Orders, first: int, following: Any = None) -> tuple[Data, Any, int]:
        if not self.program.streamed:
            if self.order is None or self.order[0] is not order:
                self.order = order, self._each(lambda shard: order[shard])
            return self.data, self.order[1], 0
        began = time.perf_counter()
        if self.next is not None and self.next[0] == (order, first):
            found = self.next[1].result()
        else:
            found = self._read(order, first)
        self.waited += time.perf_counter() - began
        after, self.next = first + self.steps, None
        if after < self.program.steps_per_epoch:
            self.next = (order, after), self.reader.submit(self._read, order, after)
        return found, self.places, first * self.part

    @property
    def _most(self) -> int:
        """Rows of the largest shard."""
        return -(-self.program.rows // self.program.shards)

    def _read(self, order: Orders, first: int) -> Data:
        def rows(shard: int) -> np.ndarray:
            own = order[shard][first * self.part : (first + self.steps) * self.part]
            return own + dealt(self.program.rows, self.program.shards, shard).start

        return self._rows(rows, self.steps * self.part)

    def _rows(self, rows: Callable[[int], np.ndarray], size: int) -> Data:
        """The examples of these rows, each shard's filled up to `size`."""
        t = self.train
        arrays = (t.x, t.y, t.weight)
        return Data(*(None if a is None else self._each(lambda s, a=a: pad_rows(a[rows(s)], size)[0]) for a in arrays))

    def _text(self, shard: int) -> np.ndarray:
        """The tokens of a shard's pieces, and so many more as pieces that begin at an offset reach into."""
        first, width = dealt(self.program.rows, self.program.shards, shard).start, self.program.context
        x = self.train.x
        pieces = np.asarray(x[first : first + self._most + 1]).reshape(-1)
        after = x[first + self._most + 1, :1] if first + self._most + 1 < len(x) else self.train.y[-1, -1:]
        assert len(pieces) == (self._most + 1) * width
        return np.concatenate([pieces, np.asarray(after).astype(x.dtype)])

    def _each(self, of: Callable[[int], np.ndarray]) -> jax.Array:
        """[shards, ...] of what `of(shard)` gives, asked for the shards of this process's devices alone."""
        mesh, shards = self.program.mesh, self.program.shards
        if mesh is None:
            return jax.numpy.asarray(np.stack([of(shard) for shard in range(shards)]))
        sharding = by_rows(mesh)
        mine = sharding.addressable_devices_indices_map((shards,))
        pieces = []
        for device, index in mine.items():
            assert index is not None
            held = np.stack([of(shard) for shard in range(shards)[index[0]]])
            pieces.append(jax.device_put(held, device))
        shape = (shards, *pieces[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, pieces)
