"""What the trials of the watchers share (`doctor/trial.py` has the rule by which a remedy helps): a budget of time, the
table of what came out, and which finding it answers. NumPy only.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pellucid.connect.remedies import Change
from pellucid.doctor.finding import Finding, Remedy, Trial
from pellucid.doctor.trial import Trainer, try_remedies
from pellucid.errors import SettingError

STEPS, SECONDS = 200, 60.0  # of each branch; of all of them
FEWEST = 10  # updates: a shorter branch tells nothing
CAUTION = 1.3  # a branch takes longer than a few of its steps foretell


class Trials(list[Trial]):
    """One trial for each remedy, and its table as text. begun: what the branches began from.   notes: what was left
    out, and why.

    >>> trial = Trial(Remedy({"learning_rate": 0.1}, "a smaller step"), 50, 0.9, (0.8, 0.82), (0.3, 0.31), True)
    >>> print(Trials([trial], "the state after 120 updates"))
    1 remedy tried for 50 updates from the state after 120 updates, beside no change; validation loss, 2 seeds
      remedy          without     with    gain
      a smaller step     0.81    0.305  +0.505 ± 0.005  helps
    """

    def __init__(self, trials: Sequence[Trial], begun: str, notes: Sequence[str] = (), part: str = "validation"):
        super().__init__(trials)
        self.begun, self.notes, self.part = begun, list(notes), part

    @property
    def helping(self) -> list[Trial]:
        """Those that help beyond noise, the one that gains most first."""
        return sorted((t for t in self if t.helps), key=lambda t: float(np.mean(t.treated)))

    def __str__(self) -> str:
        notes = [f"  note: {note}" for note in self.notes]
        if not self:
            return "\n".join(["no remedy was tried", *notes])
        seeds = max(len(t.without) for t in self)
        count = f"{len(self)} remed{'y' if len(self) == 1 else 'ies'} tried for {self[0].steps:,} updates"
        head = f"{count} from {self.begun}, beside no change; {self.part} loss, {seeds} seed{'s' * (seeds != 1)}"
        width = max(len("remedy"), *(len(t.remedy.text) for t in self))
        lines = [f"  {'remedy':<{width}}  without     with    gain"]
        return "\n".join([head, *lines, *(_row(t, width) for t in self), *notes])

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        return {"trials": [t.to_json() for t in self], "begun": self.begun, "part": self.part, "notes": self.notes}


def _row(trial: Trial, width: int) -> str:
    without, treated = np.array(trial.without[: len(trial.treated)]), np.array(trial.treated)
    with np.errstate(invalid="ignore"):
        gain = without - treated
        noise = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.nan
    shown = f"{gain.mean():>+7.3g}" + (f" ± {noise:.2g}" if math.isfinite(noise) else "")
    verdict = "helps" if trial.helps else "diverges" if not np.isfinite(treated).all() else ""
    numbers = f"{without.mean():>7.4g}  {treated.mean():>7.4g}  {shown}"
    return f"  {trial.remedy.text:<{width}}  {numbers}  {verdict}".rstrip()


class Clock:
    """The time that trials may take.

    >>> Clock(60.0).fitting(200, step=0.01, other=0.1, branches=10)
    200
    >>> Clock(6.0).fitting(200, step=0.01, other=0.1, branches=10)
    36
    """

    def __init__(self, seconds: float):
        self.until = time.perf_counter() + seconds

    def seconds_left(self) -> float:
        return self.until - time.perf_counter()

    def fitting(self, steps: int, step: float, other: float, branches: int) -> int:
        """So many updates at most that one seed of all branches fits. step, other: seconds of an update, and of all
        else in a branch."""
        share = self.seconds_left() / branches / CAUTION
        return min(steps, max(int((share - other) / max(step, 1e-9)), 0))


class Branches:
    """Trains copies, each with a change of its own (see `doctor.trial.Trainer`); a library adds the four that raise
    `NotImplementedError`.

    anew: all begin from weights drawn anew; None: where the model's own (`finite`) are not finite.
    """

    fatal: tuple[type[Exception], ...] = ()  # what ends all the trials, not a branch alone
    timed = 3  # steps, by which the others are foretold

    def __init__(self, seconds: float, finite: bool, anew: bool | None):
        self.clock = Clock(seconds)
        self.anew = not finite if anew is None else anew
        self.unasked = not finite and anew is None
        self.changes: dict[str, Change] = {}
        self.notes: list[str] = []

    def allow(self, changes: Iterable[Change]) -> list[Remedy]:
        """Take these changes up -> their remedies, each once: the first of those with the same settings."""
        for change in changes:
            self.changes.setdefault(change.remedy.line(), change)
        return [change.remedy for change in self.changes.values()]

    def start(self, change: Change | None, seed: int) -> Any:
        """A copy with a change, where all of this seed begin."""
        raise NotImplementedError

    def train(self, branch: Any, seed: int, steps: int) -> bool:
        """Make so many updates -> whether all losses were finite, as far as it is known."""
        raise NotImplementedError

    def score(self, branch: Any) -> float:
        """The mean loss in evaluation, each example counting alike; infinite where it is not finite."""
        raise NotImplementedError

    def refused(self, error: Exception) -> SettingError:
        """What is told where the loop's own training cannot be tried."""
        raise NotImplementedError

    def measure(self) -> tuple[float, tuple[float, float]]:
        """(the loss before, (seconds of an update, seconds of all else)); refuses what cannot be trained."""
        began = time.perf_counter()
        try:
            branch = self.start(None, 0)
            before = self.score(branch)
            self.train(branch, 0, 1)  # warms up
        except (SettingError, *self.fatal):
            raise
        except Exception as error:
            raise self.refused(error) from error
        other = time.perf_counter() - began
        began = time.perf_counter()
        self.train(branch, 1, self.timed)
        return before, ((time.perf_counter() - began) / self.timed, other)

    def tried(self, changes: Iterable[Change], steps: int, seeds: int, begun: str, part: str) -> Trials:
        """All of it: what `Watch.try_remedies` gives."""
        before, cost = self.measure()
        found, notes = tried(self, self.allow(changes), steps, seeds, before, cost, self.clock.fitting)
        if self.unasked:
            notes.insert(0, "the weights are not finite: all branches begin anew")
        return Trials(found, "weights drawn anew" if self.anew else begun, [*notes, *self.notes], part)

    def trained(self, change: Change | None, seed: int, steps: int) -> float:
        branch = self.start(change, seed)
        return self.score(branch) if self.train(branch, seed, steps) else math.inf

    def seconds_left(self) -> float:
        return self.clock.seconds_left()

    def branch(self, settings: dict[str, Any], seed: int, steps: int) -> float:
        if not settings:
            return self.trained(None, seed, steps)
        change = next(c for c in self.changes.values() if c.remedy.settings == settings)
        try:
            return self.trained(change, seed, steps)
        except self.fatal:
            raise
        except Exception as error:  # of a model that does not bear the change
            self.notes.append(f"{change.remedy.text}: cannot be tried on this model ({reason(error)})")
            return math.nan


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def order(count: int, steps: int, seed: int) -> list[int]:
    """Which batch (or row) each step takes: all of them in an order of the seed's, again and again."""
    generator, found = np.random.default_rng(seed), []
    while len(found) < steps:
        found += generator.permutation(count).tolist()
    return found[:steps]


def checked(steps: int, seconds: float, seeds: int) -> None:
    """Refuse a budget that is none."""
    for name, value, least in (("steps", steps, 1), ("seconds", seconds, 1e-9), ("seeds", seeds, 1)):
        if not value >= least:
            expected = "a number > 0" if name == "seconds" else "a whole number >= 1"
            raise SettingError("a setting is out of range", where=name, expected=expected, got=value)


def tried(
    trainer: Trainer, remedies: list[Remedy], steps: int, seeds: int, before: float, cost: tuple[float, float],
    fitting: Callable[..., int],
) -> tuple[list[Trial], list[str]]:  # fmt: skip
    """The trials, and what was left out for want of time. before: the loss that all branches begin with.   cost:
    seconds of an update, and of all else in a branch."""
    notes, kept = [], list(remedies)
    fits = fitting(steps, *cost, len(kept) + 1)
    while fits < min(FEWEST, steps) and len(kept) > 1:
        kept.pop()
        fits = fitting(steps, *cost, len(kept) + 1)
    if len(kept) < len(remedies):
        notes.append(f"no time for {', '.join(r.text for r in remedies[len(kept) :])}: give more seconds")
    fits = max(fits, min(FEWEST, steps))
    if fits < steps:
        notes.append(f"{fits:,} updates a branch instead of {steps:,}, to keep within the time")
    trials = try_remedies(trainer, kept, fits, seeds)
    done = max((len(t.without) for t in trials), default=seeds)
    better = any(len(t.treated) == done and t.treated[-1] < t.without[-1] for t in trials)
    if done < seeds and better:  # those that are no better with one seed are not trained with the others
        notes.append(f"{done} seed{'s' * (done != 1)} instead of {seeds}, to keep within the time")
    return [dataclasses.replace(t, before=before) for t in trials], notes


def answered(findings: list[Finding], trials: Sequence[Trial]) -> list[Finding]:
    """The findings with the trials that answer them: all of them the first alarm, for it is the deepest cause; others
    those of their own remedies."""
    alarms = [f for f in findings if f.alarm]
    first = alarms[0] if alarms else None

    def own(finding: Finding) -> tuple[Trial, ...]:
        lines = {remedy.line() for remedy in finding.remedies if remedy.settings}
        return tuple(t for t in trials if finding is first or t.remedy.line() in lines)

    return [dataclasses.replace(f, tried=own(f)) for f in findings]
