"""What a compiled step is told, carries from step to step, and tells: the words that the modules of training share."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from pellucid.network.layer import Layer
from pellucid.train.augment import Augmentation
from pellucid.train.loss import Loss
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule

Arrays = dict[str, jax.Array]  # by path


class Data(NamedTuple):
    """Examples on the device: x [n, ...], y [n, ...], weight [n] or None."""

    x: Any
    y: Any
    weight: Any


class Carry(NamedTuple):
    """All that changes from step to step."""

    params: Arrays
    state: Any
    optimizer: Any
    step: jax.Array
    loss: jax.Array  # sum over the epoch's examples so far
    weight: jax.Array  # the sum of their weights
    carried: Any = ()  # what recurrent layers keep from one piece of the text to the next
    scale: Any = ()  # of the loss, where gradients have too few bits (`precision.Scale`)


class Measured(NamedTuple):
    """What a measured step tells. activation, gradient: [layers, 5] sums; weights: [weights, 3] mean squares of a
    sample of each gradient, update and weight; time: [recurrent layers, BINS] mean squares of the gradient by step."""

    step: jax.Array
    loss: jax.Array
    rate: jax.Array
    activation: jax.Array
    gradient: jax.Array
    weights: jax.Array
    time: jax.Array


@dataclass(frozen=True)
class Program:
    """All that is compiled in: equal programs share one compilation. Numbers (rates, decays) are traced instead."""

    layer: Layer
    loss: Loss
    optimizer: Optimizer  # its structure only
    schedule: Schedule
    batch: int
    rows: int  # training examples
    watched: tuple[str, ...] = ()  # leaves whose statistics are taken
    timed: tuple[str, ...] = ()  # of those the recurrent ones, whose gradient is told step by step too
    frozen: tuple[str, ...] = ()  # paths of weights that do not move
    groups: tuple[str, ...] = ()  # path prefixes with rates of their own
    context: int = 0  # of a language model: steps of a piece of text; x is then one row of token ids, and y follows
    streams: bool = False  # successive batches hold successive pieces, and recurrent layers carry their state over
    augment: tuple[Augmentation, ...] = ()

    streamed: bool = False  # the examples on the device are those of one chunk
    precision: str = "float32"  # what the layers compute in
    accumulate: int = 1  # parts that a batch is computed in
    mesh: jax.sharding.Mesh | None = None  # of several devices
    shards: int = 1  # into which the rows are dealt

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.batch)

    @property
    def takes_all(self) -> bool:
        """Whether a batch is all the examples, as they lie."""
        return self.batch == self.rows and not self.context and not self.streamed

    def rate(self, step: Any, numbers: Any) -> Any:
        """The learning rate of an update."""
        factor = self.schedule.factor(step, numbers["total"])
        return numbers.get("learning_rate", 1.0) * factor * numbers["plateau"]

    def is_frozen(self, path: str) -> bool:
        return any(under(path, prefix) for prefix in self.frozen)

    def group_of(self, path: str) -> str | None:
        """The longest of `groups` that `path` lies under."""
        return max((g for g in self.groups if under(path, g)), key=len, default=None)

    def trained(self, params: Arrays) -> Arrays:
        return {path: value for path, value in params.items() if not self.is_frozen(path)}


def under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")
