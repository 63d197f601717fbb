"""Trials: what would each remedy have done? Short trainings with it and without, from equal states on equal batches.

The doctor trains nothing itself: a `Trainer` does, and hands back numbers. A branch is a pure function of its settings
and its seed (the same initial weights, the same batches in the same order), so branches of one seed differ in the
remedy alone, and the mean of their differences over seeds tells its effect.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pellucid.doctor.finding import Finding, Remedy, Trial

SEEDS = 3
LEAST_GAIN = 0.02  # of the loss without the remedy: less is no repair, however sure


class Trainer(Protocol):
    """What can train a branch."""

    def branch(self, settings: dict[str, Any], seed: int, steps: int) -> float:
        """The validation loss after `steps` updates, {} meaning no change; infinite where it diverged, NaN where the
        settings cannot be used."""
        ...

    def seconds_left(self) -> float: ...


@runtime_checkable
class Together(Trainer, Protocol):
    """What can train several branches side by side."""

    def together(self, wanted: list[dict[str, Any]], seed: int, steps: int) -> list[float]:
        """What `branch` gives for each of these settings."""
        ...


def candidates(findings: Iterable[Finding], most: int = 5) -> list[tuple[Finding, Remedy]]:
    """The remedies that settings can carry out, of alarms, the deepest cause first; each change once."""
    found: dict[str, tuple[Finding, Remedy]] = {}
    for finding in findings:
        for remedy in finding.remedies if finding.alarm else ():
            if set(remedy.settings) - {"seed"}:  # a branch has a seed of its own
                found.setdefault(remedy.line(), (finding, remedy))
    return list(found.values())[:most]


def try_remedies(
    trainer: Trainer,
    remedies: list[Remedy],
    steps: int,
    seeds: int = SEEDS,
    tell: Callable[[str], None] = lambda said: None,
) -> list[Trial]:
    """One trial for each remedy, as many seeds as time allows and at least one; remedies that cannot be tried are left
    out. Seed by seed, so that whatever time allows is paired; a remedy that is no better with one seed cannot help any
    more (see `helps`), and is not trained with the others."""
    without: list[float] = []
    treated: dict[int, list[float]] = {i: [] for i in range(len(remedies))}
    alive = list(treated)
    spent = 0.0
    for seed in range(seeds):
        left = trainer.seconds_left()
        if not alive or (seed and left < spent):  # another round would not fit
            break
        tell(f"trying {len(alive)} remedies for {steps:,} updates, seed {seed + 1} of {seeds}")
        wanted: list[dict[str, Any]] = [{}, *(remedies[place].settings for place in alive)]
        if isinstance(trainer, Together):
            values = trainer.together(wanted, seed, steps)
        else:
            values = [trainer.branch(settings, seed, steps) for settings in wanted]
        without.append(values[0])
        for place, value in zip(alive, values[1:], strict=True):
            if math.isnan(value):
                del treated[place]
            else:
                treated[place].append(value)
        alive = [i for i in alive if i in treated and treated[i][-1] < without[-1]]
        spent = left - trainer.seconds_left()
    return [
        Trial(remedies[i], steps, without[0], tuple(without[: len(v)]), tuple(v), helps(without, v))
        for i, v in treated.items()
        if v
    ]


def helps(without: list[float], treated: list[float]) -> bool:
    """Whether the remedy beats no change beyond the seeds' noise: in each pair, by 2 % of the loss, and by twice the
    standard error of the pairs' mean difference, or of their logarithms' where seeds differ in size (what explodes ends
    at 10 with one and at 10,000 with another).

    >>> helps([2.3, 2.31, 2.3], [0.4, 0.5, 0.45]), helps([2.3, 2.31, 2.3], [2.29, 2.33, 2.28])
    (True, False)
    >>> helps([10.0, 10_000.0, 50.0], [0.4, 0.5, 0.45]), helps([float("inf")], [2.0])
    (True, True)
    """
    a, b = np.array(without[: len(treated)], np.float64), np.array(treated, np.float64)
    if not np.isfinite(b).all():
        return False
    if not np.isfinite(a).all():
        return True
    gain = a - b
    if not (gain > 0).all() or gain.mean() <= LEAST_GAIN * abs(a.mean()):
        return False
    return _beyond_noise(gain) or bool((b > 0).all() and _beyond_noise(np.log(a / b)))


def _beyond_noise(gain: np.ndarray) -> bool:
    return len(gain) == 1 or bool(gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain)))


@dataclass(frozen=True)
class Choice:
    """The trial that came out best among those that help."""

    finding: Finding
    trial: Trial


def best(pairs: list[tuple[Finding, Remedy]], trials: list[Trial]) -> Choice | None:
    """Of equal helpers (within 2 % of each other) the one whose cause lies deepest, for it came first."""
    good = [t for t in trials if t.helps]
    if not good:
        return None
    lowest = min(float(np.mean(t.treated)) for t in good)
    near = [t for t in good if float(np.mean(t.treated)) <= lowest + LEAST_GAIN * abs(lowest)]
    owners = {id(remedy): finding for finding, remedy in pairs}
    return Choice(owners[id(near[0].remedy)], near[0])
