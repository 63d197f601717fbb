"""One example, step by step: forward through every layer, backward by the chain rule, checked against `jax.grad`.

Numbers only: `explain_text.py` writes them out. The walk is NumPy in float64 and shares no arithmetic with the
network; `jax.grad` is asked in float64 as well, so that what differs is a mistake and not rounding.
"""

import dataclasses
import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.errors import NetworkError
from pellucid.views.explain_math import BENDS, LossWalk, loss_walk, softmax

Array = np.ndarray
AGREES = 1e-6  # largest difference from jax.grad, relative to the largest gradient


@dataclass
class Stage:
    """One layer that the example passes: what arrives, what leaves, and the gradients of the loss by both."""

    path: str
    layer: Any
    x: Array
    y: Array
    weights: dict[str, Array] = field(default_factory=dict)  # by name: w, b; mean, scale
    dy: Array = field(default_factory=lambda: np.empty(0))
    dx: Array = field(default_factory=lambda: np.empty(0))
    gradients: dict[str, Array] = field(default_factory=dict)  # of the loss, by the weights w and b

    @property
    def kind(self) -> str:
        return "dense" if "w" in self.weights else str(self.layer.name)

    @property
    def width(self) -> int:
        return int(self.y.size)


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
        """By path, as `hidden1/w`."""
        return {f"{s.path}/{name}": g for s in self.stages for name, g in s.gradients.items()}


def walk(network: Any, x: Array, y: Any, loss: Any, rate: float = 0.1) -> Walk:
    """Walk the example x (encoded, without the batch axis) with its encoded target y through an initialised network.

    Raises `NetworkError` for layers and losses that have no chain rule written here.
    """
    weights = _weights(network)
    stages = forward(network.layer, np.asarray(x, np.float64), weights)
    ending = loss_walk(loss, stages[-1].y, y)
    backward(stages, ending.gradient)
    made = Walk(stages, ending, Check(0.0, 0.0, 0.0), rate, 0.0)
    made.check = check(network, np.asarray(x, np.float64), y, loss, made.gradients)
    moved = {path: weights[path] - rate * g for path, g in made.gradients.items()}
    again = forward(network.layer, np.asarray(x, np.float64), {**weights, **moved})
    made.after = loss_walk(loss, again[-1].y, y).value
    return made


def _weights(network: Any) -> dict[str, Array]:
    from pellucid.network.layer import flatten

    both = {**flatten(network.params or {}), **flatten(network.state or {})}
    return {path: np.asarray(value, np.float64) for path, value in both.items()}


def forward(layer: Any, x: Array, weights: dict[str, Array]) -> list[Stage]:
    """Every layer in order, with what arrived and what left."""
    stages: list[Stage] = []
    for path, part in leaves(layer):
        own = {p.rpartition("/")[2]: v for p, v in weights.items() if p.rpartition("/")[0] == path}
        stages.append(Stage(path, part, x, _apply(path, part, x, own), own))
        x = stages[-1].y
    if not stages or x.ndim != 1:
        raise NetworkError("explain needs a network that ends in one row of outputs", got=f"shape {list(x.shape)}")
    return stages


def leaves(layer: Any, path: str = "") -> list[tuple[str, Any]]:
    """(path, layer) of everything inside a chain of layers."""
    if layer.name == "sequential":
        return [leaf for name, part in layer.layers for leaf in leaves(part, f"{path}/{name}" if path else name)]
    return [(path or str(layer.name), layer)]


def _apply(path: str, layer: Any, x: Array, own: dict[str, Array]) -> Array:
    if layer.name == "input":
        return (x - own["mean"]) / own["scale"]
    if layer.name == "flatten":
        return x.reshape(-1)
    if layer.name == "dropout":
        return x  # evaluation: nothing is dropped
    if layer.name in ("dense", "output"):
        if x.ndim != 1:
            raise NetworkError("explain follows dense layers on single rows", where=path, got=f"shape {list(x.shape)}")
        return x @ own["w"] + own.get("b", 0.0)
    if layer.name == "softmax" and x.ndim == 1:
        return softmax(x)
    if layer.name in BENDS:
        return BENDS[layer.name].f(layer, x)
    known = ("input", "flatten", "dense", "output", "dropout", "softmax", *BENDS)
    raise NetworkError(
        f"explain cannot step through a layer {layer.name!r} yet", where=path,
        expected=f"a chain of {', '.join(known)}",
    )  # fmt: skip


def backward(stages: list[Stage], gradient: Array) -> None:
    """The chain rule, from the last layer to the first: dL/dy of each gives dL/dx and its weights' gradients."""
    for stage in reversed(stages):
        stage.dy = gradient
        name, x = stage.layer.name, stage.x
        if "w" in stage.weights:
            stage.gradients = {"w": np.outer(x, gradient)}  # dL/dw[i, j] = x[i] · δ[j]
            if "b" in stage.weights:
                stage.gradients["b"] = gradient
            gradient = stage.weights["w"] @ gradient  # dL/dx[i] = Σ_j w[i, j] · δ[j]
        elif name == "softmax":
            gradient = stage.y * (gradient - (gradient * stage.y).sum())
        elif name in BENDS:
            gradient = gradient * BENDS[name].df(stage.layer, x)
        elif name == "input":
            gradient = gradient / stage.weights["scale"]
        stage.dx = gradient = gradient.reshape(x.shape)


def check(network: Any, x: Array, y: Any, loss: Any, gradients: dict[str, Array]) -> Check:
    """The same gradients by `jax.grad` in float64, and how far ours are from them."""
    import jax
    import jax.numpy as jnp

    from pellucid.network.layer import Context, flatten

    with _float64(jax):
        wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)  # noqa: E731
        params, state = wide(network.params), wide(network.state or {})
        target = np.asarray(y)
        target = jnp.asarray(target.astype(np.int32 if target.dtype.kind in "iu" else np.float64))[None]

        def objective(params: Any) -> Any:
            outputs = Context(state=state).run(network.layer, params, jnp.asarray(x)[None])
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
        return value.tolist() if isinstance(value, np.ndarray) else value

    def loss(one: LossWalk) -> dict[str, Any]:
        out = {f.name: plain(getattr(one, f.name)) for f in dataclasses.fields(one) if f.name not in ("parts", "start")}
        return {**out, "parts": [loss(part) for part in one.parts]} if one.parts else out

    stages = [
        {
            "path": s.path, "kind": s.kind, "x": plain(s.x), "y": plain(s.y), "dx": plain(s.dx), "dy": plain(s.dy),
            "weights": {k: plain(v) for k, v in s.weights.items()},
            "gradients": {k: plain(v) for k, v in s.gradients.items()},
        }
        for s in made.stages
    ]  # fmt: skip
    return {
        "stages": stages, "loss": loss(made.loss),
        "update": {"learning_rate": made.rate, "loss_before": made.loss.value, "loss_after": made.after},
        "check": {**dataclasses.asdict(made.check), "agrees": made.check.agrees},
    }  # fmt: skip
