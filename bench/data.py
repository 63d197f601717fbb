"""The data of a row, as NumPy arrays: real where it lies in ../shared/data, otherwise made, of the same shapes.

A network is to learn something from them, so that the losses that are compared have moved: made examples are noise
around one pattern for each class.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.models import CNN, GPT, Recurrent
from bench.rows import Row

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MNIST, TEXT = SHARED / "mnist", SHARED / "tinyshakespeare.txt"


@dataclass(frozen=True)
class Data:
    """x: [n, ...] as a user has it (images: uint8, channels last); y: int [n], of texts [n, steps]."""

    x: np.ndarray
    y: np.ndarray
    source: str

    @property
    def scaled(self) -> np.ndarray:
        """x as networks take it in: images as float32, standardised (by channel); the rest as it is."""
        if self.x.dtype != np.uint8:
            return self.x
        axes = tuple(range(self.x.ndim - 1)) if self.x.ndim == 4 and self.x.shape[-1] > 1 else None
        mean, spread = self.x.mean(axis=axes, dtype=np.float64), self.x.std(axis=axes, dtype=np.float64)
        return (self.x - mean.astype(np.float32)) / spread.astype(np.float32)


def order(row: Row, epoch: int) -> np.ndarray:
    """The order of the examples in an epoch: the one that Pellucid shuffles to with the seed 0."""
    if row.steps == 1:
        return np.arange(row.examples)
    return np.random.Generator(np.random.Philox(key=np.array([0, epoch], np.uint64))).permutation(row.examples)


def load(row: Row) -> Data:
    """The examples of a row."""
    n = max(row.batches, default=row.examples)
    if row.data == "mnist" and MNIST.is_dir():
        x, y = _idx("train-images-idx3-ubyte.gz", 16)[: n * 784], _idx("train-labels-idx1-ubyte.gz", 8)[:n]
        shape = (28, 28, 1) if isinstance(row.model, CNN) else (28, 28)
        return Data(x.reshape(n, *shape), y.astype(np.int32), "MNIST")
    if isinstance(row.model, GPT):
        return _pieces(n, row.model.context)
    shapes = {
        "mnist": (28, 28, 1) if isinstance(row.model, CNN) else (28, 28),
        "colour": (32, 32, 3),
        "grey": (28, 28, 1),
        "flat": (784,),
        "cold": (784,),
    }
    if isinstance(row.model, Recurrent):
        shapes["sequences"] = (row.model.steps, row.model.features)
    return _made(n, shapes[row.data], row.data in ("mnist", "colour"))


def _idx(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((MNIST / name).read_bytes()), np.uint8, offset=header)


def _made(n: int, shape: tuple[int, ...], bytes_: bool) -> Data:
    random = np.random.default_rng(0)
    pattern = random.normal(size=(10, *shape)).astype(np.float32)
    y = random.integers(0, 10, n).astype(np.int32)
    x = random.standard_normal((n, *shape), np.float32) + 0.3 * pattern[y]
    return Data((x * 40 + 128).clip(0, 255).astype(np.uint8) if bytes_ else x, y, "made")


def _pieces(n: int, context: int) -> Data:
    if TEXT.is_file():
        text = np.frombuffer(TEXT.read_bytes()[: n * context + 1], np.uint8)
        known, ids = np.unique(np.frombuffer(TEXT.read_bytes(), np.uint8), return_inverse=True)
        assert len(known) == 65
        ids, source = ids[: len(text)].astype(np.int32), "tinyshakespeare"
    else:  # a walk with small steps: each token says much of the next
        ids = (np.cumsum(np.random.default_rng(0).integers(-2, 3, n * context + 1)) % 65).astype(np.int32)
        source = "made"
    return Data(ids[:-1].reshape(n, context), ids[1:].reshape(n, context), source)
