"""Planted faults to find: small trainings that go wrong, each with its story, its cause and a repair that is known.

    found = begin(EXERCISES["tower"])              # trains it; found.run, found.findings
    judged = check(EXERCISES["tower"], {"activation": "relu"})      # trains with a change beside it, over three seeds

An exercise is data: the recipe's words of the faulty run, and those that mend it. All train in seconds, on sets that
Pellucid brings. Settings are constant (`plain`), so that no default repairs what was planted.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pellucid import recipe as recipes
from pellucid.doctor.diagnose import diagnose
from pellucid.doctor.finding import Finding
from pellucid.errors import Diverged
from pellucid.fit import Callback, Run, run_recipe
from pellucid.preflight import preflight

Words = dict[str, Any]
SEEDS = (0, 1, 2)
SURE = 2.0  # standard errors of a difference of means over the seeds


@dataclass(frozen=True)
class Exercise:
    """words: the recipe of the faulty run.   problem: the cause.   accepted: other names that are right, each with why.
    fix: the words that mend it.   planted: what was done.   lesson: what to take home.   measure: what "better" means:
    the validation "metric", or its "loss" where the fault harms probabilities rather than answers."""

    name: str
    stars: Literal[1, 2, 3]
    story: str
    words: Words
    problem: str
    fix: Words
    planted: str
    lesson: str
    accepted: dict[str, str] = field(default_factory=dict)
    measure: Literal["metric", "loss"] = "metric"

    @property
    def right(self) -> set[str]:
        return {self.problem, *self.accepted}


def _of(source: str, network: Any, steps: int, rate: float, optimizer: Any = "adam", **more: Any) -> Words:
    return {
        "source": source, "network": network, "steps": steps, "learning_rate": rate, "optimizer": optimizer,
        "plain": True, "batch_size": 32, **more,
    }  # fmt: skip


def _mlp(*widths: int, activation: str = "relu", **more: Any) -> Words:
    return {"type": "mlp", "widths": list(widths), "activation": activation, **more}


def _chain(widths: Sequence[int], activation: str, end: Sequence[tuple[str, Words]] = (), **dense: Any) -> Words:
    """An `mlp` written by hand: `dense` are settings of its first hidden layer, `end` what stands behind the output."""
    parts: list[Any] = [["input", {"type": "input"}], ["flatten", {"type": "flatten"}]]
    start = {"initial": "he_normal"} if activation == "relu" else {}
    for place, width in enumerate(widths, 1):
        parts.append([f"hidden{place}", {"type": "dense", "width": width, **start, **(dense if place == 1 else {})}])
        parts.append([f"{activation}{place}", {"type": activation}])
    tail = end if any(name == "output" for name, _ in end) else (("output", {"type": "output"}), *end)
    return {"type": "sequential", "layers": [*parts, *([name, settings] for name, settings in tail)]}


def _normal(std: float) -> Words:
    return {"type": "normal", "std": std}


_ALL = (
    # -- one star: one look at the curve, or at one number
    Exercise(
        "tower", 1, "A deep network on digits that will not leave chance.",
        _of("digits", _mlp(*[16] * 12, activation="sigmoid"), 400, 0.003), "vanishing_gradients",
        {"network": _mlp(*[16] * 12, norm="batch")}, "twelve hidden layers of sigmoids",
        "A sigmoid's slope is at most 1/4: twelve of them leave a ten-millionth of the error for the first layer. "
        "ReLU has slope 1, and normalisation keeps the units where it is.",
        {"too_deep": "so many layers without shortcuts are the other half of it",
         "bad_initial_weights": "other weights would pass a little more on"},
    ),
    Exercise(
        "kangaroo", 1, "A loss on moons that leaps, and comes to rest where it should not.",
        _of("moons", _mlp(16, 16), 300, 1.0), "learning_rate_too_high", {"learning_rate": 0.01},
        "Adam with a learning rate of 1",
        "Adam moves each weight by about its learning rate. Weights are about 0.3: a step of 1 throws them all away.",
        {"oscillation": "the leaping is the step's, and the cure is the same"}, measure="loss",
    ),
    Exercise(
        "glacier", 1, "A network on iris whose curve is a flat line.",
        _of("iris", _mlp(16, 16), 500, 3e-6), "learning_rate_too_low", {"learning_rate": 0.005},
        "Adam with a learning rate of 0.000003",
        "Every update went the right way, and 500 of them moved the weights by a twentieth of themselves at most.",
    ),
    Exercise(
        "ruler", 1, "Three layers on spirals, and two points of five are wrong however long they train.",
        _of("spirals", _mlp(32, 32, activation="identity"), 1000, 0.01), "no_nonlinearity", {"activation": "relu"},
        "the identity as activation",
        "A product of matrices is a matrix: however many layers, the border is one straight line.",
        {"underfitting": "it is, for want of any bend"},
    ),
    Exercise(
        "coin", 1, "A model that is right on xor as often as a coin.",
        _of("xor", {"type": "perceptron"}, 600, 0.01), "underfitting", {"network": _mlp(16, 16)},
        "no hidden layer",
        "No straight line parts xor (Minsky & Papert 1969). One hidden layer with a bend does.",
        {"no_nonlinearity": "without a hidden layer there is no activation anywhere"},
    ),
    Exercise(
        "parrot", 1, "Superb on the patients that it was trained on. New ones are another matter.",
        _of("diabetes", _mlp(128), 2000, 0.01), "overfitting", {"keep": "best", "patience": 20},
        "128 units, 309 patients, 2,000 updates, and the last epoch kept",
        "Past its best epoch a network learns the noise of its training rows. Keep the best, or give it fewer units.",
        measure="loss",
    ),
    Exercise(
        "sprinter", 1, "A digit reader that misreads one in ten, though nothing is wrong with its layers.",
        _of("digits", _mlp(32, 32), 400, 0.0003), "stopped_too_early", {"steps": 4000}, "10 epochs of small steps",
        "The loss was falling when the run ended. Nothing else needs a cure but time.",
    ),
    # -- two stars: look into the layers
    Exercise(
        "lights-out", 2, "Most of this digit reader is dark.",
        _of("digits", _chain((32, 32), "relu", bias_initial={"type": "constant", "value": -20.0}), 400, 0.003),
        "dead_units", {"network": _chain((32, 32), "relu")}, "biases of -20 in the first hidden layer",
        "One dark layer puts out all that lie behind it: what the output gets is the same for every digit.",
        {"bad_initial_weights": "a bias this far below zero is an initial weight of the wrong size"},
    ),
    Exercise(
        "avalanche", 2, "A network on cells that begins with a loss in the hundreds.",
        _of("breast-cancer", _mlp(*[32] * 6, initial=_normal(0.8)), 300, 0.01, "momentum"), "exploding_gradients",
        {"network": _mlp(*[32] * 6)}, "initial weights with a standard deviation of 0.8, where He's has 0.25",
        "Each layer multiplies signals and gradients by about three; six of them make a thousand.",
        {"bad_initial_weights": "the gradients explode because the initial weights are this large"},
    ),
    Exercise(
        "sieve", 2, "A network on moons that never holds on to anything.",
        _of("moons", _mlp(16, 16, dropout=0.95), 800, 0.01), "over_regularized", {"network": _mlp(16, 16)},
        "a dropout of 95 %",
        "The share that is dropped was given as if it were the share that is kept: one unit in twenty does the work.",
    ),
    Exercise(
        "giants", 2, "Thirteen measurements of wine, and the network seems to read only one of them.",
        _of("wine", _mlp(16, 16), 300, 0.01, "momentum", standardize=False), "unscaled_inputs", {"standardize": True},
        "inputs as they came: proline is about 750, hue about 1",
        "The largest column drives every weighted sum. No step size suits both it and the others.",
        {"dead_units": "they died of the first updates, which the large inputs made large"},
    ),
    Exercise(
        "corners", 2, "A network on circles whose units know only -1 and 1.",
        _of("circles", _mlp(16, 16, 16, activation="tanh", initial=_normal(8.0)), 600, 0.003), "bad_initial_weights",
        {"network": _mlp(16, 16, 16, activation="tanh")}, "initial weights with a standard deviation of 8",
        "Where every weighted sum is large, tanh is flat, and its gradient is nearly zero.",
        {"saturated_units": "that is how it shows, and where the gradient is lost"},
    ),
    Exercise(
        "keyhole", 2, "Ten digits seen through something narrow.",
        _of("digits", _mlp(2), 800, 0.003), "underfitting", {"network": _mlp(32, 32)}, "two hidden units",
        "Two numbers cannot tell ten classes apart: training and validation are poor alike.",
        {"cannot_overfit": "the other side of it: too few units to learn even the training rows"},
    ),
    Exercise(
        "snail", 2, "A sine wave that is still a straight line when the budget ends.",
        _of("sine", _mlp(32, 32), 1500, 2e-6, "rmsprop"), "learning_rate_too_low", {"learning_rate": 0.003},
        "RMSProp with a learning rate of 0.000002",
        "Compare the weights' way with their size: a thousandth of itself an update is usual.",
    ),
    Exercise(
        "fuse", 2, "A training on diabetes that ends before it has begun.",
        _of("diabetes", _mlp(16), 300, 20.0, "sgd"), "learning_rate_too_high", {"learning_rate": 0.03},
        "gradient descent with a learning rate of 20",
        "Each step overshoots by more than the one before; a few dozen later the numbers are past what a float holds.",
        {"nonfinite_loss": "that is how it ends", "exploding_gradients": "they do, driven by the steps"},
    ),
    Exercise(
        "crib-sheet", 2, "A perfect score on the cells that it has seen.",
        _of("breast-cancer", _mlp(128, 128), 1500, 0.003, split=(0.1, 0.45, 0.45)), "overfitting",
        {"keep": "best", "patience": 100}, "16,000 weights for 57 rows, and the last epoch kept",
        "Few rows are learned by heart in no time; from then on only the confidence in wrong answers grows.",
        measure="loss",
    ),
    # -- three stars: the curve looks like another fault
    Exercise(
        "whisper", 3, "A network on digits that is slow to wake.",
        _of("digits", _mlp(16, 16, 16, initial=_normal(0.003)), 300, 0.001), "bad_initial_weights",
        {"network": _mlp(16, 16, 16)}, "initial weights with a standard deviation of 0.003",
        "Signals shrink a hundredfold at each layer, and so do gradients on the way back. It looks like a small step.",
        {"vanishing_gradients": "weights this small pass next to no gradient"},
    ),
    Exercise(
        "twins", 3, "Sixteen units on circles that do the work of one.",
        _of("circles", _mlp(16, 16, activation="tanh", initial={"type": "constant", "value": 0.3}), 600, 0.01),
        "symmetric_units", {"network": _mlp(16, 16, activation="tanh")}, "all initial weights alike",
        "Equal units get equal gradients and stay equal for ever. That is why weights begin at random.",
        {"bad_initial_weights": "equal weights are wrong initial weights", "underfitting": "it is: as if of one unit"},
    ),
    Exercise(
        "moth-eaten", 3, "A network on circles that forgets as fast as it learns.",
        _of("circles", _mlp(16, 16), 800, 0.01, {"type": "adamw", "weight_decay": 20.0}), "over_regularized",
        {"optimizer": {"type": "adamw", "weight_decay": 0.01}}, "a weight decay of 20",
        "Each update takes a fifth of every weight away. What is left cannot say anything with confidence.",
    ),
    Exercise(
        "glass-ceiling", 3, "Cells again, with tanh, and a loss that stops short.",
        _of("breast-cancer", _mlp(16, 16, activation="tanh"), 300, 0.003, standardize=False), "unscaled_inputs",
        {"standardize": True}, "inputs as they came: areas in the hundreds beside ratios of a hundredth",
        "Saturated units are what one sees. What saturates them are inputs of a thousand.",
        {"saturated_units": "they are: because the inputs are this large"},
    ),
    Exercise(
        "muffled", 3, "A digit reader that learns, but never becomes sure of anything.",
        _of("digits", _chain((32, 32), "relu", (("softmax", {"type": "softmax"}),)), 300, 0.01, "momentum"),
        "loss_output_mismatch", {"network": _chain((32, 32), "relu")}, "softmax before a loss that takes logits",
        "The loss applies softmax itself. Of numbers between 0 and 1 it can make no more than 0.23 of ten classes.",
        measure="loss",
    ),
    Exercise(
        "oracle", 3, "A judge of cells that gives everyone the same answer.",
        _of(
            "breast-cancer", _chain((32, 32), "relu", (
                ("output", {"type": "dense", "width": 1}), ("softmax", {"type": "softmax"}),
            )), 300, 0.003, loss={"type": "binary_cross_entropy", "from_probabilities": True},
        ),
        "constant_output", {"network": _mlp(32, 32), "loss": "cross_entropy"}, "softmax over a single unit",
        "Softmax makes shares that add up to 1. Of one unit the share is 1, whatever comes in.",
        {"loss_output_mismatch": "it is the output that fits no loss", "ignores_input": "a constant does"},
    ),
    Exercise(
        "half-pipe", 3, "Half of a sine wave is learned well.",
        _of("sine", _chain((32, 32), "relu", (("relu", {"type": "relu"}),)), 1500, 0.005), "targets_out_of_range",
        {"network": _chain((32, 32), "relu")}, "ReLU after the output",
        "What lies below zero is out of reach for any weights.",
        {"loss_output_mismatch": "the output cannot give what the loss compares it with",
         "dead_units": "the output unit is off for half of the examples"},
    ),
    Exercise(
        "statues", 3, "A small network on spirals, of which only the last part tries.",
        _of("spirals", _mlp(8, 8), 2000, 0.01, rates={"hidden1": 0.0, "hidden2": 0.0}), "frozen_layer",
        {"rates": {"hidden1": 1.0, "hidden2": 1.0}}, "a learning rate of 0 for both hidden layers",
        "The output layer can only do with random features what they happen to offer.",
        {"underfitting": "it is, for the layers that would have to learn do not"},
    ),
)  # fmt: skip

EXERCISES = {exercise.name: exercise for exercise in _ALL}


# -- to begin one ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Begun:
    """The faulty run (None: it broke before it had any weights), the scores along the way, what the doctor found."""

    run: Run | None
    history: list[dict[str, Any]]
    findings: list[Finding]


class _Watch(Callback):
    """Looks at the run before its first step, and keeps its record."""

    def started(self, session: Any) -> None:
        self.session = session
        self.before = preflight(session.network, session.prepared, session.settings, session.dataset)


def begin(exercise: Exercise, out: Any = None, callbacks: tuple[Callback, ...] = ()) -> Begun:
    """Train the faulty run, in memory or in the folder `out`; the doctor's findings with those of preflight.

    The run itself is not told of them: neither its progress nor its folder gives the answer away.
    """
    watch = _Watch()
    recipe = recipes.make({**exercise.words, "name": exercise.name, "doctor": "off"})
    run = _run(recipe, out=out, exact=out is not None, callbacks=(watch, *callbacks))
    result = run.result if run is not None else None
    found = diagnose(watch.session.examination.record, result, watch.before)
    return Begun(run, watch.session.history, found)


def _run(recipe: Any, **more: Any) -> Run | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return run_recipe(recipe, **{"out": None, **more})
        except Diverged as error:
            return getattr(error, "run", None)


# -- to judge a repair ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """Validation scores, one a seed, the higher the better: of the faulty run, of the change, of the known repair."""

    measure: str
    faulty: list[float]
    changed: list[float]
    reference: list[float]

    @property
    def helps(self) -> bool:
        """Whether the change gains more than the noise of the seeds."""
        return _mean(self.changed) - _mean(self.faulty) > self.noise(self.changed, self.faulty)

    @property
    def reaches(self) -> bool:
        """Whether it is no worse than the known repair, but for noise, or for a tenth of what that gains."""
        short = _mean(self.reference) - _mean(self.changed)
        gain = _mean(self.reference) - _mean(self.faulty)
        slack = 0.1 * gain if math.isfinite(gain) else 0.02
        return short <= max(self.noise(self.changed, self.reference), slack)

    @staticmethod
    def noise(one: Sequence[float], other: Sequence[float]) -> float:
        """So many standard errors of the difference of two means, and a thousandth at least."""
        finite = [np.array(v)[np.isfinite(v)] for v in (one, other)]
        error = sum(float(np.var(v, ddof=1)) / len(v) for v in finite if len(v) > 1)
        return max(SURE * math.sqrt(error), 1e-3)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def check(exercise: Exercise, fix: Words) -> Judged:
    """Train the faulty run, the one with the words of `fix`, and the known repair, over the same seeds."""
    faulty = scores(exercise, {})
    changed = scores(exercise, fix)
    reference = changed if fix == exercise.fix else scores(exercise, exercise.fix)
    return Judged(exercise.measure, faulty, changed, reference)


def scores(exercise: Exercise, fix: Words, seeds: Sequence[int] = SEEDS) -> list[float]:
    """The validation score of each seed; -inf for a run that diverged."""
    base = recipes.make({**exercise.words, "baselines": False, "signals": False, "doctor": "off"})
    found = []
    for seed in seeds:
        run = _run(recipes.override(base, {**fix, "seed": seed}))
        part = (run.result.get("validation") if run is not None else None) or {}
        metric = run.result["metric"] if run is not None else "loss"
        lower = exercise.measure == "loss" or metric == "loss"
        value = part.get("loss" if lower else metric)
        found.append(
            float("-inf") if not isinstance(value, float) or not math.isfinite(value) else -value if lower else value
        )
    return found
