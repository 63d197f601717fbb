"""Examples on the device: all of them at once, or, of a set larger than memory, those of one chunk after the other."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Part
from pellucid.network.rows import pad_rows
from pellucid.train.program import Data, Program

Taken = tuple[Data, jax.Array]
CHUNK_BYTES = 128 << 20  # of the examples of one chunk, where they are not all on the device


class Feed:
    """`chunk(order, first, following)` gives (data, order, skipped) for the chunk that begins at step `first` of an
    epoch: the examples, the order in which they are taken, and how many of the epoch's rows come before.

    While a chunk is computed, a thread reads the next one; at an epoch's end, in the order `following()`, the first one
    of the next epoch, which is so at hand when the network has been scored.
    """

    def __init__(self, program: Program, train: Part, steps: int):
        self.program, self.train, self.steps = program, train, steps
        self.next: tuple[int, Future[tuple[np.ndarray, Taken]]] | None = None  # (first step, (order, what was read))
        self.waited = 0.0  # seconds in which the training stood still for want of examples
        if program.streamed:
            row = int(np.prod(train.x.shape[1:])) * np.dtype(train.x.dtype).itemsize
            self.steps = max(min(steps, CHUNK_BYTES // (row * program.batch)), 1)
            self.reader = ThreadPoolExecutor(1, thread_name_prefix="pellucid-feed")
        elif program.context:
            ids = np.concatenate([train.x.reshape(-1), train.y[-1, -1:].astype(train.x.dtype)])
            self.data = Data(jnp.asarray(ids), jnp.zeros(()), None)
        else:
            self.data = Data(*(None if a is None else jnp.asarray(a) for a in (train.x, train.y, train.weight)))
        self.order: tuple[int, jax.Array] | None = None

    def chunk(
        self, order: np.ndarray, first: int, following: Callable[[], np.ndarray] | None = None
    ) -> tuple[Data, Any, int]:
        if not self.program.streamed:
            if self.order is None or self.order[0] != id(order):
                self.order = id(order), jnp.asarray(order)
                self._held = order  # so that its id stays its own
            return self.data, self.order[1], 0
        began = time.perf_counter()
        found = self._ahead(order, first)
        if found is None:
            found = self._read(order, first)
        self.waited += time.perf_counter() - began
        after = first + self.steps
        if after < self.program.steps_per_epoch:
            self.next = after, self.reader.submit(lambda: (order, self._read(order, after)))
        elif following is not None:
            self.next = 0, self.reader.submit(lambda: ((then := following()), self._read(then, 0)))
        return *found, first * self.program.batch

    def _ahead(self, order: np.ndarray, first: int) -> Taken | None:
        """The chunk, if it is the one that was read ahead; what was read in vain is let go of."""
        asked, self.next = self.next, None
        if asked is None or asked[0] != first:
            return None
        read, found = asked[1].result()
        return found if read is order else None

    def _read(self, order: np.ndarray, first: int) -> Taken:
        """The rows of one chunk as they lie on the disk, and the order in which they are taken; always as many, so that
        one compilation serves the last chunk too."""
        batch = self.program.batch
        rows, _ = pad_rows(order[first * batch : (first + self.steps) * batch], self.steps * batch)
        lying = np.argsort(rows, kind="stable")
        places = np.empty(len(rows), np.int32)
        places[lying] = np.arange(len(rows), dtype=np.int32)
        rows = rows[lying]
        weight = None if self.train.weight is None else jnp.asarray(self.train.weight[rows])
        return Data(jnp.asarray(self.train.x[rows]), jnp.asarray(self.train.y[rows]), weight), jnp.asarray(places)
