"""A chunk of a dense network's steps as one native call: forward, backward, every weight's update, and the signals.

XLA runs such a step as some forty small programs, with each gradient written down and read again; for small networks
that is most of what a step takes. `swift` says whether a training can take the call (a plain stack of `Dense` layers,
a common loss and optimizer, on a CPU), and how; where it cannot the step of `step.py` serves, which is also what the
call is held against in the tests. Of a batch that is filled up the call measures the examples that there are; the step
of `step.py` measures what fills it up too.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from pellucid.native import usable
from pellucid.native.steps import DenseSteps, Examples, dense_steps
from pellucid.network.activations import native_bend
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Flatten, Input, Output
from pellucid.network.layer import Layer, flatten, join
from pellucid.network.probes import BINS
from pellucid.signals.sampling import stride
from pellucid.train.losses import BinaryCrossEntropy, CrossEntropy, MeanSquaredError
from pellucid.train.optimizers import SGD, Adam, AdamW, GradientDescent, Momentum, Nesterov, from_zero
from pellucid.train.program import Arrays, Carry, Data, Measured, Program

BENDS = "identity", "relu", "tanh", "sigmoid"  # not gelu, whose slope is no function of what it gives
RULES = {
    SGD: "plain", GradientDescent: "plain", Momentum: "momentum", Nesterov: "nesterov", Adam: "adam", AdamW: "adam",
}  # fmt: skip

# (segments, count) -> what `step.run_chunk` gives: carry, losses, what was measured, the weights' sums of squares
Chunk = Callable[[jax.Array, Any], tuple[Carry, jax.Array, Measured, Arrays]]


class Stack(NamedTuple):
    """A network that is a line of dense layers. paths: of these; standardised: the path of the `Input`, if any;
    leaves: by path of every layer, the dense layer that it comes after (0: none), whether what bends that layer's
    outputs lies between, and the shape of what comes out."""

    paths: tuple[str, ...]
    widths: tuple[int, ...]
    bends: tuple[str, ...]
    standardised: str | None
    leaves: dict[str, tuple[int, bool, tuple[int, ...]]]


def swift(program: Program, carry: Carry, data: Data, order: Any, numbers: Any, first: Any, most: int) -> Chunk | None:
    """How the steps of a chunk of at most `most`, which begins with `carry`, are made in one call; None: not so."""
    found = steps_of(program, carry, data)
    if found is None:
        return None
    stack, steps = found
    paths = _paths(stack)
    examples = _examples(program, carry, data, order, stack)
    rates = _rates(program, carry, numbers, most, steps.rule)
    told = {**numbers, "smoothing": getattr(program.loss, "label_smoothing", 0.0)}
    told = told if program.optimizer.weight_decay else {**told, "weight_decay": 0.0}
    settings = jnp.stack([
        jnp.asarray(told.get(name, 0.0), jnp.float32)
        for name in ("weight_decay", "momentum", "b1", "b2", "eps", "smoothing")
    ])  # fmt: skip

    def chunk(segments: jax.Array, count: Any) -> tuple[Carry, jax.Array, Measured, Arrays]:
        counts = jnp.stack([jnp.asarray(n, jnp.int32) for n in (count, carry.step - first, numbers["skipped"])])
        trees = [carry.params, *_moments(carry.optimizer)]
        empty = jnp.zeros((0,), jnp.float32)
        arrays = [tree.get(path, empty) for tree in trees for path in paths]
        sums = jnp.stack([carry.loss, carry.weight])
        told, arrays = dense_steps(steps, examples, segments, counts, settings, rates, sums, arrays)
        parts = [arrays[i * len(paths) : (i + 1) * len(paths)] for i in range(len(trees))]
        params, *kept = ({p: a for p, a in zip(paths, part, strict=True) if p in carry.params} for part in parts)
        measured = segments[:, 1] if program.watched else jnp.zeros_like(segments[:, 1])
        made = jnp.where(jnp.arange(len(segments)) < count, segments[:, 0] + measured, 0)
        after = carry._replace(
            params=params, optimizer=_with_moments(carry.optimizer, kept, made.sum()), step=carry.step + made.sum(),
            loss=told.sums[0], weight=told.sums[1],
        )  # fmt: skip
        last = jnp.maximum(jnp.cumsum(made) - 1, 0)  # the measured step of each segment, from the chunk's first
        own = jnp.array([paths.index(path) for path in carry.params])
        rows = Measured(
            carry.step + last, told.losses[last], rates[0][last], told.activation, told.gradient, told.weights[:, own],
            jnp.zeros((len(segments), 0, BINS), jnp.float32),
        )  # fmt: skip
        return after, told.losses, rows, {path: told.squares[paths.index(path)] for path in carry.params}

    return chunk


def steps_of(program: Program, carry: Carry, data: Data) -> tuple[Stack, DenseSteps] | None:
    """The network as the kernel sees it, and what is compiled in; None where the kernel does not serve."""
    if not _suits(program, data):
        return None
    stack = stacked_dense(program.layer, data.x.shape[1:], data.x.dtype == jnp.uint8)
    if stack is None or not _answers(program, data, stack.widths[-1]) or not set(program.watched) <= set(stack.leaves):
        return None
    paths, params = _paths(stack), carry.params
    if not set(params) <= set(paths) or not usable(*params.values()):
        return None

    def watched(path: str) -> tuple[int, bool, int]:
        layer, bent, shape = stack.leaves[path]
        return layer, bent, stride((program.batch, *shape))

    optimizer = program.optimizer
    return stack, DenseSteps(
        stack.widths, stack.bends, program.loss.name, RULES[type(optimizer)], optimizer.decoupled, program.batch,
        program.rows, tuple(watched(path) for path in program.watched),
        tuple(stride(params[path].shape) if path in params else 1 for path in paths),
    )  # fmt: skip


def _paths(stack: Stack) -> list[str]:
    """Of w and b of each layer in turn."""
    return [join(path, name) for path in stack.paths for name in ("w", "b")]


def stacked_dense(top: Layer, shape: tuple[int, ...], bytes_arrive: bool) -> Stack | None:
    """The line of dense layers that a network is, for examples of this shape; None where it is anything else.

    >>> from pellucid.network.activations import ReLU
    >>> net = Sequential(Input(shape=(2, 2)), Flatten(), ("a", Dense(3)), ("r", ReLU()), ("b", Dense(1)))
    >>> found = stacked_dense(net, (2, 2), False)
    >>> found[:4]
    (('a', 'b'), (4, 3, 1), ('relu', 'identity'), 'input1')
    >>> found.leaves["flatten1"], found.leaves["a"], found.leaves["r"]
    ((0, False, (4,)), (1, False, (3,)), (1, True, (3,)))
    """
    paths: list[str] = []
    widths, bends, flat, standardised = [math.prod(shape)], list[str](), len(shape) == 1, None
    leaves: dict[str, tuple[int, bool, tuple[int, ...]]] = {}
    for place, (path, part) in enumerate(_line(top)):
        kind = type(part)
        if kind is Input and place == 0 and not cast(Input, part).padded:
            standardised = path
        elif kind is Flatten:
            flat = True
        elif kind in (Dense, Output) and flat and cast(Any, part).width:
            paths.append(path)
            widths.append(cast(Any, part).width)
            bends.append("")
        elif bends and not bends[-1] and (bend := native_bend(part)) in BENDS:
            bends[-1] = bend
        else:
            return None
        leaves[path] = len(paths), bool(bends and bends[-1]), (widths[-1],) if flat else tuple(shape)
    if not paths or bends[-1] not in ("", "identity") or (bytes_arrive and standardised is None):
        return None
    return Stack(tuple(paths), tuple(widths), tuple(bend or "identity" for bend in bends), standardised, leaves)


def _line(top: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers of nested `Sequential`s, one after the other."""
    if type(top) is not Sequential:
        yield path, top
        return
    for name, part in top.layers:
        yield from _line(part, join(path, name))


def _suits(program: Program, data: Data) -> bool:
    """Whether this is a training without anything out of the ordinary."""
    o = program.optimizer
    extra = (
        program.frozen, program.groups, program.context, program.streams, program.augment, program.mesh, o.l1,
        o.clip_norm, o.clip_value, program.accumulate > 1, program.shards > 1, o.accumulate > 1,
    )  # fmt: skip
    simple = program.precision == "float32" and type(o) in RULES and data.weight is None
    plain = isinstance(data.x, jax.Array) and isinstance(data.y, jax.Array)
    return simple and not any(extra) and plain and data.x.dtype in (jnp.uint8, jnp.float32)


def _answers(program: Program, data: Data, outputs: int) -> bool:
    """Whether the kernel knows this loss, of such targets."""
    loss, y = program.loss, data.y
    if type(loss) is CrossEntropy:
        return not loss.from_probabilities and y.ndim == 1 and y.dtype == jnp.int32
    known = type(loss) is MeanSquaredError or (type(loss) is BinaryCrossEntropy and not loss.from_probabilities)
    alike = y.shape[1:] == (outputs,) or (y.ndim == 1 and outputs == 1)
    return known and alike and y.dtype == jnp.float32


def _examples(program: Program, carry: Carry, data: Data, order: Any, stack: Stack) -> Examples:
    none = jnp.zeros((0,), jnp.float32)
    state = flatten(carry.state)
    mean, scale = none, none
    if stack.standardised is not None:
        mean, scale = (state[join(stack.standardised, name)].reshape(-1) for name in ("mean", "scale"))
    order = jnp.zeros((0,), jnp.int32) if program.takes_all else jnp.asarray(order, jnp.int32)
    return Examples(data.x, data.y, order, mean, scale)


def _rates(program: Program, carry: Carry, numbers: Any, most: int, rule: str) -> jax.Array:
    """[3, most]: the learning rate of each step from the chunk's first, and what undoes Adam's start at 0."""
    steps = jnp.arange(most)
    rate = jax.vmap(lambda step: program.rate(step, numbers))(carry.step + steps)
    if rule != "adam":
        return jnp.stack([rate, rate, rate])
    return jnp.stack([rate, *from_zero(numbers["b1"], numbers["b2"], _rule_state(carry.optimizer).count + 1 + steps)])


def _rule_state(state: Any) -> Any:
    """Of an optimizer's chain, what its rule keeps; None where it keeps nothing."""
    return next((s for s in state if isinstance(s, optax.ScaleByAdamState | optax.TraceState)), None)


def _moments(state: Any) -> list[dict[str, jax.Array]]:
    own = _rule_state(state)
    if own is None:
        return []
    kept = (own.mu, own.nu) if isinstance(own, optax.ScaleByAdamState) else (own.trace,)
    return [cast(dict[str, jax.Array], tree) for tree in kept]


def _with_moments(state: Any, kept: list[dict[str, jax.Array]], count: Any) -> Any:
    def new(own: Any) -> Any:
        if isinstance(own, optax.ScaleByAdamState):
            return own._replace(count=own.count + count, mu=kept[0], nu=kept[1])
        return own._replace(trace=kept[0]) if isinstance(own, optax.TraceState) else own

    return tuple(new(own) for own in state)
