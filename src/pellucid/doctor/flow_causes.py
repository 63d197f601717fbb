"""Causes in how signals and gradients pass through a network: vanishing, exploding, dead, saturated, forgotten."""

from pellucid.doctor import remedies
from pellucid.doctor.case import RECURRENT, WEIGHTY, Case
from pellucid.doctor.cause import cause, of, severity, state_said
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.progress import Progress
from pellucid.doctor.symptoms import Symptom, numbers_of


@cause
def vanishing_gradients(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    decay = of(found, "gradient_decay")
    if not decay:
        return []
    n = decay[0].numbers
    much_left = state.finished and n["ratio"] < 1e-3 and state.trivial > 0 and state.last > 0.5 * state.trivial
    harm = state.stuck or state.beaten is not None or much_left
    bends = [k for k in case.kinds if k in ("sigmoid", "tanh", "softplus")]
    return [
        Finding(
            "vanishing_gradients", severity(harm),
            f"gradients shrink {n['factor']:.1f} times a layer on the way back: {decay[0].layer} gets {n['ratio']:.1g} "
            f"of what reaches the last of {n['layers']:.0f} layers; {state_said(state)}",
            layer=decay[0].layer, step=decay[0].step, evidence=numbers_of(decay), symptoms=("gradient_decay",),
            confidence=0.9 if n["ratio"] < 1e-3 else 0.7,
            remedies=(
                *(remedies.activation(case, "relu", "ReLU, whose slope is 1, and He's weights") if bends else ()),
                *remedies.network(case, "normalise between the layers", norm="batch"),
                Remedy({}, "shortcuts around layers (residual connections), or fewer layers"),
            ),
        )
    ]  # fmt: skip


@cause
def exploding_gradients(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    growth, burst = of(found, "gradient_growth"), of(found, "gradient_burst")
    in_time = of(found, "growth_in_time")
    harm = state.nonfinite is not None or state.blown or state.stuck or (bool(in_time) and state.spoilt)
    if not growth and not in_time and not (burst and harm):
        return []
    if in_time:
        n = in_time[0].numbers
        said = f"in {in_time[0].layer} gradients grow {n['factor']:.2g} times a step on the way back in time, "
        said += f"{n['ratio']:.2g} times in all"
    elif growth:
        n = growth[0].numbers
        said = f"gradients grow {n['factor']:.1f} times a layer on the way back, {n['ratio']:.2g} times in all"
    else:
        said = f"the gradient grew to {burst[0].numbers['times']:.2g} times its first size"
    signs = [*in_time, *growth, *burst]
    return [
        Finding(
            "exploding_gradients", severity(harm), f"{said}; {state_said(state)}", layer=signs[0].layer,
            step=signs[0].step, evidence=numbers_of(signs), symptoms=tuple(s.name for s in signs),
            confidence=0.9 if in_time else 0.85 if growth else 0.5,
            remedies=(
                *(remedies.initial(case) if in_time else ()), *remedies.clipped(case), *remedies.rate(case, 0.1),
                *(() if in_time else remedies.initial(case)),
                *remedies.network(case, "normalise between the layers", norm="batch"),
            ),
        )
    ]  # fmt: skip


@cause
def dead_units(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    dead = of(found, "dead_units")
    if not dead:
        return []
    worst = max(dead, key=lambda s: s.numbers["share"])
    whole, early = worst.numbers["share"] >= 1, worst.numbers["first"] > 0.9  # dead from the start: the weights' doing
    harm = state.stuck or (state.beaten is not None and worst.numbers["share"] > 0.8)
    return [
        Finding(
            "dead_units", severity(harm),
            f"{worst.numbers['share']:.0%} of the units of {worst.layer} give the same for every example since step "
            f"{worst.step:,}; {state_said(state)}",
            layer=worst.layer, step=worst.step, evidence={s.layer or "": s.numbers["share"] for s in dead},
            symptoms=("dead_units",), confidence=0.95 if whole else 0.7,
            remedies=(
                *(remedies.initial(case) if early else ()), *remedies.rate(case, 0.1),
                *remedies.activation(case, "leaky_relu", "leaky ReLU, which has a slope below zero too"),
                *(() if early else remedies.initial(case)),
            ),
        )
    ]  # fmt: skip


@cause
def saturated_units(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    flat = of(found, "saturated_units")
    if not flat:
        return []
    worst = max(flat, key=lambda s: s.numbers["share"])
    harm = state.stuck or state.beaten is not None or state.blown
    return [
        Finding(
            "saturated_units", severity(harm),
            f"the units of {worst.layer} stand where their activation is flat {worst.numbers['share']:.0%} of the time "
            f"since step {worst.step:,}; {state_said(state)}",
            layer=worst.layer, step=worst.step, evidence={s.layer or "": s.numbers["share"] for s in flat},
            symptoms=("saturated_units",), confidence=0.8,
            remedies=(
                *remedies.option(case, "standardise the inputs", standardize=True), *remedies.initial(case),
                *remedies.activation(case, "relu", "ReLU, which does not saturate above zero"),
            ),
        )
    ]  # fmt: skip


@cause
def forgetting(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    fading = of(found, "fading_memory")
    if not fading:
        return []
    kind = next((k for k in case.kinds if k in RECURRENT), "rnn")
    cure = "an LSTM or GRU, whose gates let the gradient pass" if kind == "rnn" else "a larger forget bias"
    return [
        Finding(
            "forgetting", severity(state.stuck or state.beaten is not None or state.unlearned),
            f"the gradient that reaches the first steps through {fading[0].layer} is {fading[0].numbers['ratio']:.1g} "
            f"of that at the last ones; {state_said(state)}",
            layer=fading[0].layer, step=0, evidence=numbers_of(fading), symptoms=("fading_memory",), confidence=0.8,
            remedies=(Remedy({}, cure),),
        )
    ]  # fmt: skip


@cause
def rank_collapse(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    same = of(found, "constant_layer")
    if not same:
        return _competing(case, state)
    return [
        Finding(
            "rank_collapse", severity(state.stuck),
            f"{same[0].layer} gives the same for every example since step {same[0].step:,}; {state_said(state)}",
            layer=same[0].layer, step=same[0].step, symptoms=("constant_layer",), confidence=0.7,
            remedies=(
                *remedies.initial(case), *remedies.network(case, "normalise between the layers", norm="batch"),
                *remedies.activation(case, "relu", "another activation between the layers"),
            ),
        )
    ]  # fmt: skip


def _competing(case: Case, state: Progress) -> list[Finding]:
    """A softmax between layers: its outputs sum to 1, so that of n units each gives about 1 / n whatever comes in, and
    their gradients cancel."""
    hidden = case.layers("softmax")
    hidden = [place for place in hidden if any(later > place for later in case.layers(*WEIGHTY))]
    if not hidden:
        return []
    poor = state.finished and state.trivial > 0 and state.best > 0.3 * state.trivial
    name = case.record.layers[hidden[0]]
    return [
        Finding(
            "rank_collapse", severity(state.harmed or poor),
            f"{name} is a softmax between layers: its outputs sum to 1, and are much alike for all examples; "
            f"{state_said(state)}",
            layer=name, step=0, evidence={"layers": [case.record.layers[place] for place in hidden]},
            symptoms=("softmax_between_layers",), confidence=0.7,
            remedies=tuple(remedies.activation(case, "relu", "ReLU between the layers; softmax belongs to the loss")),
        )
    ]  # fmt: skip


@cause
def batchnorm_gap(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    gap = of(found, "evaluation_gap")
    if not gap:
        return []
    return [
        Finding(
            "batchnorm_gap", "warning",
            f"the training set has {gap[0].numbers['times']:.1f} times the loss in evaluation that it had while it was "
            "learned from: the moving averages of batch normalisation are not those of the batches",
            step=gap[0].step, evidence=numbers_of(gap), symptoms=("evaluation_gap",), confidence=0.75,
            remedies=(
                *remedies.option(case, "larger batches", batch_size=128),
                *remedies.network(case, "layer normalisation, which is the same in training and in use", norm="layer"),
            ),
        )
    ]  # fmt: skip


@cause
def frozen_layer(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    asked = case.names("frozen")
    if asked and state.finished and (state.stuck or state.beaten is not None):
        said = f"{', '.join(asked)} was frozen, and kept its initial weights; {state_said(state)}"
        return [
            Finding(
                "frozen_layer", "warning", said, layer=asked[0], step=0, evidence={"frozen": list(asked)},
                symptoms=("unmoved_weights",), confidence=0.65,
                remedies=tuple(remedies.unfrozen(case, "freeze nothing, or only what was trained before")),
            )
        ]  # fmt: skip
    still = of(found, "unmoved_weights")
    if not still or len(still) == len(case.record.weights):
        return []
    matrices = [s for s in still if not (s.layer or "").endswith(("/b", "bias"))]
    if not matrices or of(found, "dead_units"):
        return []
    return [
        Finding(
            "frozen_layer", severity(state.harmed),
            f"{', '.join(s.layer or '' for s in matrices[:3])} did not move in any update; {state_said(state)}",
            layer=matrices[0].layer, step=0, evidence={"weights": [s.layer for s in still]},
            symptoms=("unmoved_weights",), confidence=0.7,
            remedies=tuple(remedies.unfrozen(case, "hand all weights to the optimizer; look for a stopped gradient")),
        )
    ]  # fmt: skip
