"""The order in which an epoch takes the training rows: a function of seed and epoch alone.

`rows`: any row may come next. `blocks`, for sets that lie on a disk which serves neighbours faster than single rows:
the set is cut into blocks of neighbouring rows, the blocks are shuffled, and then the rows of so many blocks as a
buffer holds, again and again. Which rows meet in a batch is then less free: of a set that lies sorted, a buffer sees
BUFFER // BLOCK places of it. Block and buffer follow from the size of a row, never from the machine.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

BLOCK = 1 << 18  # bytes of neighbouring rows
BUFFER = 1 << 28  # bytes of rows that are shuffled together: 1,024 blocks


def by_rows(rows: int, generator: np.random.Generator) -> np.ndarray:
    """All rows in any order: int32 [rows].

    >>> sorted(by_rows(4, np.random.Generator(np.random.Philox(0))).tolist())
    [0, 1, 2, 3]
    """
    return generator.permutation(np.arange(rows, dtype=np.int32))


def by_blocks(rows: int, row_bytes: int, generator: np.random.Generator) -> np.ndarray:
    """Blocks in any order, and the rows of each buffer of blocks in any order: int32 [rows].

    >>> order = by_blocks(10, BLOCK // 2, np.random.Generator(np.random.Philox(0)))
    >>> sorted(order.tolist()) == list(range(10))
    True
    """
    size = max(BLOCK // max(row_bytes, 1), 1)
    together = max(BUFFER // BLOCK, 1) * size
    blocks = generator.permutation(-(-rows // size)).astype(np.int64)
    order = (blocks[:, None] * size + np.arange(size)).reshape(-1)
    order = order[order < rows].astype(np.int32)
    for start in range(0, rows, together):
        generator.shuffle(order[start : start + together])
    return order


class Orders:
    """`make(epoch)`, kept for the last two epochs asked for: a thread that reads ahead may want the next one early, and
    gets the very array that the loop will."""

    def __init__(self, make: Callable[[int], np.ndarray]):
        self.make, self.lock = make, threading.Lock()
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __call__(self, epoch: int) -> np.ndarray:
        with self.lock:
            if epoch not in self.kept:
                self.kept[epoch] = self.make(epoch)
                while len(self.kept) > 2:
                    self.kept.popitem(last=False)
            return self.kept[epoch]
