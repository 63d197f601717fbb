# pyright: reportMissingImports=false
"""One update of a PyTorch model's weights, seen from before and after it: samples of weights and gradients, how large
they were, and how far the weights went.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.connect.torch_kinds import weight_names
from pellucid.connect.torch_probes import local, read, sample
from pellucid.signals.record import numbers

_NAMES = {"Adam": "adam", "NAdam": "adam", "RAdam": "adam", "Adamax": "adam", "AdamW": "adamw", "RMSprop": "rmsprop",
          "Adagrad": "adagrad", "Lion": "lion", "Muon": "muon"}  # fmt: skip


class Updates:
    """The weights of a model, and what an optimizer does to them. Empty until `before` is first called, for lazy layers
    have no weights before their first pass."""

    def __init__(self, model: nn.Module, optimizer: Optimizer):
        self.model, self.optimizer = model, optimizer
        self.names: dict[str, nn.Parameter] = {}
        self.old: dict[str, np.ndarray] = {}  # of weights that the optimizer does not hold, when they were last seen
        self.rates: list[float] = []
        self.felt: list[torch.Tensor | None] | None = None  # samples of the gradients

    def before(self, closure: bool) -> None:
        """An update is about to be made. closure: its gradients are computed within it, and still there after it."""
        self.names = self.names or weight_names(self.model)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups if "lr" in group]
        self.kept = [sample(p) for p in self.names.values()]
        self.felt = None if closure else self._gradients()

    def after(self) -> None:
        """It was made."""
        if self.felt is None:
            self.felt = self._gradients()

    def _gradients(self) -> list[torch.Tensor | None]:
        return [None if p.grad is None else sample(p.grad) for p in self.names.values()]

    def sizes(self, by: float) -> tuple[list[float], list[np.ndarray], list[np.ndarray]]:
        """(each gradient's size, divided by `by`; samples of the weights before and after), in one transfer."""
        assert self.felt is not None
        taken = [t for t in self.felt if t is not None]
        arrays = read([*self.kept, *taken, *(sample(p) for p in self.names.values())])
        count = len(self.names)
        slopes = iter(arrays[count : len(arrays) - count])
        gradients = [0.0 if t is None else rms(next(slopes)) / by for t in self.felt]
        return gradients, arrays[:count], arrays[len(arrays) - count :]

    def line(self, gradients: list[float], before: list[np.ndarray], after: list[np.ndarray]) -> dict[str, Any]:
        """What a record says of the weights in one update."""
        moved = self._moved(before, after, gradients)
        return {"gradient": numbers(gradients), "update": numbers(moved), "rms": numbers([rms(b) for b in before])}

    def _moved(self, before: list[np.ndarray], after: list[np.ndarray], slopes: list[float]) -> list[float]:
        """How far each weight went. One that the optimizer does not hold is compared with when it was last seen, for
        another optimizer may move it. Of one that was moved by less than float32 can tell, the most that it can be."""
        rate, held, moved = max(self.rates, default=0.0), self.held(), []
        for (name, p), b, a, slope in zip(self.names.items(), before, after, slopes, strict=True):
            if id(p) not in held and p.requires_grad:
                b, self.old[name] = self.old.get(name, b), a
            far = rms(a.astype(np.float64) - b)
            if far == 0 and id(p) in held and slope > 0 and rate > 0 and p.dtype.itemsize >= 4:
                far = torch.finfo(p.dtype).eps / 2 * rms(b)
            moved.append(far)
        return moved

    def held(self) -> set[int]:
        """The ids of the weights that the optimizer moves."""
        return {id(p) for group in self.optimizer.param_groups for p in group["params"]}

    def left_out(self) -> list[str]:
        """Weights that are trained, and not by this optimizer."""
        held = self.held()
        return [path for path, p in self.names.items() if p.requires_grad and id(p) not in held]

    def setup(self) -> dict[str, Any]:
        """The optimizer, in a record's words, and what is frozen."""
        group = self.optimizer.param_groups[0]
        name = type(self.optimizer).__name__
        known = _NAMES.get(name, name.lower())
        if name == "SGD" and group.get("momentum"):
            known = "nesterov" if group.get("nesterov") else "momentum"
        rate = float(group["lr"]) if "lr" in group else None
        frozen = [path for path, p in self.names.items() if not p.requires_grad]
        return {"optimizer": known, "learning_rate": rate, "frozen": frozen}

    def norms(self) -> np.ndarray:
        """The norm of each whole weight."""
        weights = [local(p.detach()) for p in self.names.values()]
        norms = read([torch.linalg.vector_norm(w.float() if w.dtype.itemsize < 4 else w) for w in weights])
        return np.concatenate(norms)


def rms(values: np.ndarray) -> float:
    """The root of the mean square.

    >>> rms(np.array([3.0, 4.0])) == 12.5**0.5
    True
    """
    v = values.astype(np.float64)
    return math.sqrt(np.dot(v, v) / max(v.size, 1))
