"""Causes that show in the course of the losses: capacity, regularisation, and time."""

import math

import numpy as np

from pellucid.doctor import remedies
from pellucid.doctor.case import Case, aligned, known, median
from pellucid.doctor.cause import cause, of, severity, state_said
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.progress import Progress
from pellucid.doctor.step_causes import LOW
from pellucid.doctor.symptoms import DECOUPLED, Symptom, hidden_matrices

FEW = 100  # updates: no network of more than one layer has learned much after so few
NARROW = 3  # units
WAITED = 5.0  # seconds: less is not worth a word
GREW = 0.5  # of the lowest validation loss, by which it rose again
LEAST_RISE = 0.03  # of a validation loss: less is no harm, however small the loss had been
UNSURE = 0.5  # about the standard deviation of a loss from one example to another
LOST = 0.25  # of what validation had gained over a constant answer: less is no harm


@cause
def over_regularized(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """The decay of the weights outweighs what the gradient does to them."""
    decay, rate = case.figure("weight_decay"), case.figure("learning_rate")
    dropout = case.figure("dropout") or 0.0
    failing = (state.stuck and not state.hopeless) or state.beaten is not None
    share = first = math.nan
    coupled = case.told("optimizer") not in DECOUPLED
    if decay and coupled:  # the penalty's gradient beside the loss's
        gradient, weight = aligned(case.signal("weight", "gradient"), case.signal("weight", "rms"))
        with np.errstate(all="ignore"):
            shares = decay * weight.values / (gradient.values + decay * weight.values)
        share = median(shares[len(shares) // 2 :])
        first = median(shares[:1][weight.values[:1] > 0])  # biases begin at zero, where no penalty pulls
    elif decay and rate:
        update, weight = aligned(case.signal("weight", "update"), case.signal("weight", "rms"))
        with np.errstate(all="ignore"):
            pulled = decay * rate * weight.values / update.values
        late = pulled[len(pulled) // 2 :]
        share = median(late)
    shrunk = _shrunk(case)
    total = (decay or 0) * (rate or 0) * case.last_step  # how often it has halved the weights, times ln 2
    poor = state.finished and state.trivial > 0 and state.best > 0.3 * state.trivial
    quiet = of(found, "dead_units", "constant_layer", "gradient_decay", "zero_gradient")  # then any penalty is larger
    outweighed = first > 0.5 and poor and not quiet  # from the first update on the penalty pulls harder than the loss
    shrinking = share > 0.4 and shrunk < 0.2 and (coupled or total > 10)
    if not (outweighed or (failing and (dropout >= 0.7 or shrinking))):
        return []
    if dropout >= 0.7:
        said = f"dropout takes {dropout:.0%} of the units away"
        cure = remedies.network(case, "less dropout", dropout=0.2)
    else:
        share = first if outweighed else share
        said = f"weight decay {decay:g} makes {share:.0%} of an update, and the weights shrank to "
        said += f"{shrunk:.1g} of their size"
        spec = case.spec("optimizer_settings")
        settings = {"optimizer": {**spec, "weight_decay": float(f"{(decay or 0) / 100:.3g}")}} if spec else {}
        none = {"optimizer": {**spec, "weight_decay": 0.0}} if spec else {}
        cure = [Remedy(settings, "a weight decay a hundred times smaller"), Remedy(none, "no weight decay")]
    return [
        Finding(
            "over_regularized", "warning", f"{said}; {state_said(state)}", step=0,
            evidence={"dropout": dropout, "decay_share": share if math.isfinite(share) else None, "shrunk_to": shrunk},
            symptoms=("strong_penalty",), confidence=0.8, remedies=tuple(cure),
        )
    ]  # fmt: skip


def _shrunk(case: Case) -> float:
    """The last norm of the weights beside the first, the median over weights that began above zero."""
    weight = case.signal("weight", "rms")
    if len(weight) < 2:
        return math.nan
    with np.errstate(all="ignore"):
        ratio = weight.values[-1] / weight.values[0]
    ratio = ratio[np.isfinite(ratio)]
    return float(np.median(ratio)) if len(ratio) else math.nan


@cause
def underfitting(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """Training and validation alike fall short of what simpler models reach, and no fault of the training shows."""
    if not state.finished or state.nonfinite is not None or state.blown:
        return []
    short = state.stuck and not state.hopeless and state.trivial > 0  # else what is poor is not known
    gap = state.validation_best - state.best
    alike = not math.isfinite(gap) or gap < 0.25 * max(state.validation_best, 1e-12)
    if not (short or (state.beaten is not None and alike)):
        return []
    narrow = narrowest(case)
    thin = narrow is not None and narrow <= NARROW
    return [
        Finding(
            "underfitting", "warning",
            f"training and validation are equally poor (losses {state.best:.4g} and {state.validation_best:.4g})"
            + (f", and the narrowest hidden layer has {narrow} unit{'s' if narrow != 1 else ''}" if thin else "")
            + f"; {state_said(state)}",
            evidence={"train": state.best, "validation": state.validation_best, "trivial": state.trivial},
            symptoms=("poor_training_loss",), confidence=0.75 if thin else 0.45,
            remedies=(
                *remedies.larger(case), *remedies.longer(case), *remedies.rate(case, 10),
                *(() if "relu" in case.kinds else remedies.activation(case, "relu", "ReLU, whose slope is 1")),
            ),
        )
    ]  # fmt: skip


def narrowest(case: Case) -> int | None:
    """The width of the narrowest hidden dense layer; None where there is none, or the record does not tell."""
    if len(case.record.shapes) != len(case.record.weights) or not case.layers("dense"):
        return None
    widths = [case.record.shapes[i][-1] for i in hidden_matrices(case, "dense")]
    return min(widths, default=None)


@cause
def overfitting(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    if state.overfit is None:
        return _by_heart(case, state)
    kept = case.told("keep") == "best"
    rose = state.validation_last - state.validation_best
    unseen = case.figure("validation_rows")
    worse = unseen and rose > max(GREW * state.validation_best, LEAST_RISE, UNSURE / math.sqrt(unseen))
    return [
        Finding(
            "overfitting", "note" if kept or not (state.lost >= LOST or worse) else "warning",
            f"since step {state.overfit:,} the validation loss rose from {state.validation_best:.4g} to "
            f"{state.validation_last:.4g} while the training loss went on falling to {state.last:.4g}"
            + (": the weights of that step are kept" if kept else ""),
            step=state.overfit, evidence={"rose": rose, "noise": state.noise, "best": state.validation_best},
            symptoms=("validation_rises",), confidence=0.9,
            remedies=(
                *remedies.option(case, "keep the best epoch, and stop when it is past", keep="best", patience=10),
                *remedies.network(case, "dropout", dropout=0.3),
                Remedy({}, "more data, augmentation, weight decay, or a smaller network"),
            ),
        )
    ]  # fmt: skip


def _by_heart(case: Case, state: Progress) -> list[Finding]:
    """A simple model does better on new examples, and the training examples are learned: without a rise in the
    validation loss it is not sure that they were learned by heart, and likely."""
    learned = state.finished and state.last < 0.75 * state.validation_last
    if state.beaten is None or not learned or state.underway or state.unfinished:
        return []
    return [
        Finding(
            "overfitting", "warning",
            f"the training loss came to {state.last:.4g} and the validation loss to {state.validation_last:.4g} only; "
            f"{state_said(state)}: what it has learned holds for the examples that it was learned from",
            evidence={"train": state.last, "validation": state.validation_last}, symptoms=("gap",), confidence=0.45,
            remedies=(
                *remedies.network(case, "dropout", dropout=0.3),
                *remedies.option(case, "keep the best epoch, and stop when it is past", keep="best", patience=10),
                Remedy({}, "more data, augmentation, weight decay, or a smaller network"),
            ),
        )
    ]  # fmt: skip


@cause
def stopped_too_early(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    short = of(found, "short_travel")
    few = bool(short) and short[0].numbers["ratio"] > LOW and state.stuck and not state.hopeless
    much_left = state.trivial > 0 and state.last > 0.3 * state.trivial and not state.blown
    few = few or (case.last_step <= FEW and state.finished and much_left)
    yardstick = state.trivial if state.trivial > 0 else state.start
    much = not yardstick > 0 or state.best > 0.1 * yardstick
    behind = state.underway and state.beaten is not None
    if not (state.unfinished and much) and not few and not behind:
        return []
    return [
        Finding(
            "stopped_too_early", severity(few or not state.level),
            f"the budget of {case.last_step:,} updates ended before the loss had settled; {state_said(state)}",
            step=case.last_step, evidence={"updates": case.last_step, "last": state.last, "start": state.start},
            symptoms=("falling_at_the_end",), confidence=0.7, remedies=tuple(remedies.longer(case)),
        )
    ]  # fmt: skip


@cause
def starved_input(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """Of a set that is read while the training goes on: most of the time went into waiting for it."""
    waited, all_ = known(case.result, "waiting_seconds"), known(case.result, "seconds")
    compiled = known(case.result, "compile_seconds") or 0.0
    if not waited or not all_ or waited < WAITED or waited < 0.5 * (all_ - compiled):
        return []
    return [
        Finding(
            "starved_input", "warning",
            f"{waited:,.0f} of {all_ - compiled:,.0f} seconds of training were spent waiting for the next examples to "
            "be read",
            evidence={"waiting_seconds": waited, "seconds": all_}, symptoms=("waiting",), confidence=0.9,
            remedies=(
                Remedy({}, "a faster disk, or memory enough to hold the set"),
                *remedies.option(case, "larger batches, of which fewer are waited for", batch_size=256),
            ),
        )
    ]  # fmt: skip


@cause
def plateau(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """Not learning, and nothing above says why: better told so than passed over."""
    if not (state.stuck and not state.hopeless):
        return []
    return [
        Finding(
            "plateau", "warning",
            f"{state_said(state)}; nothing in the signals says why",
            evidence={"best": state.best, "trivial": state.trivial}, symptoms=("stuck",), confidence=0.3,
            remedies=(*remedies.rate(case, 10), *remedies.rate(case, 0.1), *remedies.larger(case)),
        )
    ]  # fmt: skip
