"""Preflight of the loss: does it fit what the network gives, and what the targets are?

A loss acts on raw outputs and owns the link that makes probabilities of them; a last layer that does so once more, or
cuts off what the loss asks for, is named here.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pellucid.doctor.finding import Finding, Remedy

RANGES = {
    "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf), "softmax": (0.0, 1.0), "softplus": (0.0, np.inf),
    "elu": (-1.0, np.inf), "selu": (-1.7582, np.inf), "gelu": (-0.17, np.inf), "silu": (-0.28, np.inf),
}  # fmt: skip
OUTSIDE = 0.01  # share of targets out of reach
SURE = 0.99  # mean largest probability at which a softmax is saturated
NO_ACTIVATION = "leave the last activation out: the loss makes probabilities of raw outputs itself"


@dataclass(frozen=True, eq=False)
class LossFacts:
    """What is known of loss, outputs and targets.

    last: the kind of the last layer ("dense", "softmax", ...), its path `path`.   outputs: how many.   y: some targets
    as the loss gets them.   kind: of the targets, "mixed" where they differ.   largest: the mean over examples of the
    largest output at the start.   batch: how the loss of a batch follows from its rows: their "mean", their "sum",
    the mean over all "pairs" of outputs and targets (a broadcasting bug), or "" where it was not looked at.
    narrow: the path of a softmax over a single number, if there is one.   usual: the loss that suits such targets.
    """

    name: str
    link: str  # "softmax", "sigmoid", "identity", or "joint"
    last: str
    path: str
    outputs: int
    kind: Literal["class", "number", "binary", "token", "mixed"]
    classes: int
    y: np.ndarray
    from_probabilities: bool = False
    custom: bool = False
    largest: float = 0.0
    batch: Literal["mean", "sum", "pairs", ""] = ""
    narrow: str | None = None
    usual: str = ""

    @property
    def values(self) -> np.ndarray:
        return self.y[np.isfinite(self.y)] if self.y.dtype.kind == "f" else self.y.reshape(-1)

    @property
    def evidence(self) -> dict[str, object]:
        return {"loss": self.name, "link": self.link, "last_layer": self.last, "outputs": self.outputs}


def constant_output(f: LossFacts) -> list[Finding]:
    if f.narrow is not None:
        said, layer = f"{f.narrow!r} is a softmax over a single number, which is 1 whatever comes in", f.narrow
    elif f.link == "softmax" and f.outputs == 1 and not f.from_probabilities:
        said, layer = f"{f.name} takes the softmax of a single output, which is 1 whatever comes in", f.path
    else:
        return []
    return [Finding(
        "constant_output", "error", said, layer=layer, evidence=f.evidence, confidence=1.0,
        remedies=(suited(f, "as many outputs as there are classes, and the loss for classes"),
                  Remedy({"loss": "binary_cross_entropy"}, "or one output and a sigmoid, for two classes")),
    )]  # fmt: skip


def suited(f: LossFacts, text: str) -> Remedy:
    """An output that fits the targets, and the loss that suits them, which owns the link."""
    other = f.custom or f.name != f.usual or f.from_probabilities
    return Remedy({"output": "auto", **({"loss": f.usual} if f.usual and other else {})}, text)


def loss_output_mismatch(f: LossFacts) -> list[Finding]:
    """A warning where the gradient is flattened, cut off or bounded; what only learns more slowly is a note."""
    if f.link == "joint" or f.narrow is not None or (f.link == "softmax" and f.outputs == 1):
        return []
    found = _squashed(f) if f.link in ("softmax", "sigmoid") else _squared(f)
    if found is None:
        return []
    severity, said, remedies = found
    return [Finding(
        "loss_output_mismatch", severity, said, layer=f.path, evidence=f.evidence, remedies=remedies,
        confidence=0.95 if severity == "warning" else 0.8,
    )]  # fmt: skip


def _squashed(f: LossFacts):
    """(severity, what, remedies) for a loss with a link of its own, or None."""
    probabilities = f.last in ("softmax", "sigmoid")
    if f.from_probabilities:
        if probabilities or f.last not in (*RANGES, "dense", "output", "conv"):
            return None  # what a foreign module ends in is not known
        plain = Remedy({"loss": f.name}, "let the loss make probabilities of the raw outputs")
        return "warning", f"{f.name} is told that it gets probabilities, and {f.path!r} gives any numbers", (plain,)
    if f.last == "softmax" or (f.last == "sigmoid" and f.link == "sigmoid"):
        said = (
            f"{f.path!r} makes probabilities with {f.last}, and {f.name} takes them for raw outputs and applies "
            f"{f.link} once more, which flattens the gradient and keeps the loss from going near 0"
        )
        given = Remedy({"loss": {"type": f.name, "from_probabilities": True}}, "tell the loss that it gets them")
        return "warning", said, (suited(f, NO_ACTIVATION), given)
    if f.last in ("relu", "softplus"):
        said = f"{f.path!r} cuts off the raw outputs below 0, where {f.name} needs them: an output at 0 learns no more"
        return "warning", said, (suited(f, NO_ACTIVATION),)
    if f.last in ("sigmoid", "tanh"):
        low, high = RANGES[f.last]
        said = f"{f.path!r} keeps the raw outputs between {low:g} and {high:g}, so that {f.name} can never be sure"
        return "warning", said, (suited(f, NO_ACTIVATION),)
    return None


def _squared(f: LossFacts):
    if f.custom or f.kind not in ("class", "binary") or f.name == "perceptron":
        return None
    cure = suited(f, "an output for each class, and the loss for classes")
    if f.kind == "class" and f.classes > 2 and f.outputs == 1:
        said = f"{f.name} takes the numbers of {f.classes} classes for quantities, with one output"
        return "warning", said, (cure,)
    if f.last == "softmax" and f.largest > SURE:
        said = (
            f"{f.name} behind a softmax that is sure from the start (mean largest output {f.largest:.3f}): where it is "
            "wrong its gradient is nearly zero"
        )
        return "warning", said, (cure,)
    return "note", f"{f.name} on classes learns, but its gradient fades where the network is wrong and sure", (cure,)


def label_coding(f: LossFacts) -> list[Finding]:
    """Labels outside of what the loss means: it is then unbounded below, or does not hear of them."""
    y, said = f.values, ""
    if f.custom or not len(y) or f.link == "joint" or f.kind == "mixed":
        return []
    low, high = float(y.min()), float(y.max())
    if f.link == "softmax" and f.kind == "class" and f.outputs > 1 and high >= f.outputs:
        said = f"class number {high:g} has no output among the {f.outputs} of {f.path!r}: {f.name} does not hear of it"
    elif f.link == "sigmoid" and (f.kind != "class" or f.outputs == 1) and (low < 0 or high > 1):
        said = f"{f.name} means labels from 0 to 1 and gets {low:.3g} to {high:.3g}: it can fall without end"
    elif f.link == "softmax" and f.kind == "number" and (low < 0 or high > 1):
        said = f"{f.name} means class numbers or probabilities and gets numbers from {low:.3g} to {high:.3g}"
    elif f.link == "softmax" and f.kind == "binary" and f.y.ndim == 2 and _unlike_one(f.y) > OUTSIDE:
        said = f"{f.name} means one class a row, and {_unlike_one(f.y):.0%} of the rows have none or several"
    elif f.name == "perceptron" and f.kind == "class" and f.outputs == 1 and high > 1:
        said = f"{f.name} with one output tells two classes apart, and gets the numbers 0 to {high:g}"
    if not said:
        return []
    loss = {"number": "mean_squared_error", "binary": "binary_cross_entropy"}.get(f.kind, "cross_entropy")
    remedies = () if loss == f.name else (Remedy({"loss": loss}, "the loss for such targets"),)
    if f.kind == "class":
        remedies = (suited(f, f"end the network in {f.classes} outputs"), *remedies)
    return [Finding(
        "label_coding", "warning", said, layer=f.path, confidence=0.95, remedies=remedies,
        evidence={**f.evidence, "lowest": low, "largest": high},
    )]  # fmt: skip


def _unlike_one(y: np.ndarray) -> float:
    return float((np.abs(y.sum(axis=1) - 1) > 0.01).mean())


def targets_out_of_range(f: LossFacts) -> list[Finding]:
    if f.link != "identity" or f.kind != "number" or f.last not in RANGES or not len(f.values):
        return []
    low, high = RANGES[f.last]
    y = f.values
    slack = 0.02 * float(y.std())
    outside = float(((y < low - slack) | (y > high + slack)).mean())
    if outside <= OUTSIDE:
        return []
    reach = f"{low:g} to {high:g}" if np.isfinite(high) else f"nothing below {low:g}"
    return [Finding(
        "targets_out_of_range", "warning",
        f"{f.path!r} ({f.last}) gives {reach}, and {outside:.0%} of the targets lie outside: they go from "
        f"{y.min():.3g} to {y.max():.3g} as the loss meets them",
        layer=f.path, confidence=0.95,
        evidence={**f.evidence, "share": outside, "lowest": float(y.min()), "largest": float(y.max())},
        remedies=(Remedy({"output": "auto"}, "leave the last activation out: a linear output reaches every value"),),
    )]  # fmt: skip


def broadcast_loss(f: LossFacts) -> list[Finding]:
    if f.batch == "pairs":
        return [Finding(
            "broadcast_loss", "warning",
            f"the loss {f.name!r} of several rows is that of every output with every target: shapes [n] and [n, 1] "
            "broadcast to [n, n], and all outputs are pulled to the mean of the targets",
            evidence=f.evidence, confidence=0.98,
            remedies=(Remedy({}, "compare equal shapes: outputs[:, 0] with y, or outputs with y[:, None]"),
                      Remedy({"loss": f.usual} if f.usual else {}, "or take the loss that comes with such targets")),
        )]  # fmt: skip
    if f.batch == "sum":
        return [Finding(
            "broadcast_loss", "note",
            f"the loss {f.name!r} adds its rows up: its gradient grows with the batch, and so does a step of plain sgd",
            evidence=f.evidence, confidence=0.9,
            remedies=(Remedy({}, "give one number for each row: [batch]; their mean is then taken"),),
        )]  # fmt: skip
    return []


CHECKS = (constant_output, loss_output_mismatch, label_coding, targets_out_of_range, broadcast_loss)
