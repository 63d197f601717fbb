"""Causes in the loss, the initial weights and the step size."""

import numpy as np

from pellucid.doctor import remedies
from pellucid.doctor.case import BENDS, Case, known, median
from pellucid.doctor.cause import cause, of, severity, state_said
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.progress import Progress
from pellucid.doctor.symptoms import Symptom, lower_median, matrix_ratios, numbers_of

LOW = 1e-3  # an update beside the weight: less is a small step
SWALLOWED = 3  # epsilon beside the gradient's size: more slows the steps
LEARNED = 0.3  # of the trivial loss: what lies below has been learned
CALM = 0.03  # with less, no step was too large
STRAIGHT = ("identity", "dropout", "flatten", "input")  # between two layers they leave a line a line


# -- loss and output --------------------------------------------------------------------------------------------------


@cause
def wrong_update(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """The loss rises from the first, small, update on: the steps go uphill."""
    rising, ratios = of(found, "rising_loss"), case.update_ratios
    if not rising or of(found, "huge_steps") or not len(ratios):
        return []
    first = median(ratios.values[:4])
    if not first < CALM or not (state.blown or state.nonfinite is not None):
        return []
    numbers = rising[0].numbers
    return [
        Finding(
            "wrong_update", "warning",
            f"from the first update on the loss rises, from {numbers['first']:.4g} to {numbers['then']:.4g}, by "
            f"updates that are small ({first:.1g} of the weights): they go uphill",
            step=0, evidence=numbers_of(rising), symptoms=("rising_loss",), confidence=0.8,
            remedies=(
                Remedy({}, "look for a flipped sign: in the loss, in the update, in a hand-written gradient"),
                *remedies.optimizer(case),
            ),
        )
    ]  # fmt: skip


@cause
def output_that_cannot_change(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """The output's gradient is exactly zero."""
    zero = of(found, "zero_gradient")
    if not zero or not (state.stuck or state.nonfinite is not None):
        return []
    last = case.kinds[-1] if case.kinds else ""
    problem = "constant_output" if last == "softmax" and case.told("outputs") == 1 else "loss_output_mismatch"
    return [
        Finding(
            problem, "warning", f"the gradient at the output is exactly zero from the start; {state_said(state)}",
            layer=zero[0].layer, step=0, symptoms=("zero_gradient",), confidence=0.8,
            remedies=tuple(remedies.loss(case, "let the loss see raw outputs, and leave the last activation out")),
        )
    ]  # fmt: skip


@cause
def no_nonlinearity(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """Dense layers one behind the other, with nothing between them that bends."""
    straight, before = [], None
    for place, kind in enumerate(case.kinds):
        if kind in ("dense", "output"):
            if before is not None:
                straight.append((before, place))
            before = place
        elif kind not in STRAIGHT:
            before = None
    if not straight:
        return []
    first, second = (case.record.layers[place] for place in straight[0])
    return [
        Finding(
            "no_nonlinearity", severity(state.harmed or (state.finished and not case.layers(*BENDS))),
            f"no activation lies between {first} and {second}: together they are one linear layer; {state_said(state)}",
            layer=first, step=0, evidence={"pairs": len(straight)}, symptoms=("no_activation",),
            confidence=0.85 if len(straight) == len(case.layers("dense", "output")) - 1 else 0.6,
            remedies=(*remedies.activation(case, "relu", "ReLU after each hidden layer"),),
        )
    ]  # fmt: skip


# -- initial weights, step size ---------------------------------------------------------------------------------------


@cause
def bad_initial_weights(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    drift, unsuited = of(found, "activation_drift"), of(found, "unsuited_weights")
    if not drift and not unsuited:
        return []
    if drift:
        n = drift[0].numbers
        way = "grow" if n["ratio"] > 1 else "shrink"
        said = f"before any training, activations {way} from {n['first']:.2g} in the first layer to {n['last']:.2g} "
        said += f"{n['layers']:.0f} layers on"
    else:
        n = unsuited[0].numbers
        said = (
            f"{unsuited[0].layer} began {n['times']:.2g} times {'larger' if n['large'] else 'smaller'} than any common "
        )
        said += "rule makes it"
    signs = [*drift, *unsuited]
    return [
        Finding(
            "bad_initial_weights", severity(state.harmed or state.unstable), f"{said}; {state_said(state)}",
            layer=signs[0].layer, step=0, evidence=numbers_of(signs),
            symptoms=tuple(dict.fromkeys(s.name for s in signs)), confidence=0.85 if drift else 0.7,
            remedies=(
                *remedies.initial(case),
                *remedies.network(case, "normalise between the layers", norm="batch"),
            ),
        )
    ]  # fmt: skip


@cause
def learning_rate_too_high(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    huge, swing = of(found, "huge_steps"), of(found, "swinging_loss")
    if state.trivial > 0 and state.last < LEARNED * state.trivial and not state.unstable:
        swing = []  # batches differ, wrong labels among them; steps that lead so far down are not too large
    burst = of(found, "gradient_burst")
    bad = state.blown or (state.nonfinite is not None and not _calm(case, state))
    drifted = of(found, "activation_drift", "growth_in_time")  # then it is the weights that make it blow up
    if not (huge or (bad and not drifted) or (swing and (state.harmed or state.unstable))):
        return []
    harm = state.harmed or (state.unstable and bool(huge or swing))
    if huge:
        said = f"updates change the weights by {huge[0].numbers['ratio']:.2g} times their size, where 0.001 is usual"
    elif bad:
        said = "the loss leaves where it began"
    else:
        said = f"the loss swings by {swing[0].numbers['swing']:.0%} from one update to the next"
    told = case.figure("learning_rate")
    rate = f" at learning rate {told:g}" if told else ""
    signs = [*huge, *swing, *burst]
    smaller = remedies.toward(case, huge[0].numbers["ratio"]) if huge else remedies.rate(case, 0.1)
    return [
        Finding(
            "learning_rate_too_high", severity(harm), f"{said}{rate}; {state_said(state)}",
            step=min((s.step for s in signs if s.step is not None), default=state.nonfinite),
            evidence=numbers_of(signs), symptoms=tuple(dict.fromkeys(s.name for s in signs)),
            confidence=0.9 if huge and harm else 0.7 if bad else 0.5,
            remedies=(
                *smaller, *remedies.option(case, "find it by a range test", learning_rate="auto"),
            ),
        )
    ]  # fmt: skip


def _calm(case: Case, state: Progress) -> bool:
    """Whether nothing tells of too large a step before the loss was not finite: updates, where they are known, were
    small, and it had not risen."""
    if not state.nonfinite:
        return True  # it was so before the first step
    ratios, losses = matrix_ratios(case), case.batch_losses if len(case.batch_losses) else case.training
    sizes = np.array([lower_median(row) for row in ratios.values[ratios.steps < state.nonfinite]])
    small = not len(ratios) or (len(sizes) >= 2 and bool((np.nan_to_num(sizes) < CALM).all()))
    before = losses.finite.values[losses.finite.steps < state.nonfinite]
    return small and len(before) > 0 and bool(before[-1] <= before[0])


@cause
def learning_rate_too_low(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    short = of(found, "short_travel")
    if not short or not state.finished or state.nonfinite is not None or of(found, "zero_gradient", "huge_steps"):
        return []
    if of(found, "constant_layer") or any(s.numbers["share"] >= 1 for s in of(found, "dead_units")):
        return []  # then nothing can move, at any rate
    n = short[0].numbers
    much_left = state.underway and state.trivial > 0 and state.best > 0.5 * state.trivial
    harm = state.stuck or state.beaten is not None or state.unfinished or state.unlearned or much_left
    usual = n["ratio"] > LOW  # then it is the number of updates that is small
    if usual:
        return []
    return [
        Finding(
            "learning_rate_too_low", severity(harm),
            f"an update changes the weights by {n['ratio']:.1g} of their size, where 0.001 is usual, and all "
            f"{n['updates']:,.0f} of them together by {n['travel']:.2g} at most; {state_said(state)}",
            step=0, evidence=numbers_of(short), symptoms=("short_travel",), confidence=0.85 if harm else 0.5,
            remedies=(
                *remedies.toward(case, n["ratio"]),
                *remedies.option(case, "find it by a range test", learning_rate="auto"),
            ),
        )
    ]  # fmt: skip


@cause
def bad_epsilon(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """What the optimizer adds to the gradient's size, lest it divide by nothing, is larger than that size."""
    spec = case.spec("optimizer_settings")
    epsilon = known(spec, "eps") if spec else None
    sizes = case.signal("weight", "gradient").values
    if not epsilon or not sizes.size or spec is None:
        return []
    typical = median(sizes)
    if not 0 < typical < epsilon / SWALLOWED:
        return []
    usual = {"optimizer": {**spec, "eps": 1e-8}}
    much_left = state.trivial > 0 and state.last > 0.3 * state.trivial
    return [
        Finding(
            "bad_epsilon", severity(state.harmed or state.unfinished or much_left),
            f"the optimizer divides by the gradient's size plus {epsilon:g}, and that size is {typical:.1g}: it takes "
            f"steps {epsilon / typical:,.0f} times smaller than its learning rate means; {state_said(state)}",
            step=0, evidence={"epsilon": epsilon, "gradient": typical}, symptoms=("large_epsilon",), confidence=0.85,
            remedies=(Remedy(usual if case.told("recipe") else {}, "the usual epsilon"),),
        )
    ]  # fmt: skip


@cause
def nonfinite_loss(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    if state.nonfinite is None:
        return []
    where = _first_nonfinite(case)
    return [
        Finding(
            "nonfinite_loss", "warning",
            f"the loss is not finite from step {state.nonfinite:,} on"
            + (f"; the first layer whose output was not finite is {where[0]}, at step {where[1]:,}" if where else ""),
            layer=where[0] if where else None, step=state.nonfinite, evidence={"start": state.start},
            symptoms=("nonfinite",), confidence=0.9,
            remedies=(
                *remedies.loss(case, "a loss that acts on raw outputs, and is finite for all of them"),
                *remedies.rate(case, 0.1), *remedies.clipped(case), *remedies.initial(case),
            ),
        )
    ]  # fmt: skip


def _first_nonfinite(case: Case) -> tuple[str, int] | None:
    share = case.signal("activation", "nonfinite")
    for step, row in zip(share.steps, share.values, strict=True):
        places = np.flatnonzero(row > 0)
        if len(places):
            return case.record.layers[int(places[0])], int(step)
    return None
