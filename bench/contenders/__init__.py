"""The libraries that are compared, each as its own documentation has it and at its best setting.

A module here offers `train(row, data, weights) -> Training` and `infer(row, data, weights) -> Call`, and has a name:
"torch-compile" is `with_torch` with `compiled=True`. `clock.py` measures what they give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[np.ndarray], np.ndarray]  # a batch in, logits out: both NumPy arrays, as a user would call it


class Training:
    """A network in training, ready to start. `facts` are told beside the times ("threads": 2)."""

    facts: dict[str, Any] = {}  # noqa: RUF012  (none by default)

    def epoch(self, number: int) -> None:
        """One pass over all batches of the row, in the order `data.order(row, number)`, until all is computed."""
        raise NotImplementedError

    def loss(self) -> float:
        """The mean loss of the first `row.checked` examples with the weights as they are, as in training."""
        raise NotImplementedError

    def timed(self, first: int, epochs: int) -> list[float]:
        """Seconds of each of so many further epochs."""
        import time

        seconds = []
        for number in range(first, first + epochs):
            start = time.perf_counter()
            self.epoch(number)
            seconds.append(time.perf_counter() - start)
            self.between()
        return seconds

    def between(self) -> None:
        """What is left out of the time, such as an evaluation."""


def logistic_loss(logits: np.ndarray, y: np.ndarray) -> float:
    """The mean cross-entropy of logits [..., classes] and labels [...], in float64.

    >>> round(logistic_loss(np.zeros((2, 4)), np.array([0, 3])), 4)
    1.3863
    """
    z = np.asarray(logits, np.float64).reshape(-1, np.shape(logits)[-1])
    z = z - z.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(z, np.asarray(y).reshape(-1, 1).astype(np.int64), axis=1)[:, 0]
    return float((np.log(np.exp(z).sum(axis=1)) - chosen).mean())


def made(name: str) -> tuple[Any, dict[str, Any]]:
    """The module of a contender, and what its functions are told besides."""
    import importlib

    base, _, rest = name.partition("-")
    module = importlib.import_module(f"bench.contenders.with_{base}")
    return module, {"compiled": True} if rest.startswith("compile") else {}
