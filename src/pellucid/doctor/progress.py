"""Whether a run is harmed: what it has learned beside what a constant answer, a simple model and its own past allow.

No symptom is an alarm without harm: a tenth of dead units in a network that learns well is a note. Harm comes in kinds:

    nonfinite   the loss is NaN or infinite
    blown       it ended far above where it began, or above the best constant answer
    stuck       after a fair share of its budget the training loss is still that of the best constant answer
    beaten      a linear model or boosted trees do clearly better on the same split
    unfinished  the loss was still falling fast when the budget ended
    unstable    the training loss jumps from epoch to epoch by much of itself
    overfit     the validation loss rose, beyond its noise, while the training loss fell
    unlearned   training loss far below the constant answer, validation loss never below it
    unheard     validation loss never below that of the constant answer, whatever the training loss is
    underway    the loss was falling as steadily in the last quarter as before: most of the way lies ahead
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.doctor.case import Case, Series, known

STUCK = 0.97  # of the trivial loss: what lies above has learned next to nothing
BLOWN = 1.5
LEARNED = 0.9
UNSTABLE = 0.25
FEW = 200  # updates
FAIR_SHARE = 0.25  # of the budget, before a run that still goes on is called stuck
FALLING = 0.25  # of the loss, in the last quarter of a run: it was not finished
UNDERWAY = 0.15  # of all that the loss fell, in the last quarter of a run: it was still on its way
BEHIND = 0.03  # of a score: less is no defeat, however sure
HEAVY = 0.25  # the least standard deviation of R² from row to row
SIGMAS = 3.0  # standard errors of a score on so few rows, by which a defeat has to be larger
EPOCHS = 5  # fewer points of a curve tell no trend


@dataclass(frozen=True)
class Progress:
    """The facts, and the kinds of harm. Losses are NaN where they are not known."""

    done: float  # share of the budget; 1 where it is not known
    finished: bool
    start: float
    best: float
    last: float
    validation_best: float
    validation_last: float
    best_step: int | None
    trivial: float
    noise: float  # of the validation loss from epoch to epoch, detrended
    nonfinite: int | None = None  # the first step
    blown: bool = False
    stuck: bool = False
    beaten: tuple[str, float, float] | None = None  # by whom, its score, ours
    level: bool = False  # as good as the best of the simple models that it was compared with
    hopeless: bool = False  # no baseline beats the constant answer either: there may be nothing to be learned
    unfinished: bool = False
    unstable: bool = False
    overfit: int | None = None  # the step from which validation rose
    unlearned: bool = False
    unheard: bool = False
    underway: bool = False
    lost: float = 0.0  # the share of what validation had gained over the constant answer that was lost again

    @property
    def harmed(self) -> bool:
        """Whether learning itself fails: what the causes within training have to answer for."""
        return self.nonfinite is not None or self.blown or self.stuck or self.beaten is not None

    @property
    def spoilt(self) -> bool:
        """Whether learning fails, or what comes of it holds for no example but those that were learned from."""
        return self.harmed or self.unstable or self.unheard

    @property
    def learned(self) -> float:
        """The share of the trivial loss that is gone, of the training loss; NaN where it is not known."""
        return 1 - self.best / self.trivial if self.trivial > 0 else math.nan


def progress(case: Case) -> Progress:
    """What has been reached."""
    training, validation = case.training, case.validation
    updates = case.figure("updates")
    done = min(case.last_step / updates, 1.0) if updates else 1.0
    finished = bool(case.result) or done >= 1 or not updates
    start = _start(case)
    seen = training.finite.values if len(training) else case.batch_losses.finite.values
    best, last = (float(np.min(seen)), float(np.median(seen[-3:]))) if len(seen) else (math.nan, math.nan)
    counts = best if case.told("keep") == "best" else last  # the weights of which epoch are the result
    trivial = case.trivial if case.trivial is not None else math.nan
    finite = validation.finite
    v_best, v_last, at = math.nan, math.nan, None
    if len(finite):
        place = int(np.argmin(finite.values))
        v_best, v_last, at = float(finite.values[place]), float(finite.values[-1]), int(finite.steps[place])
    yardstick = trivial if trivial > 0 else start
    v_trivial = float(case.told("trivial_validation") or trivial)
    fair = finished or done >= FAIR_SHARE
    nonfinite = _nonfinite(case)
    hopeless = _hopeless(case)
    unheard = bool(finished and len(finite) >= EPOCHS and v_trivial > 0 and v_best > STUCK * v_trivial)
    return Progress(
        done, finished, start, best, last, v_best, v_last, at, trivial, noise_of(finite.values), nonfinite,
        blown=bool(fair and last > BLOWN * max(yardstick, min(start, BLOWN * yardstick))),
        stuck=bool(fair and len(seen) and counts > STUCK * yardstick and not _tiny(yardstick)),
        beaten=_beaten(case), level=_level(case), hopeless=hopeless,
        unfinished=bool(finished and _unfinished(case, training, finite)),
        unstable=bool(fair and _unstable(training, trivial)),
        overfit=_overfit(training, finite, at),
        unlearned=bool(unheard and trivial > 0 and best < LEARNED * trivial), unheard=unheard,
        underway=bool(finished and _underway(training)),
        lost=_lost(finite, v_trivial),
    )  # fmt: skip


def _lost(validation: Series, trivial: float) -> float:
    """The share of what validation had gained over the constant answer that it lost again; over its own first loss,
    where that is not known; all of it where there was nothing to lose."""
    if not len(validation):
        return 0.0
    first, best, last = validation.values[0], float(np.min(validation.values)), float(validation.values[-1])
    if not trivial > 0:
        return (last - best) / max(float(first) - best, 1e-12)
    return (last - best) / (trivial - best) if trivial > best else math.inf


def _start(case: Case) -> float:
    for series in (case.batch_losses, case.training):
        if len(series):
            return float(series.values[0])
    return math.nan


def _tiny(value: float) -> bool:
    return not value > 1e-8


def _nonfinite(case: Case) -> int | None:
    """The first step at which a loss is not finite."""
    found = [
        int(series.steps[np.argmax(~np.isfinite(series.values))])
        for series in (case.batch_losses, case.training, case.chunk_loss("max"), case.validation)
        if len(series) and not np.isfinite(series.values).all()
    ]
    return min(found) if found else None


def noise_of(values: np.ndarray) -> float:
    """The standard deviation from point to point, without the trend: from second differences, robust to a few jumps.

    >>> noise_of(np.array([5.0, 4.0, 3.0, 2.0, 1.0]))
    0.0
    """
    if len(values) < 4:
        return 0.0
    second = np.diff(values, 2)
    return float(np.median(np.abs(second)) / 0.6745 / math.sqrt(6))


def _unfinished(case: Case, training: Series, validation: Series) -> bool:
    """Whether the losses were still falling at the end; of a run of a few updates, by its batches' losses."""
    if len(training) >= 8 or case.last_step > FEW:
        return _falling(training) and (not len(validation) or _falling(validation))
    losses = case.batch_losses.finite
    if len(losses) < 3 or not len(training.finite):
        return False
    half = float(np.mean(losses.values[losses.steps >= case.last_step // 4][:2]))
    end = float(training.finite.values[-1])
    return bool(end < 0.9 * half and end < 0.9 * losses.values[0])


def _unstable(training: Series, trivial: float) -> bool:
    values = training.finite.values
    late = values[len(values) // 2 :]
    if len(late) < EPOCHS:
        return False
    middle = float(np.median(late))
    return noise_of(late) > UNSTABLE * middle and not middle < 0.03 * trivial


def _falling(series: Series) -> bool:
    """Whether the loss fell by more than `FALLING` of itself in the last quarter of the run, against its noise, and the
    fall is not the settling of a schedule that ends: the first half of that quarter counts as much as the second."""
    values = series.finite.values
    if len(values) < 8 or not values[-1] > 0:
        return False
    quarter = max(len(values) // 4, 3)
    then, middle, now = values[-quarter - 1], values[-quarter // 2 - 1], values[-1]
    fell = (then - now) / abs(now)
    return bool(fell > FALLING and (then - now) > 3 * noise_of(values) and (middle - now) > 0.25 * (then - now))


def _underway(training: Series) -> bool:
    """Whether the last quarter of a run brought a fair part of all that the training loss fell: of a steady fall it is
    a quarter, of a run that settles next to nothing."""
    values = training.finite.values
    if len(values) < 8:
        return False
    fell = values[0] - values[-1]
    late = values[-max(len(values) // 4, 3) - 1] - values[-1]
    return bool(fell > 0 and late > UNDERWAY * fell and late > 3 * noise_of(values))


def _overfit(training: Series, validation: Series, best: int | None) -> int | None:
    """The step of the best validation loss, if from there it rose by a fifth of itself and well beyond its noise, over
    at least three epochs, while the training loss went on falling."""
    if best is None or len(validation) < EPOCHS:
        return None
    after = validation.values[validation.steps > best]
    lowest = float(np.min(validation.values))
    if len(after) < 3:
        return None
    late = float(np.median(after[-3:]))
    rose = late - lowest
    if not rose > max(0.2 * abs(lowest), 4 * noise_of(validation.values)):
        return None
    at, end = _near(training, best), float(np.median(training.finite.values[-3:])) if len(training.finite) else math.nan
    return best if end < 0.9 * at else None


def _near(series: Series, step: int) -> float:
    finite = series.finite
    return float(finite.values[np.argmin(np.abs(finite.steps - step))]) if len(finite) else math.nan


# -- beside simple models ---------------------------------------------------------------------------------------------


def _scores(case: Case) -> tuple[float | None, dict[str, float], float]:
    """(our score, the baselines' scores, their uncertainty) on validation and test together, higher is better."""
    result = case.result
    metric = result.get("metric")
    parts = [p for p in ("validation", "test") if result.get(p)]
    values = [known(result[p], metric) for p in parts]
    if metric is None or not parts or None in values:
        return None, {}, 0.0
    sign = -1.0 if metric == "loss" else 1.0
    rows = [max(int((result.get("rows") or {}).get(p) or 1), 1) for p in parts]

    def mean(of: list[Any]) -> float:
        return sign * float(np.average(of, weights=rows))

    own = mean(values)
    found = {
        b["name"]: mean([known(b, p) for p in parts])
        for b in result.get("baselines") or []
        if b.get("metric") == metric and all(known(b, p) is not None for p in parts)
    }
    total = sum(rows)
    if metric == "loss":
        return own, found, 0.05 * abs(own)
    return own, found, BEHIND + SIGMAS * _unsure(metric, max(found.values(), default=own), total)


def _unsure(metric: str, score: float, rows: int) -> float:
    """The standard error of a score that was measured on so few rows. Of a share with two rows right and two wrong more
    (Agresti & Coull 1998), which is honest near 0 and 1; of R² by the delta method for numbers that are normal, and
    never below HEAVY / sqrt(rows), for where errors have heavy tails a few rows decide.

    >>> round(_unsure("accuracy", 1.0, 45), 3), round(_unsure("r2", 0.5, 100), 3)
    (0.028, 0.071)
    """
    if metric == "r2":
        return max(2 * math.sqrt(max(score, 0.0)) * (1 - score), HEAVY) / math.sqrt(rows)
    share = (score * rows + 2) / (rows + 4)
    return math.sqrt(share * (1 - share) / (rows + 4))


def _level(case: Case) -> bool:
    own, found, _ = _scores(case)
    return own is not None and bool(found) and own >= max(found.values())


def _beaten(case: Case) -> tuple[str, float, float] | None:
    own, found, margin = _scores(case)
    simple = {name: value for name, value in found.items() if name not in ("majority", "mean", "unigram")}
    if own is None or not simple or not math.isfinite(own):
        return None
    name = max(simple, key=lambda n: simple[n])
    return (name, simple[name], own) if simple[name] - own > margin else None


def _hopeless(case: Case) -> bool:
    _, found, margin = _scores(case)
    floor = [found[n] for n in ("majority", "mean", "unigram") if n in found]
    simple = [v for n, v in found.items() if n not in ("majority", "mean", "unigram")]
    return bool(floor and simple and max(simple) - max(floor) <= margin)
