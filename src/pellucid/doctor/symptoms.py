"""Symptoms: what is unusual in the signals, where, and since when. None of them is an alarm by itself.

Each function reads a `Case` and gives the `Symptom`s that it finds; `symptoms(case)` asks them all. A symptom's step is
the earliest at which it is sound: it holds there and at the measurements after it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.doctor.case import RECURRENT, WEIGHTY, Case, Series, aligned, median

RELUS = ("relu",)
SQUASHES = ("sigmoid", "tanh", "rnn")
FADED = 0.01  # of the last layer's gradient is what the first one gets
GROWN = 100.0
GROWN_IN_TIME = 10.0  # of a recurrent layer that is well, gradients shrink on the way back, or stay
DEAD = 0.5  # of a layer's units
SATURATED = 0.5
HUGE_STEP = 0.2  # an update beside the weight it moves; about 0.001 is usual (Bottou; Karpathy)
DECOUPLED = ("adamw", "lion", "muon")  # their decay is a part of the update by itself
NORMS = ("batch_norm", "layer_norm", "rms_norm")
UNSUITED = 3.0
TRAVEL = 0.5  # the sum of all updates beside the weight: with less, features stay what they were by chance
COLLAPSED = 1e-3


@dataclass(frozen=True)
class Symptom:
    """name, the layer (or weight) it shows in, the step it began, and the numbers."""

    name: str
    layer: str | None = None
    step: int | None = None
    numbers: dict[str, float] = field(default_factory=dict)


Rule = Callable[[Case], list[Symptom]]
_RULES: list[Rule] = []


def _rule(function: Rule) -> Rule:
    _RULES.append(function)
    return function


def symptoms(case: Case) -> list[Symptom]:
    """All that are found."""
    return [symptom for rule in _RULES for symptom in rule(case)]


# -- how gradients pass through depth ---------------------------------------------------------------------------------


def chain(case: Case) -> list[int]:
    """The layers with weights that lie one behind the other, in forward order."""
    return case.layers(*(k for k in WEIGHTY if k != "embed"))


@dataclass(frozen=True)
class Flow:
    """The gradient that reaches the first hidden layer beside that of the last, step by step; and the factor from one
    layer to the next, the slope of its logarithm against depth."""

    steps: np.ndarray
    ratio: np.ndarray
    factor: np.ndarray
    layers: list[int]


def flow(case: Case) -> Flow | None:
    places = chain(case)[:-1]  # an output layer that begins small shrinks every gradient behind it alike
    gradient = case.signal("gradient", "rms")
    if len(places) < 3 or not len(gradient):
        return None
    values = gradient.values[:, places]
    known = np.isfinite(values).all(1) & (values[:, -1] > 0)
    if not known.any():
        return None
    values = np.maximum(values[known], 1e-45)  # a gradient that is exactly 0 in float32
    depth = np.arange(len(places))
    slope = np.polyfit(depth, np.log(values).T, 1)[0]
    return Flow(gradient.steps[known], values[:, 0] / values[:, -1], np.exp(slope), places)


@_rule
def gradient_decay(case: Case) -> list[Symptom]:
    """Gradients shrink geometrically on the way back."""
    found = flow(case)
    if found is None:
        return []
    early = found.steps <= max(64, found.steps[0])
    ratio = float(np.exp(np.median(np.log(found.ratio[early]))))
    factor = float(np.exp(np.median(np.log(found.factor[early]))))
    name = case.record.layers[found.layers[0]]
    if ratio < FADED and factor > 1.2:
        return [Symptom("gradient_decay", name, _since(found.steps, found.ratio < FADED),
                        {"ratio": ratio, "factor": factor, "layers": len(found.layers)})]  # fmt: skip
    return []


@_rule
def gradient_growth(case: Case) -> list[Symptom]:
    """Gradients grow geometrically on the way back, or from update to update."""
    found = flow(case)
    out = []
    if found is not None:
        early = found.steps <= max(64, found.steps[0])
        ratio = float(np.exp(np.median(np.log(found.ratio[early]))))
        factor = float(np.exp(np.median(np.log(found.factor[early]))))
        if ratio > GROWN and factor < 0.85:
            name = case.record.layers[found.layers[0]]
            out.append(Symptom("gradient_growth", name, _since(found.steps, found.ratio > GROWN),
                               {"ratio": ratio, "factor": 1 / factor, "layers": len(found.layers)}))  # fmt: skip
    gradient = case.signal("weight", "gradient")
    if len(gradient) >= 4:
        norm = np.linalg.norm(np.where(np.abs(gradient.values) < 1e150, gradient.values, 0), axis=1)
        first = float(np.median(norm[:2]))
        if first > 0 and norm.max() > 1e3 * first:
            at = int(np.argmax(norm > 1e3 * first))
            at_weight = int(np.argmax(np.nan_to_num(gradient.values[at])))
            out.append(Symptom("gradient_burst", case.record.weights[at_weight],
                               int(gradient.steps[at]), {"times": float(norm.max() / first)}))  # fmt: skip
    return out


def _since(steps: np.ndarray, holds: np.ndarray) -> int:
    """The first step from which it holds at most measurements that follow."""
    for i in range(len(steps)):
        if holds[i] and holds[i:].mean() > 0.5:
            return int(steps[i])
    return int(steps[np.argmax(holds)])


@_rule
def unsuited_weights(case: Case) -> list[Symptom]:
    """The weights of a hidden layer began three times larger or smaller than any common rule makes them."""
    first, shapes = case.signal("weight", "rms"), case.record.shapes
    if not len(first) or first.steps[0] > 0 or len(shapes) != len(case.record.weights):
        return []
    if case.layers(*NORMS, "attention"):  # what is normalised may begin at any size; transformers begin small
        return []
    out = []
    for i, suited in _suited(case).items():
        rms = float(first.values[0, i])
        times = rms / max(suited) if rms > max(suited) else min(suited) / max(rms, 1e-30)
        if times > UNSUITED:
            large = float(rms > max(suited))
            out.append(
                Symptom("unsuited_weights", case.record.weights[i], 0, {"times": times, "large": large, "rms": rms})
            )
    return out


@_rule
def activation_drift(case: Case) -> list[Symptom]:
    """Before the first update, activations grow or shrink with depth by a large factor: the initial weights."""
    activation, places = case.signal("activation", "rms"), chain(case)
    if not len(activation) or len(places) < 2 or activation.steps[0] > 0:
        return []
    values = activation.values[0, places[:-1]]  # the output layer may well begin small
    if len(values) < 2 or not (np.isfinite(values).all() and (values > 0).all()):
        return []
    ratio, first = float(values[-1] / values[0]), float(values[0])
    numbers = {"ratio": ratio, "first": first, "last": float(values[-1]), "layers": len(values)}
    if not 1e-3 < ratio < 1e3 or not 1e-4 < values[-1] < 1e4:
        return [Symptom("activation_drift", case.record.layers[places[-2]], 0, numbers)]
    return []


def suited_weights(case: Case) -> bool | None:
    """Whether the weights of all hidden layers began at the size that Glorot's or He's rule gives them, within a factor
    of two: then it is not they that let a signal fade or swell. None where the record does not tell."""
    first, shapes = case.signal("weight", "rms"), case.record.shapes
    if not len(first) or first.steps[0] > 0 or len(shapes) != len(case.record.weights):
        return None
    sizes = [min(suited) / 2 <= float(first.values[0, i]) <= max(suited) * 2 for i, suited in _suited(case).items()]
    return all(sizes) if sizes else None


def _suited(case: Case) -> dict[int, list[float]]:
    """For each hidden layer's matrix (by its place among the weights) the sizes that Glorot's, LeCun's and He's rules
    give it."""
    return {i: _sizes(case.record.shapes[i]) for i in hidden_matrices(case)}


def hidden_matrices(case: Case, *kinds: str) -> list[int]:
    """The places, among the weights, of the matrices of hidden layers (of these kinds). The output's, which may well
    begin small, and vectors of tokens are left out. Where a record names no layers, the last matrix is the output's."""
    shapes, names = case.record.shapes, case.record.layers
    matrices = [i for i, shape in enumerate(shapes) if len(shape) >= 2]
    owners = {i: case.record.weights[i].rpartition("/")[0] for i in matrices}
    places = chain(case)
    if not places or not set(owners.values()) & set(names):
        return matrices[:-1]
    wanted = [names[p] for p in places[:-1] if not kinds or case.kinds[p] in kinds]
    return [i for i in matrices if owners[i] in wanted]


def _sizes(shape: list[int]) -> list[float]:
    *places, n, width = shape
    fan_in, fan_out = max(n * math.prod(places), 1), width * math.prod(places)
    return [math.sqrt(2 / (fan_in + fan_out)), math.sqrt(1 / fan_in), math.sqrt(2 / fan_in)]


# -- single units -----------------------------------------------------------------------------------------------------


def _worst(case: Case, kinds: tuple[str, ...], name: str, limit: float, symptom: str) -> list[Symptom]:
    """One symptom for each layer of these kinds whose share is over the limit at the end."""
    series = case.units(name)
    out = []
    for place in case.layers(*kinds) if len(series) else ():
        shares = series.values[:, place]
        if shares[-1] >= limit:
            out.append(Symptom(symptom, case.record.layers[place], _since(series.steps, shares >= limit),
                               {"share": float(shares[-1]), "first": float(shares[0])}))  # fmt: skip
    return out


@_rule
def dead_units(case: Case) -> list[Symptom]:
    """Half of a ReLU layer's units, or more, are the same for every example."""
    found = _worst(case, RELUS, "dead", DEAD, "dead_units")
    if found or len(case.units("dead")):
        return found
    zero = case.signal("activation", "zero")  # a log that tells of no units: all outputs of a layer are zero
    if not len(zero):
        return []
    return [
        Symptom("dead_units", case.record.layers[place], _since(zero.steps, zero.values[:, place] >= 1), {"share": 1.0})
        for place in case.layers(*RELUS)
        if zero.values[-1, place] >= 1
    ]


@_rule
def saturated_units(case: Case) -> list[Symptom]:
    """Half of the time a layer's units stand where the activation is flat."""
    return _worst(case, SQUASHES, "saturated", SATURATED, "saturated_units")


@_rule
def rank_collapse(case: Case) -> list[Symptom]:
    """All examples give the same activations in a layer behind which others lie."""
    series, places = case.units("dead"), chain(case)
    out = []
    for place in range(1, len(case.kinds) - 1) if len(series) and places else ():
        if case.kinds[place] in ("input", "embed", "flatten", "dropout") or place >= places[-1]:
            continue
        if series.values[-1, place] >= 1:
            out.append(Symptom("constant_layer", case.record.layers[place], _since(series.steps,
                               series.values[:, place] >= 1), {"share": 1.0}))  # fmt: skip
            break
    return out


# -- how far updates go -----------------------------------------------------------------------------------------------


def matrix_ratios(case: Case, floored: bool = False) -> Series:
    """Update ratios of the weights proper: biases begin at zero, and any update is large beside them. [n, weights]
    What a decay of the weights does to them is taken away: it is no learning. floored: weights below the size that
    Glorot's rule gives them count as of that size, for what begins or ends near zero moves far for its size."""
    ratios = case.update_ratios
    if floored and len(case.record.shapes) == len(case.record.weights):
        update, weight = aligned(case.signal("weight", "update"), case.signal("weight", "rms"))
        least = np.array([min(_sizes(shape)) if len(shape) >= 2 else 0.0 for shape in case.record.shapes])
        with np.errstate(all="ignore"):
            ratios = Series(update.steps, update.values / np.maximum(weight.values, least))
    decay = case.figure("weight_decay")
    if decay and case.told("optimizer") in DECOUPLED and len(case.rates):
        ratios, rates = aligned(ratios, case.rates)
        ratios = Series(ratios.steps, np.abs(ratios.values - decay * rates.values[:, None]))
    proper = [i for i, path in enumerate(case.record.weights) if not path.endswith(("/b", "bias", "/v", "scale"))]
    return Series(ratios.steps, ratios.values[:, proper])


@_rule
def huge_steps(case: Case) -> list[Symptom]:
    """An update changes most weights by a fifth of their size or more."""
    ratios = matrix_ratios(case, floored=True)
    middle = np.array([lower_median(row) for row in ratios.values])
    known = np.isfinite(middle)
    if not known.any():
        return []
    steps, middle = ratios.steps[known], middle[known]
    at = int(np.argmax(middle))
    if middle[at] > HUGE_STEP:
        first = int(steps[np.argmax(middle > HUGE_STEP)])
        return [
            Symptom("huge_steps", None, first, {"ratio": float(middle[at]), "times": float((middle > HUGE_STEP).sum())})
        ]
    return []


def lower_median(row: np.ndarray) -> float:
    """Of the finite values; of two the smaller one. An output layer that begins small moves far in its first update."""
    finite = np.sort(row[np.isfinite(row)])
    return float(finite[(len(finite) - 1) // 2]) if len(finite) else math.nan


@_rule
def short_travel(case: Case) -> list[Symptom]:
    """All updates of the run together are small beside the weights they move."""
    ratios = matrix_ratios(case, floored=True)
    if len(ratios) < 3 or not case.last_step:
        return []
    columns = [column[np.isfinite(column)] for column in ratios.values.T]
    typical = [float(np.median(column)) for column in columns if len(column)]
    if not typical:
        return []
    most = max(typical)
    travel = most * max(case.last_step, 1)
    if travel < TRAVEL:
        return [Symptom("short_travel", None, 0, {"travel": travel, "ratio": most, "updates": float(case.last_step)})]
    return []


@_rule
def unmoved_weights(case: Case) -> list[Symptom]:
    """Weights that no update moves, though others move."""
    update, frozen = case.signal("weight", "update"), case.names("frozen")
    if len(update) < 3:
        return []
    still = (update.values == 0).all(0)
    if still.all():
        return [Symptom("nothing_moves", None, 0, {"weights": float(len(still))})]
    return [
        Symptom("unmoved_weights", path, 0, {"steps": float(update.steps[-1])})
        for path, one in zip(case.record.weights, still, strict=True)
        if one and not path.startswith(frozen or ("\0",))
    ]


# -- how the loss moves -----------------------------------------------------------------------------------------------


@_rule
def rising_loss(case: Case) -> list[Symptom]:
    """From the very first updates the loss rises, and goes on rising."""
    early = case.batch_losses
    means = case.chunk_loss("mean")
    values = early.values[early.steps <= 64]
    if len(values) < 4 or not math.isfinite(values[0]):
        return []
    risen = np.array([v if math.isfinite(v) else np.inf for v in values[1:]]) > values[0]
    later = means.finite.values
    goes_on = bool(np.isinf(early.values).any() or not len(later) or later[-1] > max(values[0], later[0]))
    if risen.mean() > 0.8 and goes_on:
        return [Symptom("rising_loss", None, 0, {"first": float(values[0]), "then": float(values[-1])})]
    return []


@_rule
def swinging_loss(case: Case) -> list[Symptom]:
    """Within a chunk the loss takes turns at nearly every step, by much of its size."""
    turns, std, mean = aligned(*(case.chunk_loss(name) for name in ("turns", "std", "mean")))
    if len(turns) < 2:
        return []
    late = slice(len(turns) // 2, None)
    with np.errstate(all="ignore"):
        swing = median(std.values[late] / np.abs(mean.values[late]))
    if median(turns.values[late]) > 0.9 and swing > 0.2:
        return [Symptom("swinging_loss", None, int(turns.steps[late][0]), {"swing": swing})]
    return []


@_rule
def evaluation_gap(case: Case) -> list[Symptom]:
    """With batch normalisation: the training set, scored, has a far larger loss than while it was learned from."""
    if not case.layers("batch_norm"):
        return []
    scored, learning = aligned(case.losses("sample"), case.losses("train"))
    if len(scored) < 3:
        return []
    gap = median(scored.values[-3:] / np.maximum(learning.values[-3:], 1e-12))
    if gap > 2 and median(scored.values[-3:]) > 0.3 * (case.trivial or math.inf):
        return [Symptom("evaluation_gap", None, int(scored.steps[-3]), {"times": gap})]
    return []


@_rule
def fading_memory(case: Case) -> list[Symptom]:
    """In a recurrent layer the gradient is gone some steps back in time."""
    out = []
    for place in case.layers(*RECURRENT):
        name = case.record.layers[place]
        rows = case.through_time(name).values
        if len(rows) < 3:
            continue
        values = np.maximum(rows[: max(len(rows) // 2, 3)], 1e-45)
        middle = np.exp(np.median(np.log(values), 0))  # [places in time], the first step first
        ratio = float(middle[0] / middle.max())
        if ratio < 1e-4:
            out.append(Symptom("fading_memory", name, 0, {"ratio": ratio, "steps": case.figure("steps") or 0.0}))
    return out


@_rule
def growth_in_time(case: Case) -> list[Symptom]:
    """In a recurrent layer the gradient grows from step to step on its way back in time."""
    out = []
    for place in case.layers(*RECURRENT):
        name = case.record.layers[place]
        rows = case.through_time(name).values
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) < 1:
            continue
        middle = np.exp(np.median(np.log(np.clip(rows[: max(len(rows) // 4, 1)], 1e-45, None)), 0))
        ratio = float(middle[0] / middle[-1])
        if ratio > GROWN_IN_TIME:
            steps = case.figure("steps") or len(middle)
            factor = ratio ** (1 / max(steps - 1, 1))
            out.append(Symptom("growth_in_time", name, 0, {"ratio": ratio, "factor": factor, "steps": steps}))
    return out


@_rule
def exact_zero_gradient(case: Case) -> list[Symptom]:
    """The output's gradient is exactly zero from the start: nothing that it says changes the loss."""
    gradient = case.signal("gradient", "rms")
    if len(gradient) < 2 or not len(case.record.layers):
        return []
    if (gradient.values[:2, max(len(case.record.layers) - 2, 0)] == 0).all():
        return [Symptom("zero_gradient", case.record.layers[-1], 0, {})]
    return []


def numbers_of(found: list[Symptom]) -> dict[str, Any]:
    """The evidence of several symptoms together, by symptom."""
    return {s.name: {k: float(f"{v:.4g}") for k, v in s.numbers.items()} for s in found if s.numbers}
