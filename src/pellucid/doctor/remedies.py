"""What to change: remedies in the recipe's words, made from what a record says the run was told."""

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Remedy

SUITED = "initial weights that suit the activation (He's for ReLU and its kin, Glorot's for tanh), biases at zero"
USUAL = 2e-3  # an update beside the weight it moves, early in a run that goes well


def rate(case: Case, factor: float, text: str = "") -> list[Remedy]:
    """The learning rate times a factor; in words alone where the record does not tell it."""
    said = (
        text or f"a learning rate {'ten times ' if factor in (0.1, 10) else ''}{'smaller' if factor < 1 else 'larger'}"
    )
    now = case.figure("learning_rate")
    if not now or not math.isfinite(now):
        return [Remedy({}, said)]
    return [Remedy({"learning_rate": float(f"{now * factor:.3g}")}, said)]


def toward(case: Case, ratio: float) -> list[Remedy]:
    """The learning rate times a power of ten, so that an update changes the weights by about a thousandth of their
    size. ratio: by how much it does now."""
    power = round(math.log10(USUAL / max(ratio, 1e-12)))
    power = power or (-1 if ratio > USUAL else 1)
    times = f"{10 ** abs(power):,} times" if abs(power) > 1 else "ten times"
    return rate(case, 10.0**power, f"a learning rate {times} {'smaller' if power < 0 else 'larger'}")


def network(case: Case, text: str, **changes: Any) -> list[Remedy]:
    """The architecture with other settings, where it is one with a name and has such settings; else words alone."""
    spec = case.spec("architecture")
    if spec is None or not set(changes) <= set(case.names("settings")):
        return [Remedy({}, text)]
    return [Remedy({"network": {**spec, **changes}}, text)]


def activation(case: Case, name: str, text: str) -> list[Remedy]:
    """Another activation, where the network has a choice of them."""
    return [Remedy({"activation": name} if "activation" in case.names("settings") else {}, text)]


def initial(case: Case, text: str = SUITED) -> list[Remedy]:
    """Initial weights as the builders choose them, in place of those that the network names."""
    return [Remedy({"initial": "auto"} if "initial" in case.names("settings") else {}, text)]


def loss(case: Case, text: str = "the loss that suits the targets") -> list[Remedy]:
    """The usual loss of such targets, with an output that fits it where the network was put together by hand: that
    loss owns the link, so that what squashes before it goes. In words alone where it is that already."""
    usual = case.told("usual_loss")
    settings: dict[str, Any] = {}
    if isinstance(usual, str):
        given = case.spec("loss_settings") or {}
        settings = {"output": "auto"} if "output" in case.names("settings") else {}
        if given.get("type") != usual or given.get("from_probabilities"):
            settings |= {"loss": usual}
    return [Remedy(settings, text)]


def unfrozen(case: Case, text: str) -> list[Remedy]:
    """All weights are trained, at one rate."""
    settings = {"freeze": []} if case.names("frozen") else {}
    return [Remedy({**settings, "rates": {}} if case.told("rates") else settings, text)]


def optimizer(case: Case, text: str = "Adam with its usual settings") -> list[Remedy]:
    return [Remedy({"optimizer": "adam", "learning_rate": 1e-3} if case.told("recipe") else {}, text)]


def clipped(case: Case) -> list[Remedy]:
    """Clip the gradient's norm: a setting of the optimizer."""
    spec, text = case.spec("optimizer_settings"), "clip the gradient's norm at 1"
    return [Remedy({"optimizer": {**spec, "clip_norm": 1.0}} if spec else {}, text)]


def option(case: Case, text: str, **settings: Any) -> list[Remedy]:
    """Settings of training or data, for a run of ours."""
    return [Remedy(settings if case.told("recipe") else {}, text)]


def possible(findings: Iterable[Finding], names: Collection[str]) -> list[Finding]:
    """The findings, with remedies in words alone where they would set what this network has no setting for.

    names: what can be set of it, `activation`, `initial` or `output` among them.
    """

    def kept(remedy: Remedy) -> Remedy:
        impossible = {"activation", "initial", "output"} & set(remedy.settings) - set(names)
        left = {k: v for k, v in remedy.settings.items() if k not in impossible}
        return dataclasses.replace(remedy, settings=left) if impossible else remedy

    return [dataclasses.replace(f, remedies=tuple(kept(r) for r in f.remedies)) for f in findings]


def longer(case: Case, times: int = 3) -> list[Remedy]:
    updates = case.figure("updates")
    text = f"train {times} times as long"
    return [Remedy({"steps": int(updates) * times} if updates and math.isfinite(updates) else {}, text)]


def larger(case: Case) -> list[Remedy]:
    """Hidden layers twice as wide, and at least 64 units; two of them where there was one."""
    spec, text = case.spec("architecture"), "more or wider hidden layers"
    if spec is None or spec["type"] not in ("mlp", "perceptron"):
        return [Remedy({}, text)]
    given = spec.get("widths") or ()
    widths = [max(2 * w, 64) for w in given if isinstance(w, int)] if isinstance(given, list | tuple) else []
    widths = (widths or [64]) if len(widths) > 1 else (widths or [64]) * 2
    kept = {k: v for k, v in spec.items() if k not in ("type", "widths", "rule")}
    return [Remedy({"network": {"type": "mlp", **kept, "widths": widths}}, text)]


def general(case: Case) -> list[Remedy]:
    """What is worth trying where no cause's own remedy helped, the likeliest first: those that mend most of what can be
    wrong with any training, whatever it is called. Each changes one thing; what would change nothing is left out."""
    tried = [
        *loss(case), *optimizer(case), *initial(case),
        *rate(case, 0.1), *rate(case, 10.0),
        *network(case, "normalise between the layers", norm="batch"),
        *(option(case, "standardise the inputs", standardize=True) if case.told("standardized") is False else ()),
        *(activation(case, "relu", "ReLU, whose slope is 1") if "relu" not in case.kinds else ()),
        *larger(case), *longer(case),
    ]  # fmt: skip
    return [remedy for remedy in tried if remedy.settings]
