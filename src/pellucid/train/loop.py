"""The epoch loop: chunks of compiled steps, evaluation, early stopping, and a state that can be taken out and put back.

Python is touched once a chunk. Where chunks end follows from the network's size and never from a clock, so equal runs
write equal bytes; interrupted at any chunk and resumed, a run goes on as if nothing had happened, because the whole
state is the weights, the optimizer's moments, and a few integers (the shuffling is a function of seed and epoch).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Part
from pellucid.network.composite import walk
from pellucid.network.dispatch import release
from pellucid.network.layer import Layer, flatten, nest
from pellucid.network.network import Network
from pellucid.network.remat import in_blocks
from pellucid.network.rows import pad_rows
from pellucid.network.trace import carried_over, operations, trace
from pellucid.signals.record import numbers as round_all
from pellucid.signals.record import of_losses, spread
from pellucid.signals.sampling import is_measured
from pellucid.train import mesh as meshes
from pellucid.train.augment import Augmentation
from pellucid.train.evaluate import Evaluator, Scores
from pellucid.train.feed import Feed
from pellucid.train.loss import Loss
from pellucid.train.meeting import run_chunk
from pellucid.train.metrics import Metric
from pellucid.train.optimizers import Optimizer
from pellucid.train.order import Orders, by_blocks, by_rows
from pellucid.train.precision import Precision, to_record
from pellucid.train.program import Program
from pellucid.train.schedules import Schedule
from pellucid.train.shard_feed import ShardFeed
from pellucid.train.shards import Orders as ShardOrders
from pellucid.train.shards import filled
from pellucid.train.step import start, zeros_like
from pellucid.train.units import Units

SAMPLE_ROWS = 2048  # training examples scored every epoch, to stand beside the validation scores
SAMPLE_TOKENS = 32_768  # the same for a text
CHUNK_SECONDS = 0.5  # as `cadence` takes a step to cost; native kernels need half of that and less
MOST_STEPS = 10_000  # in one chunk
UNITS = 50  # times in a run that single units are looked at


@dataclass(frozen=True)
class Settings:
    """What the loop is told, all resolved."""

    loss: Loss
    metric: Metric | None
    optimizer: Optimizer
    schedule: Schedule
    batch_size: int
    updates: int
    patience: int | None = None  # epochs without a better validation score; None: never stop early
    monitor: str = "loss"  # what is compared on validation: "loss" or "metric"
    keep: str = "best"  # which epoch's weights are the result: "best" or "last"
    seed: int = 0
    frozen: tuple[str, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    signals: bool = True
    text: bool = False  # the rows are the pieces of one text, in order
    augment: tuple[Augmentation, ...] = ()
    shuffle: str = "rows"  # or "blocks" of neighbouring rows (see `order`)
    precision: Precision = "float32"  # what the layers compute in
    accumulate: int = 1  # parts that a batch is computed in, one after the other
    remat: str = "none"  # "blocks": what is inside a block is computed again on the way back
    mesh: jax.sharding.Mesh | None = None  # of several devices, over which a step is divided
    shards: int = 1  # into which the rows are dealt (see train/shards.py)


@dataclass(frozen=True)
class ChunkEnded:
    """Some updates were made. `measured` are lines for the record."""

    epoch: int
    step: int
    loss: float  # mean over the epoch so far
    steps: int
    measured: list[dict[str, Any]]


@dataclass(frozen=True)
class EpochEnded:
    """The training set was seen once more, and the network scored."""

    epoch: int
    step: int
    loss: float  # mean over the epoch, while it learned
    sample: Scores  # of (a sample of) the training set, at the epoch's end
    validation: Scores | None
    learning_rate: float
    improved: bool
    measured: list[dict[str, Any]] = field(default_factory=list)  # lines for the record, that come before the epoch's


Event = ChunkEnded | EpochEnded


@dataclass
class Best:
    """The best epoch so far, and its weights."""

    epoch: int = 0
    step: int = 0
    score: float = math.inf  # lower is better
    tie: float = math.inf
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Loop:
    """Trains `network` (initialised) on `train`; iterate over `run()` for events, then ask for `result()`."""

    def __init__(self, network: Network, train: Part, validation: Part | None, settings: Settings):
        assert network.params is not None
        self.network, self.settings, self.validation = network, settings, validation
        example = jax.ShapeDtypeStruct((1, *train.x.shape[1:]), train.x.dtype)
        leaves = trace(network.layer, example).leaves if settings.signals else ()
        # raw outputs of an example (or of each step of it), and how many steps a sequence has
        self.width, self.steps_read = widths(network.layer, example)
        # the kind of each watched layer, by path, in forward order
        self.kinds = {leaf.path: leaf.layer.name for leaf in leaves if _is_float(leaf.y)}
        streams = settings.text and carries(network.layer)
        batch, rows = batches(len(train.y), settings.batch_size, settings.text)
        blocks = in_blocks(network.layer, example) if settings.remat == "blocks" else None
        batch = filled(batch, rows, settings.shards)
        self.program = Program(
            layer=network.layer if blocks is None else blocks.layer, loss=settings.loss,
            optimizer=settings.optimizer.structure(), schedule=settings.schedule, batch=batch, rows=rows,
            context=train.x.shape[1] if settings.text else 0,
            streams=streams, augment=settings.augment, streamed=not isinstance(train.x, np.ndarray),
            watched=tuple(self.kinds),
            timed=tuple(path for path, kind in self.kinds.items() if kind in ("rnn", "lstm", "gru")),
            frozen=settings.frozen, groups=tuple(group for group, _ in settings.rates),
            precision=settings.precision, accumulate=min(settings.accumulate, batch),
            mesh=settings.mesh, shards=settings.shards,
        )  # fmt: skip
        self.numbers: dict[str, float] = {**settings.optimizer.numbers(), "total": settings.updates, "plateau": 1.0}
        self.numbers |= {"offset": 0.0, "skipped": 0}
        self.numbers.update({f"rate:{group}": rate for group, rate in settings.rates})
        piece = jax.ShapeDtypeStruct((batch, *example.shape[1:]), example.dtype)
        carried = carried_over(network.layer, piece) if streams else ()
        self.carry = start(self.program, flatten(network.params), network.state or {}, self.numbers, carried)
        self.key = meshes.key(settings.mesh, settings.seed)
        self.evaluator = Evaluator(
            network.layer, settings.loss.scored(), settings.metric, streams=streams, mesh=settings.mesh
        )
        self.sample = _sample(train, settings)
        self.units = Units(network.layer, self.kinds, self.sample) if self.kinds else None
        self.every, self.chunk_steps = cadence(self.program, operations(network.layer, example))
        self.row_bytes = math.prod(train.x.shape[1:]) * np.dtype(train.x.dtype).itemsize
        self.orders = Orders(lambda epoch: self._drawn(epoch)[0])
        self.feed = (ShardFeed if settings.shards > 1 else Feed)(self.program, train, self.chunk_steps)
        self.chunk_steps = self.feed.steps
        self.step = self.epoch = self.epoch_start = self.waited = 0
        self.bad: int | None = None  # the first step whose loss was not finite
        self.best, self.plateau, self.stopped = Best(), settings.schedule.begin(), ""
        self._order: tuple[int, Any] | None = None
        self._cut: tuple[tuple[int, int], dict[str, np.ndarray]] | None = None
        self._gather()
        release()  # what was needed to read and prepare the data

    # -- running ------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return bool(self.stopped)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Train until the budget ends, patience does, the loss is not finite, or `stop()` (asked at each chunk)."""
        while not self.finished and not stop():
            if self.step < self._epoch_end:
                yield self._chunk()
            elif not self.stopped:
                yield self._close_epoch()

    def some(self, updates: int) -> Iterator[Event]:
        """The next `updates` updates and no more, with the ends of epochs among them: for who drives the loop by hand,
        one update at a time if need be."""
        last = self.step + updates
        while not self.finished:
            if self.step >= self._epoch_end:  # perhaps left open by who stopped listening last time
                yield self._close_epoch()
            elif self.step < last:
                yield self._chunk(last)
            else:
                return

    def next_rows(self) -> np.ndarray:
        """The training rows that the next update learns from; of examples that stand alone, not of a text."""
        if self.program.batch == self.program.rows:
            return np.arange(self.program.rows)
        first = (self.step - self.epoch_start) * self.program.batch
        return self._shuffled()[first : first + self.program.batch][: self.program.rows - first]

    @property
    def _epoch_end(self) -> int:
        return min(self.epoch_start + self.program.steps_per_epoch, self.settings.updates)

    def _chunk(self, last: int | None = None) -> ChunkEnded:
        """last: a step beyond which it does not go."""
        done = self.step - self.epoch_start
        until = self.epoch_start + (done // self.chunk_steps + 1) * self.chunk_steps
        until = min(until, self._epoch_end, until if last is None else last)
        segments = plan(self.step, until, self.every if self.program.watched else 0)
        padded = np.zeros((segments_needed(self.chunk_steps, self.every), 2), np.int32)
        padded[: len(segments)] = segments
        before = self.step
        measured = [self._units_line()] if self.units is not None and before == 0 else []
        losses, rows, squares = self.advance(padded, len(segments))
        losses, rows, squares = jax.device_get((losses, rows, squares))  # at once: each by itself takes its time
        losses = np.asarray(losses, np.float64)[: self.step - before]
        if not np.isfinite(losses).all():
            self.stopped, self.bad = "diverged", before + int(np.argmin(np.isfinite(losses)))
        measured += self._lines(rows, segments)
        if self.program.watched:
            norm = round_all([float(s) ** 0.5 for s in squares.values()])
            said = of_losses(losses)
            told = to_record(self.carry.scale)
            measured.append({"kind": "chunk", "step": self.step, "norm": norm, "loss": said, **told})
        loss = float(self.carry.loss) / max(float(self.carry.weight), 1e-30)
        return ChunkEnded(self.epoch + 1, self.step, loss, self.step - before, measured)

    def _looks_at_units(self) -> bool:
        """After epochs 1, 2, 4, 8, ..., and about 50 times in all: a full-batch run has thousands of epochs."""
        epochs = -(-self.settings.updates // self.program.steps_per_epoch)
        return bool(self.stopped) or is_measured(self.epoch, -(-epochs // UNITS))

    def _units_line(self) -> dict[str, Any]:
        assert self.units is not None
        params, state = self.carry.params, self.carry.state
        if self.program.mesh is not None:
            params, state = meshes.local((params, state))
        return {"kind": "units", "step": self.step, **self.units(params, state)}

    def advance(self, segments: np.ndarray, count: int, **numbers: float) -> tuple[Any, Any, Any]:
        """Run the first `count` of these segments; numbers: in place of the loop's own (a learning rate)."""
        following, last = self.epoch + 1, self.epoch_start + self.program.steps_per_epoch >= self.settings.updates
        data, order, skipped = self.feed.chunk(
            self._shuffled(), self.step - self.epoch_start, None if last else lambda: self.orders(following)
        )
        with meshes.on(self.program.mesh):
            self.carry, losses, rows, squares = run_chunk(
                self.program, self.chunk_steps, self.carry, data, order,
                {**self.numbers, "skipped": skipped, **numbers}, self.key, self.epoch_start, segments, count,
            )  # fmt: skip
        self.step = int(self.carry.step)
        return losses, rows, squares

    def _close_epoch(self) -> EpochEnded:
        loss = float(self.carry.loss) / max(float(self.carry.weight), 1e-30)
        factor = _factor(self.program.schedule, np.int32(max(self.step - 1, 0)), np.float32(self.settings.updates))
        rate = float(self.numbers.get("learning_rate", 1.0) * self.numbers["plateau"]) * float(factor)
        sample = self.evaluator(self.carry.params, self.carry.state, self.sample)
        validation = None
        if self.validation is not None:
            validation = self.evaluator(self.carry.params, self.carry.state, self.validation)
        self.epoch += 1
        self.epoch_start = self.step
        improved = self._judge(validation or sample)
        self.plateau, factor = self.settings.schedule.observe(self.plateau, (validation or sample).loss)
        self.numbers["plateau"] = float(factor)
        self._gather()
        zero = jnp.zeros((), jnp.float32)
        fresh = meshes.put_like(self.program.mesh, self.carry, zero, zeros_like(self.carry.carried))
        self.carry = self.carry._replace(**fresh)
        if not math.isfinite((validation or sample).loss):
            self.stopped = "diverged"
        elif self.step >= self.settings.updates:
            self.stopped = "budget"
        elif self.settings.patience is not None and self.waited >= self.settings.patience:
            self.stopped = "patience"
        measured = [self._units_line()] if self.units is not None and self._looks_at_units() else []
        return EpochEnded(self.epoch, self.step, loss, sample, validation, rate, improved, measured)

    def _judge(self, scores: Scores) -> bool:
        metric = -scores.metric if self.settings.metric and self.settings.metric.higher_is_better else scores.metric
        score, tie = (scores.loss, metric) if self.settings.monitor == "loss" else (metric, scores.loss)
        better = (score, tie) < (self.best.score, self.best.tie)
        self.waited = 0 if better else self.waited + 1
        if better or (self.settings.keep == "last" and math.isfinite(scores.loss)):
            self.best = Best(self.epoch, self.step, score, tie, self._arrays())
        return better

    def _shuffled(self) -> Any:
        """The order of the examples in this epoch, and for a text where its pieces begin: functions of seed and epoch
        alone."""
        if self.program.streamed and self.program.shards == 1:
            return self.orders(self.epoch)
        if self._order is not None and self._order[0] == self.epoch:
            return self._order[1]
        if self.program.shards > 1:
            blocks = self.row_bytes if self.settings.shuffle == "blocks" else 0
            orders = ShardOrders(self.program, self.settings.seed, self.epoch, blocks)
            self._order, self.numbers["offset"] = (self.epoch, orders), _offset(self.program, orders.generator())
        else:
            order, self.numbers["offset"] = self._drawn(self.epoch)
            self._order = self.epoch, order
        return self._order[1]

    def _drawn(self, epoch: int) -> tuple[np.ndarray, float]:
        generator = np.random.Generator(np.random.Philox(key=np.array([self.settings.seed, epoch], np.uint64)))
        blocks = self.row_bytes if self.settings.shuffle == "blocks" else 0
        return _order(self.program, generator, blocks), _offset(self.program, generator)

    def _lines(self, rows: Any, segments: list[tuple[int, int]]) -> list[dict[str, Any]]:
        lines = []
        for i, (_, measured) in enumerate(segments):
            if measured and not (self.carry.scale and np.isnan(rows.rate[i])):  # else the step was not made
                gradient, update, weight = np.sqrt(np.asarray(rows.weights[i], np.float64)).T
                time = np.sqrt(np.asarray(rows.time[i], np.float64))
                timed = {path: round_all(row) for path, row in zip(self.program.timed, time, strict=True)}
                lines.append(
                    {
                        "kind": "step", "step": int(rows.step[i]), **_named(rows, i),
                        "activation": spread(rows.activation[i]), "gradient": spread(rows.gradient[i]),
                        "weight": {
                            "gradient": round_all(gradient), "update": round_all(update), "rms": round_all(weight),
                        },
                        **({"time": timed} if timed else {}),
                    }
                )  # fmt: skip
        return lines

    # -- state --------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, np.ndarray]:
        if self._cut is not None and self._cut[0] == (self.step, self.epoch):
            return self._cut[1]
        both = {**self.carry.params, **flatten(self.carry.state)}
        return {path: np.array(meshes.fetch(value), copy=True) for path, value in both.items()}

    def _gather(self) -> None:
        """Where no process holds all weights, they are brought together when an epoch begins or ends, by all processes;
        so that one of them, which writes the run, can then ask for them alone."""
        if any(not meshes.readable(value) for value in self.carry.params.values()):
            self._cut = None
            self._cut = (self.step, self.epoch), self._arrays()

    def result(self) -> Network:
        """The network with the weights of the best (or last) epoch."""
        return with_arrays(self.network, self.best.arrays or self._arrays())

    def now(self) -> Network:
        """The network with the weights as they are now."""
        return with_arrays(self.network, self._arrays())

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything needed to go on: arrays (on a mesh, as they lie there), and plain JSON values."""
        leaves, mesh = jax.tree.leaves(self.carry), self.program.mesh
        arrays: dict[str, Any] = {
            f"carry/{i:04d}": np.array(leaf, copy=True) if mesh is None else leaf for i, leaf in enumerate(leaves)
        }
        arrays.update({f"best/{path}": value for path, value in self.best.arrays.items()})
        plain = {
            "step": self.step, "epoch": self.epoch, "epoch_start": self.epoch_start, "waited": self.waited,
            "plateau": self.plateau, "factor": self.numbers["plateau"], "stopped": self.stopped,
            "best": [self.best.epoch, self.best.step, self.best.score, self.best.tie],
        }  # fmt: skip
        return arrays, plain

    def restore(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        """Put back what `snapshot` took out."""
        leaves, treedef = jax.tree.flatten(self.carry)
        kept = [arrays[f"carry/{i:04d}"] for i in range(len(leaves))]
        if self.program.mesh is None:
            self.carry = jax.tree.unflatten(treedef, [jnp.asarray(np.asarray(v)) for v in kept])
        else:
            places = jax.tree.leaves(meshes.of_carry(self.program.mesh, self.carry))
            self.carry = jax.tree.unflatten(treedef, [meshes.put(p, v) for p, v in zip(places, kept, strict=True)])
        self.step, self.epoch, self.epoch_start = plain["step"], plain["epoch"], plain["epoch_start"]
        self.waited, self.plateau, self.stopped = plain["waited"], plain["plateau"], plain["stopped"]
        self.numbers["plateau"] = plain["factor"]
        best = {p.removeprefix("best/"): np.asarray(value) for p, value in arrays.items() if p.startswith("best/")}
        epoch, step, score, tie = plain["best"]
        self.best = Best(epoch, step, float(score), float(tie), best)
        self._order = None
        self._gather()


def with_arrays(network: Network, arrays: dict[str, np.ndarray]) -> Network:
    """The network with these arrays (by path) in place of its own."""

    def pick(own: Any) -> Any:
        return nest({path: jnp.asarray(arrays[path]) for path in flatten(own or {})})

    return network.replace(params=pick(network.params), state=pick(network.state))


@partial(jax.jit, static_argnums=0)
def _factor(schedule: Schedule, step: Any, total: Any) -> jax.Array:
    return schedule.factor(step, total)


def widths(layer: Layer, example: Any) -> tuple[int, int | None]:
    """(numbers on the last axis of what comes out, steps of a sequence that comes in)."""
    y = trace(layer, example).y
    return y.shape[-1] if len(y.shape) > 1 else 1, example.shape[1] if len(example.shape) == 3 else None


def _is_float(y: Any) -> bool:
    return hasattr(y, "dtype") and jnp.issubdtype(y.dtype, jnp.floating)


def _named(rows: Any, i: int) -> dict[str, Any]:
    loss, rate = round_all([rows.loss[i], rows.rate[i]])
    return {"loss": loss, "learning_rate": rate}


def carries(layer: Layer) -> bool:
    """Whether the network has a state to carry from piece to piece of a text. One that attends to what came before, and
    so keeps all of it, is not carried in training: it sees its context and no more."""
    parts = [part for _, part in walk(layer)]
    return any(part.carries for part in parts) and not any(part.caches for part in parts)


def batches(rows: int, batch: int, text: bool) -> tuple[int, int]:
    """(batch, rows that an epoch takes). Of a text, an epoch takes whole batches, and leaves a piece at its end, which
    makes room for pieces that begin at an offset."""
    if not text:
        return min(batch, rows), rows
    batch = min(batch, max(rows - 1, 1))
    return batch, max(rows - 1, 1) // batch * batch


def _order(program: Program, generator: np.random.Generator, row_bytes: int = 0) -> np.ndarray:
    """row_bytes: of an example, where blocks of neighbours are shuffled and not single rows."""
    if program.streams:  # batch i holds piece i of each stream
        return np.arange(program.rows, dtype=np.int32).reshape(program.batch, -1).T.reshape(-1)
    if program.takes_all:
        return np.zeros(1, np.int32)
    order = by_blocks(program.rows, row_bytes, generator) if row_bytes else by_rows(program.rows, generator)
    return pad_rows(order, program.steps_per_epoch * program.batch)[0]


def _offset(program: Program, generator: np.random.Generator) -> float:
    return float(generator.integers(program.context)) if program.context and not program.streams else 0.0


def _sample(train: Part, settings: Settings) -> Part:
    """Training examples that are scored every epoch: of a text its beginning, for its pieces belong together."""
    if settings.text:
        few = slice(0, min(len(train.y), max(SAMPLE_TOKENS // train.x.shape[1], 1)))
        return Part(train.x[few], train.y[few], None, train.rows[few])
    few = np.random.Generator(np.random.Philox(settings.seed)).permutation(len(train.y))[:SAMPLE_ROWS]
    return Part(train.x[few], train.y[few], None if train.weight is None else train.weight[few], few)


def cadence(program: Program, operations: int) -> tuple[int, int]:
    """(measure every so many steps, steps in a chunk), from the network's structure.

    A step is taken to cost 50 µs and three times the forward pass's operations at 60 GFLOP/s; a measured step of a
    small network costs half as much again as a plain one, of a wide one hardly more, so small ones are measured more
    rarely.
    """
    seconds = 50e-6 + 3 * operations * program.batch / 60e9
    every = 100 if seconds < 2e-3 else 50
    return every, int(min(max(CHUNK_SECONDS / seconds, 1), MOST_STEPS))


def plan(first: int, last: int, every: int) -> list[tuple[int, int]]:
    """Steps [first, last) as segments: (plain steps, then measured steps: 0 or 1).

    >>> plan(0, 10, every=8)
    [(0, 1), (0, 1), (0, 1), (1, 1), (3, 1), (1, 0)]
    """
    segments, plain = [], 0
    for step in range(first, last):
        if every and is_measured(step, every):
            segments.append((plain, 1))
            plain = 0
        else:
            plain += 1
    return segments + ([(plain, 0)] if plain else [])


def segments_needed(steps: int, every: int) -> int:
    return steps // every + every.bit_length() + 3
