"""Repair: what the doctor found is tried out, what helps is kept, and no run ends worse than it would have left alone.

The untreated run comes first and is complete. Then, while alarms stand and time is left: each remedy that settings can
carry out is tried in a short training beside one without (doctor/trial.py), the best of those that help is given a
full training, and that replaces the run if its validation score is better beyond noise; else it is rolled back. What
the findings name comes first; where none of that helps, a few remedies that mend much, whatever the cause is called.
What began in the middle of the run is tried from there, where the remedy leaves the network as it is; what is kept is
trained from the beginning, so that its recipe tells all of it.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pellucid import files
from pellucid.branches import BUDGETS, Branches, SideBySide, continues, treated
from pellucid.doctor import remedies
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Remedy, Trial
from pellucid.doctor.progress import noise_of
from pellucid.doctor.trial import Choice, best, candidates, try_remedies
from pellucid.errors import Diverged
from pellucid.midway import State, States
from pellucid.rundir import Lock, RunDir
from pellucid.session import Run, Session
from pellucid.shown import Findings

ROUNDS = 6
LEAST_SECONDS, TIMES = 60.0, 3.0  # for trials: a minute, or three times as long as the run itself took
LEAST_STEPS, SHARE = 200, 4  # a trial's updates: a quarter of the budget
WHOLE = 2  # trainings in a round: where the first does not gain, the next best is given one
LONG = ("overfitting", "stopped_too_early", "over_regularized", "label_noise")  # what shows only after a whole training
LEAST_SCORE = 0.01  # less is no gain of a score
MOST = 5  # remedies in a round
KEPT_APART = ("trials", "without_gain", "kept")  # of a round's line, what is not about one whole training
UNTREATED, TREATED = "untreated", "repair"
Pair = tuple[Finding, Remedy]


def repair(
    session: Session, run: Run, tell: Callable[[str], None] = lambda said: None, states: States | None = None
) -> Run:
    """The run, or a better one. session: that trained `run`, to its end. tell: is told what is being tried. states: of
    the run's middle, from which trials can begin.

    What was tried stands in the result under "repair", in the findings under "tried", and on the page.
    """
    began = time.perf_counter()
    kind = Branches if jax.default_backend() == "cpu" else SideBySide
    branches = kind(session, max(LEAST_SECONDS, TIMES * run.result["seconds"]))
    course = _Course(session, run, branches, tell, states or States())
    while len(course.rounds) < ROUNDS and branches.seconds_left() > 0:
        pairs = course.pairs()
        if not pairs:
            break
        course.round(pairs)
    return course.told(round(time.perf_counter() - began, 1))


class _Course:
    """A treatment: the run as it stands now, what was tried of it, and what has answered which finding."""

    def __init__(
        self, session: Session, run: Run, branches: Branches, tell: Callable[[str], None], states: States
    ):  # fmt: skip
        self.session, self.run, self.branches, self.tell, self.states = session, run, branches, tell, states
        self.rounds: list[dict[str, Any]] = []
        self.answered: list[Finding] = []
        self.tried: set[str] = set()

    def pairs(self) -> list[Pair]:
        """What is tried next: what the findings name, of which what shows soon comes before what takes a whole
        training; where nothing of that is left, what is worth trying whatever the cause is called."""
        findings = _findings(self.run)
        named = [p for p in candidates(findings, most=99) if p[1].line() not in self.tried]
        soon, late = [p for p in named if not _takes_long(p)], [p for p in named if _takes_long(p)]
        alarms = [f for f in findings if f.alarm]
        general = [(alarms[0], r) for r in self._general() if r.line() not in self.tried] if alarms else []
        few = [p for p in general if not _takes_long(p)]
        soon = [p for p in soon if self._start(p) is self._start(soon[0])]  # all of a round begin from one state
        return next((found[:MOST] for found in (soon, late, few, general) if found), [])

    def _start(self, pair: Pair) -> State | None:
        """The state of the run from which a remedy is tried: the last one before its finding began, that leaves a trial
        its updates; None: the initial weights."""
        step = pair[0].step
        if not step or _takes_long(pair) or not continues(pair[1].settings):
            return None
        return self.states.before(min(step, self.session.settings.updates - self._short()))

    def _short(self) -> int:
        updates = self.session.settings.updates
        return min(updates, max(updates // SHARE, LEAST_STEPS))

    def _general(self) -> list[Remedy]:
        return remedies.general(Case(self.session.examination.record, self.run.result))

    def round(self, pairs: list[Pair]) -> None:
        """Short trainings with each remedy and without; then whole ones with those that help, until one gains."""
        branches, updates = self.branches, self.session.settings.updates
        self.tried |= {remedy.line() for _, remedy in pairs}
        starts = [self._start(pair) for pair in pairs]
        branches.session = self.session
        branches.start = starts[0] if all(start is starts[0] for start in starts) else None
        branches.by_metric = any(_other_measure(remedy) for _, remedy in pairs)
        long = any(_takes_long(p) for p in pairs)
        trials = try_remedies(branches, [r for _, r in pairs], updates if long else self._short(), tell=self.tell)
        if branches.start is not None:
            trials = [dataclasses.replace(t, start=branches.start.step) for t in trials]
        line: dict[str, Any] = {"trials": [t.to_json() for t in trials], "kept": False}
        self.rounds.append(line)
        left = trials
        for _ in range(WHOLE):
            choice = best([(f, t.remedy) for t in left for f, r in pairs if r.line() == t.remedy.line()], left)
            if choice is None:
                return
            left = [t for t in left if t is not choice.trial]
            if self._whole(choice, line, trials):
                return

    def _whole(self, choice: Choice, line: dict[str, Any], trials: list[Trial]) -> bool:
        """Train with a remedy from the start; whether it gained, and is kept."""
        remedy, finding, run = choice.trial.remedy, choice.finding, self.run
        self.tell(f"training with {remedy.text}: {remedy.line()}")
        states = States()
        session, new = _full(self.session, remedy, run.path, states)
        self.branches.updates += session.loop.step
        said = {"problem": finding.problem, "remedy": remedy.line(), "text": remedy.text}
        metric = session.settings.metric
        line |= said | _compared(run, new, remedy, metric is not None and metric.higher_is_better)
        if new is None or not line["kept"]:
            line.setdefault("without_gain", []).append({k: v for k, v in line.items() if k not in KEPT_APART})
            if run.path is not None:
                shutil.rmtree(run.path / TREATED, ignore_errors=True)
            return False
        own = tuple(t for t in trials if t.remedy in finding.remedies or t.remedy == remedy)
        self.answered.append(dataclasses.replace(_repaired(finding, remedy, line), tried=own))
        _keep(run.path, new)
        self.session, self.run, self.tried, self.states = session, new, {remedy.line()}, states
        return True

    def told(self, seconds: float) -> Run:
        return _told(self.run, self.rounds, self.answered, {"seconds": seconds, "updates": self.branches.updates})


def _takes_long(pair: Pair) -> bool:
    """Whether a short training shows nothing of it."""
    return pair[0].problem in LONG or bool(set(BUDGETS) & set(pair[1].settings))


def _other_measure(remedy: Remedy) -> bool:
    """Whether losses with the remedy and without mean different things."""
    return bool({"loss", "class_weights"} & set(remedy.settings))


def _findings(run: Run) -> list[Finding]:
    return [Finding.from_json(found) for found in run.findings]


def _full(session: Session, remedy: Remedy, path: Path | None, states: States) -> tuple[Session, Run | None]:
    """A whole training with the remedy, in a folder within the run's own."""
    new = treated(session, remedy.settings)
    new.callbacks = (states,)
    place = None
    if path is not None:
        shutil.rmtree(path / TREATED, ignore_errors=True)
        place = RunDir(files.make_folder(path / TREATED))
    try:
        if place is None:
            return new, new.train(None)
        with Lock(place.lock):
            return new, new.train(place)
    except Diverged:
        return new, None


def _compared(old: Run, new: Run | None, remedy: Remedy, rises: bool) -> dict[str, Any]:
    """The scores of both, and whether the new one is better. By the metric where it is sure of the difference on so few
    rows, or where the losses mean different things; else by the validation loss, beyond the noise of its curve, which
    is not asked where the metric is better too: trials have shown the gain already, with other seeds.

    rises: whether the metric is better where it is higher."""
    if new is None:
        return {"kept": False, "why": "it diverged"}
    metric = old.result["metric"]
    same = old.recipe.train.loss == new.recipe.train.loss and not _other_measure(remedy)
    was, now = _score(old, metric), _score(new, metric)
    sure = rises and was is not None and now is not None and abs(now - was) > _sure_of(new)
    by = metric if sure or not same else "loss"
    a, b = _score(old, by), _score(new, by)
    found = {"by": by, "before": a, "after": b, "metric": metric, "metric_before": was, "metric_after": now}
    if b is None:
        return {**found, "kept": False}
    if a is None or not np.isfinite(a):
        return {**found, "kept": bool(np.isfinite(b))}
    gain = b - a if rises and by != "loss" else a - b
    values = np.array([e["validation"]["loss"] for e in new.history if e.get("validation")], np.float64)
    both = by == "loss" and was is not None and now is not None and (now - was if rises else was - now) >= LEAST_SCORE
    noise = 0.0 if both else 2 * noise_of(values) if by == "loss" else LEAST_SCORE
    return {**found, "kept": bool(gain > noise and gain > 0.01 * abs(a))}


def _sure_of(run: Run) -> float:
    """By how much a score has to differ on the same rows: by twice the standard error of the rows that are answered
    rightly by one of the two only (McNemar 1947), which is least where all of them speak for the better one."""
    rows = run.result["rows"]["validation"] or run.result["rows"]["train"]
    return max(LEAST_SCORE, 4 / max(rows, 1))


def _score(run: Run, name: str) -> float | None:
    part = run.result.get("validation") or run.result.get("train") or {}
    return None if part.get(name) is None else float(part[name])


def _repaired(finding: Finding, remedy: Remedy, line: dict[str, Any]) -> Finding:
    """The finding that was answered: a note, and what answered it."""
    shown = (
        f"{line['before']:.4g} to {line['after']:.4g}" if line.get("before") is not None else f"to {line['after']:.4g}"
    )
    said = f"{finding.summary}. Repaired by {remedy.text} ({remedy.line()}): validation {line['by']} {shown}"
    return dataclasses.replace(finding, severity="note", summary=said)


def _keep(path: Path | None, new: Run) -> None:
    """The treated run takes the place of the untreated one, which is kept beside it."""
    if path is None or new.path is None:
        return
    old = files.make_folder(path / UNTREATED) if not (path / UNTREATED).exists() else None
    for entry in list(path.iterdir()):
        if entry.name in (UNTREATED, TREATED, "lock"):
            continue
        if old is not None:
            entry.rename(old / entry.name)
        elif entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for entry in list(new.path.iterdir()):
        if entry.name != "lock":
            entry.rename(path / entry.name)
    shutil.rmtree(new.path, ignore_errors=True)
    new.path = path
    new.result["run"] = str(path)


def _told(run: Run, rounds: list[dict[str, Any]], answered: list[Finding], cost: dict[str, Any]) -> Run:
    run.findings = Findings([f.to_json() for f in answered] + _with_trials(run.findings, rounds))
    run.result["findings"] = [
        {k: f[k] for k in ("problem", "severity", "layer", "step", "summary")} for f in run.findings
    ]
    run.result["repair"] = {"rounds": files.finite(rounds), **cost}
    if run.path is not None:
        place = RunDir(run.path)
        files.write_json(place.findings, files.finite(run.findings))
        files.write_json(place.result, run.result)
    return run


def _with_trials(found: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Findings that still stand, each with the trials of its own remedies."""
    trials = {Remedy(t["remedy"]["settings"]).line(): t for line in rounds for t in line["trials"]}
    return [{**f, "tried": [trials[r["line"]] for r in f["remedies"] if r["line"] in trials]} for f in found]
