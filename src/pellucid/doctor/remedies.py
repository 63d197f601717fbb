"""What to change: remedies in the recipe's words, made from what a record says the run was told."""

import math
from typing import Any

from pellucid.doctor.case import BENDS, Case
from pellucid.doctor.finding import Remedy

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
    """Another activation, where the architecture has a choice of them."""
    return [Remedy({"activation": name} if "activation" in case.names("settings") else {}, text)]


def initial(case: Case, text: str) -> list[Remedy]:
    """Initial weights that suit the activation."""
    bends = [kind for kind in case.kinds if kind in BENDS]
    name = "glorot_uniform" if bends and bends[0] in ("sigmoid", "tanh", "softmax") else "he_normal"
    return [Remedy({"initial": name} if "initial" in case.names("settings") else {}, text)]


def option(case: Case, text: str, **settings: Any) -> list[Remedy]:
    """Settings of training or data, for a run of ours."""
    return [Remedy(settings if case.told("recipe") else {}, text)]


def longer(case: Case, times: int = 3) -> list[Remedy]:
    updates = case.figure("updates")
    text = f"train {times} times as long"
    return [Remedy({"steps": int(updates) * times} if updates and math.isfinite(updates) else {}, text)]
