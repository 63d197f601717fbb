"""One compiled look at a network on one batch: loss, gradient, update, and what every layer gives, before any training.

The whole look is one program, so that small steps, other inputs and other weights cost a call each and no compilation.
It runs as in training (batch statistics, dropout) with one key, which makes it a function: the gradient is that of the
loss it tells.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.network.compiling import compiled
from pellucid.network.layer import Context, Layer, flatten, nest
from pellucid.network.network import Network
from pellucid.network.probes import Probes, sample
from pellucid.network.trace import Traced, operations, trace
from pellucid.train.loop import Settings
from pellucid.train.loss import Loss
from pellucid.train.optimizer import Optimizer, RawOptimizer
from pellucid.train.program import under

ROWS, LEAST_ROWS = 64, 4
OPERATIONS = 2e9  # of one look, forward and backward: less than a tenth of a second on two cores
NUMBERS = 4_000_000  # of the largest array of a batch
Arrays = dict[str, np.ndarray]


class Looked(NamedTuple):
    """What a look tells. outputs: a sample of them.   largest: mean over rows of the largest output.
    layers: {path: [rms, signal, 1 where every output is 0]}; see `doctor.network_checks.LayerFacts`."""

    loss: Any
    outputs: Any
    largest: Any
    layers: dict[str, Any]
    gradient: dict[str, Any]
    update: dict[str, Any]


class _Taps(Probes):
    """Statistics of whole activations, where `Probes` takes sums of a sample."""

    def __init__(self):
        super().__init__({})

    def tap(self, path: str, y: Any) -> Any:
        v = jax.lax.stop_gradient(y).astype(jnp.float32)
        signal = jnp.sqrt(jnp.var(v, axis=0).mean()) if v.ndim else jnp.float32(jnp.nan)
        self.taken[path] = jnp.stack([jnp.sqrt(jnp.square(v).mean()), signal, (v == 0).all().astype(jnp.float32)])
        return y


@partial(compiled, effort="little", static_argnames=("layer", "loss", "optimizer"))
def _look(layer: Layer, loss: Loss, optimizer: Optimizer, trained, fixed, state, x, y, weight, numbers, key) -> Looked:
    def objective(trained):
        ctx = Context(train=True, key=key, state=state, reverse_only=True, probes=_Taps())
        outputs = ctx.run(layer, nest({**fixed, **trained}), x)
        losses = cast(jax.Array, jnp.where(weight > 0, loss.per_example(outputs, y) * weight, 0.0))
        last = outputs.reshape(-1, outputs.shape[-1]) if outputs.ndim > 1 else outputs[:, None]
        assert ctx.probes is not None
        return losses.sum() / weight.sum(), (sample(outputs), last.max(-1).mean(), ctx.probes.taken)

    (value, (outputs, largest, layers)), gradient = jax.value_and_grad(objective, has_aux=True)(trained)
    transform = optimizer.transform(numbers)
    update, _ = transform.update(gradient, transform.init(trained), trained)
    return Looked(value, outputs, largest, layers, gradient, cast(Any, update))


@dataclass
class Glance:
    """A network and a batch of `rows` examples, ready to be looked at."""

    network: Network
    settings: Settings
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self):
        s, params = self.settings, flatten(self.network.params or {})
        frozen = {path: any(under(path, f) for f in s.frozen) for path in params}
        self.trained: Arrays = {p: np.asarray(v) for p, v in params.items() if not frozen[p]}
        self.fixed: Arrays = {p: np.asarray(v) for p, v in params.items() if frozen[p]}
        self.loss = s.loss.scored()
        self.optimizer, self.numbers = _plain(s.optimizer)
        self.weight = np.ones(len(self.y), np.float32)
        self.key = jax.random.key(s.seed)
        self.traced: Traced = trace(self.network.layer, jax.ShapeDtypeStruct(self.x.shape, self.x.dtype))

    def look(self, trained: Arrays | None = None, x: np.ndarray | None = None, weight: Any = None) -> Looked:
        """By default at the weights, the batch and the example weights as they are."""
        found = _look(
            self.network.layer, self.loss, self.optimizer, self.trained if trained is None else trained, self.fixed,
            self.network.state or {}, self.x if x is None else x, self.y, self.weight if weight is None else weight,
            self.numbers, self.key,
        )  # fmt: skip
        return jax.device_get(found)

    def moved(self, direction: Arrays, length: float, trained: Arrays | None = None) -> Arrays:
        """The trained weights, so far along a direction."""
        base = self.trained if trained is None else trained
        return {p: (w + np.float32(length) * direction[p]).astype(w.dtype) for p, w in base.items()}

    @property
    def rows(self) -> int:
        return len(self.y)

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for an example, or for a step of it."""
        return int(self.traced.y.shape[-1]) if self.traced.y.ndim > 1 else 1

    @property
    def cost(self) -> float:
        """Operations of one look."""
        one = jax.ShapeDtypeStruct((1, *self.x.shape[1:]), self.x.dtype)
        return 3.0 * self.rows * operations(self.network.layer, one)


def batch_size(layer: Layer, example: jax.ShapeDtypeStruct, rows: int) -> int:
    """As many rows as a look may take: up to 64, fewer of what is expensive or large."""
    largest = max((a.size for leaf in trace(layer, example).leaves for a in jax.tree.leaves(leaf.y)), default=1)
    affordable = min(OPERATIONS / (3 * max(operations(layer, example), 1)), NUMBERS / max(largest, 1))
    return max(min(int(max(affordable, LEAST_ROWS)), ROWS, rows), 1)


def dot(a: Arrays, b: Arrays) -> float:
    return sum(float(np.vdot(a[p].astype(np.float64), b[p].astype(np.float64))) for p in a)


def norm(a: Arrays) -> float:
    return math.sqrt(dot(a, a))


def _plain(optimizer: Optimizer) -> tuple[Optimizer, dict[str, float]]:
    """The optimizer without what is no descent (decay) or delays it (gathering batches), and its numbers."""
    if isinstance(optimizer, RawOptimizer):
        return optimizer, {}
    plain = dataclasses.replace(optimizer, weight_decay=0.0, accumulate=1)
    return plain.structure(), plain.numbers()


def agreement(glance: Glance, direction: Arrays, slope: float, loss: float) -> float:
    """The change of the loss along `direction`, measured / foretold (`slope`, for length 1): by central differences of
    three lengths, of which the one that agrees best counts, for one may fall into rounding and another into curvature.
    NaN where nothing can be measured."""
    reach = 0.1 * norm(glance.trained) / max(norm(direction), 1e-30)
    found = [math.nan]
    for share in (1e-3, 1e-2, 1e-4):
        length = share * max(abs(loss), 1e-3) / max(abs(slope), 1e-30)
        length = min(length, reach) if reach > 0 else length
        foretold = slope * length
        if abs(foretold) < 2e-5 * abs(loss) or not math.isfinite(length):
            continue
        ahead, behind = (float(glance.look(glance.moved(direction, s * length)).loss) for s in (1, -1))
        measured = (ahead - behind) / 2 / foretold
        if math.isfinite(measured):
            found.append(measured)
            if abs(measured - 1) < 0.2:
                return measured
    return min(found, key=lambda v: abs(v - 1) if math.isfinite(v) else math.inf)


def walked(glance: Glance, first: Looked, steps: int = 2) -> tuple[Arrays, Looked]:
    """The weights after a few steps down the gradient, each as long as a tenth of the weights at most, and a look."""
    trained, looked = glance.trained, first
    for _ in range(steps):
        square = dot(looked.gradient, looked.gradient)
        if not (math.isfinite(square) and square > 0):
            break
        length = 0.3 * max(abs(float(looked.loss)), 1e-3) / square
        if norm(trained) > 0:
            length = min(length, 0.1 * norm(trained) / math.sqrt(square))
        trained = glance.moved(looked.gradient, -length, trained)
        looked = glance.look(trained)
    return trained, looked


def by_heart(glance: Glance, weight: np.ndarray, steps: int) -> float:
    """The lowest loss of the rows that `weight` counts, in so many steps of Adam (Kingma & Ba 2015), rate .01 falling
    to 0."""
    trained = {p: w.copy() for p, w in glance.trained.items()}
    m = {p: np.zeros_like(w) for p, w in trained.items()}
    v = {p: np.zeros_like(w) for p, w in trained.items()}
    lowest = math.inf
    for t in range(1, steps + 1):
        looked = glance.look(trained, weight=weight)
        lowest = min(lowest, float(looked.loss)) if math.isfinite(float(looked.loss)) else lowest
        rate = 0.01 * (1 - (t - 1) / steps)
        for p, g in looked.gradient.items():
            m[p] = 0.9 * m[p] + 0.1 * g
            v[p] = 0.99 * v[p] + 0.01 * g * g
            trained[p] = trained[p] - np.float32(rate) * (m[p] / (1 - 0.9**t)) / (np.sqrt(v[p] / (1 - 0.99**t)) + 1e-8)
    return lowest
