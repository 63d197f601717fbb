"""What `explain` follows an example through: stages, and one pair of rules (forward, backward) for each kind of layer.

    @rule("scale")                                # the layer's registered name
    class Scale(Rule):
        def forward(self, s, env):                # s.x, s.weights -> y
            return s.weights["g"] * s.x
        def backward(self, s, dy):                # dL/dy -> dL/dx; the weights' gradients go to s.gradients
            s.gradients["g"] = (dy * s.x).sum(0)
            return dy * s.weights["g"]

All is NumPy in float64, on one example without the batch axis, and shares no arithmetic with the network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.errors import NetworkError
from pellucid.network.layer import join

Array = np.ndarray


@dataclass
class Stage:
    """One layer that the example passes: what arrives, what leaves, and the gradients of the loss by both.

    kept: what else the layer computed on its way (gates, scores), by name. parts: the chains inside a composite.
    """

    path: str
    layer: Any
    x: Array
    y: Array
    weights: dict[str, Array] = field(default_factory=dict)  # by name: w, b; mean, scale
    dy: Array = field(default_factory=lambda: np.empty(0))
    dx: Array = field(default_factory=lambda: np.empty(0))
    gradients: dict[str, Array] = field(default_factory=dict)  # of the loss, by the weights w and b
    kept: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, list["Stage"]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.path or str(self.layer.name)

    @property
    def kind(self) -> str:
        name = str(self.layer.name)
        return "dense" if name in ("dense", "output") else name

    @property
    def width(self) -> int:
        """Units: of what stands at one place, where there are several places."""
        return int(self.y.shape[-1]) if self.y.ndim else 1

    def grow(self, name: str, gradient: Array) -> None:
        """Add to a weight's gradient: one weight may serve at several places."""
        self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient


class Rule:
    """How one kind of layer is followed."""

    def forward(self, s: Stage, env: "Env") -> Array:
        raise NotImplementedError  # abstract

    def backward(self, s: Stage, dy: Array) -> Array:
        raise NotImplementedError  # abstract


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[type[Rule]], type[Rule]]:
    """Register a rule under the names of its layers."""

    def put(kind: type[Rule]) -> type[Rule]:
        RULES.update({name: kind() for name in names})
        return kind

    return put


@dataclass
class Env:
    """What the layers of one pass share: all weights by path, and which steps of a sequence are real (None: all)."""

    weights: Mapping[str, Array]
    valid: Array | None = None

    def run(self, path: str, layer: Any, x: Any) -> list[Stage]:
        """The stages of a layer, in order; a chain of layers gives one for each of its links."""
        if layer.name == "sequential":
            stages: list[Stage] = []
            for name, part in layer.layers:
                stages += self.run(join(path, name), part, out_of(stages, x))
            return stages
        if layer.name not in RULES:
            raise NetworkError(
                f"explain cannot step through a layer {layer.name!r} yet", where=path or None,
                expected=f"layers of the kinds {', '.join(sorted(RULES))}",
            )  # fmt: skip
        own = {p.rpartition("/")[2]: v for p, v in self.weights.items() if p.rpartition("/")[0] == path}
        stage = Stage(path, layer, x, np.empty(0), own)
        stage.y = RULES[layer.name].forward(stage, self)
        return [stage]

    def steps_of(self, x: Array) -> Array | None:
        """[steps] bool where x [steps, n] is a sequence some of whose steps only fill it up."""
        return self.valid if self.valid is not None and x.ndim == 2 and len(x) == len(self.valid) else None


def out_of(stages: list[Stage], x: Any) -> Any:
    """What leaves a chain; of one without layers, what arrived."""
    return stages[-1].y if stages else x


def backward(stages: list[Stage], gradient: Array) -> Array:
    """The chain rule, from the last stage to the first: dL/dy of the last -> dL/dx of the first."""
    for stage in reversed(stages):
        stage.dy = gradient
        stage.gradients = {}
        stage.dx = gradient = RULES[stage.layer.name].backward(stage, gradient)
    return gradient


def every(stages: Iterable[Stage]) -> Iterator[Stage]:
    """All stages, those inside a composite before the composite itself, which adds them up."""
    for stage in stages:
        for part in stage.parts.values():
            yield from every(part)
        yield stage
