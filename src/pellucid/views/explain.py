"""One example, step by step: forward through every layer, backward by the chain rule, checked against `jax.grad`.

Numbers only: `explain_text.py` writes them out. The walk is NumPy in float64 and shares no arithmetic with the
network; `jax.grad` is asked in float64 as well, so that what differs is a mistake and not rounding.
"""

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid.views.explain_attention
import pellucid.views.explain_conv
import pellucid.views.explain_recurrent
import pellucid.views.explain_rules
import pellucid.views.explain_seq2seq  # noqa: F401  (each registers its rules)
from pellucid.errors import NetworkError
from pellucid.network.composite import walk as parts_of
from pellucid.network.dense import Embed
from pellucid.network.layer import flatten, join
from pellucid.network.transformer import TiedEmbedding
from pellucid.views.explain_math import LossWalk, loss_walk
from pellucid.views.explain_stage import Array, Env, Stage, backward, every

AGREES = 1e-6  # largest difference from jax.grad, relative to the largest gradient


@dataclass
class Check:
    """How far the walk is from `jax.grad`, and from the network's own loss."""

    difference: float  # the largest, absolute
    relative: float  # to the largest gradient
    loss: float  # as JAX computes it

    @property
    def agrees(self) -> bool:
        return self.relative <= AGREES


@dataclass
class Walk:
    """Everything about one example."""

    stages: list[Stage]
    loss: LossWalk
    check: Check
    rate: float
    after: float  # the loss of this example after one step of plain gradient descent

    @property
    def gradients(self) -> dict[str, Array]:
        """By path, as `hidden1/w`; a layer that is passed twice has one gradient, the sum of both."""
        found: dict[str, Array] = {}
        for stage in every(self.stages):
            for name, g in stage.gradients.items():
                path = join(stage.path, name)
                found[path] = found[path] + g if path in found else g
        return found


def walk(network: Any, x: Array, y: Any, loss: Any, rate: float = 0.1, step: int | None = None) -> Walk:
    """Walk the example x (encoded, without the batch axis) with its encoded target y through an initialised network.

    step: whose loss alone is followed back through time, where every step has one; the last by default.
    Raises `NetworkError` for layers and losses that have no chain rule written here.
    """
    weights = _weights(network)
    stages = forward(network.layer, x, weights)
    ending = loss_walk(loss, stages[-1].y, y)
    if ending.steps:
        _one_loss_through_time(stages, ending, step)
    backward(stages, ending.gradient)
    made = Walk(stages, ending, Check(0.0, 0.0, 0.0), rate, 0.0)
    made.check = check(network, x, y, loss, made.gradients)
    moved = {path: weights[path] - rate * g for path, g in made.gradients.items()}
    again = forward(network.layer, x, {**weights, **moved})
    made.after = loss_walk(loss, again[-1].y, y).value
    return made


def _weights(network: Any) -> dict[str, Array]:
    both = {**flatten(network.params or {}), **flatten(network.state or {})}
    return {path: np.asarray(value, np.float64) for path, value in both.items()}


def _one_loss_through_time(stages: list[Stage], loss: LossWalk, step: int | None) -> None:
    """With a loss at every step, dL/dh_t adds up what each step asks for; how far one step's own error reaches back is
    seen only where the others are left out."""
    real = [t for t, one in enumerate(loss.steps) if one is not None]
    chosen = real[-1] if step not in real else step
    alone = np.zeros_like(loss.gradient)
    alone[chosen] = loss.gradient[chosen]
    backward(stages, alone)
    for stage in every(stages):
        if "dh" in stage.kept:
            stage.kept |= {"dh alone": stage.kept["dh"], "dc alone": stage.kept["dc"], "of step": chosen}


def forward(layer: Any, x: Array, weights: dict[str, Array]) -> list[Stage]:
    """Every layer in order, with what arrived and what left."""
    stages = Env(weights).run("", layer, _example(layer, x))
    if not stages or stages[-1].y.ndim not in (1, 2):
        got = f"shape {list(stages[-1].y.shape if stages else x.shape)}"
        raise NetworkError("explain needs a network that ends in one row of outputs, or one for each step", got=got)
    return stages


def _example(layer: Any, x: Array) -> Array:
    """x as the walk has it: ids as they are, all else in float64."""
    x = np.asarray(x)
    looks_up = any(isinstance(part, Embed | TiedEmbedding) or hasattr(part, "embed") for _, part in parts_of(layer))
    return x.astype(np.int64 if looks_up and x.dtype.kind in "iu" else np.float64)


def check(network: Any, x: Array, y: Any, loss: Any, gradients: dict[str, Array]) -> Check:
    """The same gradients by `jax.grad` in float64, and how far ours are from them."""
    import jax
    import jax.numpy as jnp

    from pellucid.network.layer import Context

    with _float64(jax):
        wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        params, state = wide(network.params), wide(network.state or {})
        target = np.asarray(y)
        target = jnp.asarray(target.astype(np.int32 if target.dtype.kind in "iu" else np.float64))[None]

        def objective(params: Any) -> Any:
            outputs = Context(state=state).run(network.layer, params, jnp.asarray(_example(network.layer, x))[None])
            return loss.per_example(outputs, target)[0]

        value, found = jax.jit(jax.value_and_grad(objective))(params)
        theirs = {path: np.asarray(g) for path, g in flatten(found).items()}
    difference = max((float(np.abs(gradients[path] - g).max()) for path, g in theirs.items() if g.size), default=0.0)
    largest = max((float(np.abs(g).max()) for g in theirs.values() if g.size), default=0.0)
    return Check(difference, difference / largest if largest > 0 else difference, float(value))


def _float64(jax: Any) -> Any:
    if callable(getattr(jax, "enable_x64", None)):
        return jax.enable_x64(True)
    return importlib.import_module("jax.experimental").enable_x64()  # as older releases have it


def to_json(made: Walk) -> dict[str, Any]:
    """All numbers, for `--json`."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    def loss(one: LossWalk) -> dict[str, Any]:
        left = ("parts", "start", "steps")
        out = {f.name: plain(getattr(one, f.name)) for f in dataclasses.fields(one) if f.name not in left}
        return {**out, "parts": [loss(part) for part in one.parts]} if one.parts else out

    def inside(kept: dict[str, Any]) -> dict[str, Any]:
        return {k: plain(v) for k, v in kept.items() if isinstance(v, np.ndarray | list | int)}

    stages = [
        {
            "path": s.path, "kind": s.kind, **{k: plain(getattr(s, k)) for k in ("x", "y", "dx", "dy")},
            "inside": inside(s.kept), "weights": plain(s.weights), "gradients": plain(s.gradients),
        }
        for s in every(made.stages)
    ]  # fmt: skip
    return {
        "stages": stages, "loss": loss(made.loss),
        "update": {"learning_rate": made.rate, "loss_before": made.loss.value, "loss_after": made.after},
        "check": {**dataclasses.asdict(made.check), "agrees": made.check.agrees},
    }  # fmt: skip
