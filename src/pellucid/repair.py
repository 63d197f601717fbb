"""Repair: what the doctor found is tried out, what helps is kept, and no run ends worse than it would have left alone.

The untreated run comes first and is complete. Then, while alarms stand and time is left: each remedy that settings can
carry out is tried in a short training beside one without (doctor/trial.py), the best of those that help is given a
full training, and that replaces the run if its validation score is better beyond noise; else it is rolled back.
"""

import dataclasses
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pellucid import files
from pellucid import recipe as recipes
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.progress import noise_of
from pellucid.doctor.trial import best, candidates, try_remedies
from pellucid.errors import Diverged, PellucidError
from pellucid.rundir import Lock, RunDir
from pellucid.session import Run, Session
from pellucid.shown import Findings
from pellucid.train.loop import Loop

ROUNDS = 3
LEAST_SECONDS, TIMES = 60.0, 3.0  # for trials: a minute, or three times as long as the run itself took
LEAST_STEPS, SHARE = 200, 4  # a trial's updates: a quarter of the budget
LONG = ("overfitting", "stopped_too_early", "over_regularized", "label_noise")  # what shows only after a whole training
ABOUT_NETWORK = ("network", "activation", "initial")
UNTREATED, TREATED = "untreated", "repair"


class Branches:
    """Trains branches of a run in memory; see `doctor.trial.Trainer`."""

    def __init__(self, session: Session, seconds: float):
        self.session, self.until, self.by_metric = session, time.perf_counter() + seconds, False

    def seconds_left(self) -> float:
        return self.until - time.perf_counter()

    def branch(self, settings: dict[str, Any], seed: int, steps: int) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = treated(self.session, settings, seed=self.session.given.train.seed + 1 + seed)
        except PellucidError:
            return float("nan")
        loop = Loop(made.network, made.prepared.train, made.prepared.validation, made.settings)
        for _ in loop.run(stop=lambda: loop.step >= min(steps, made.settings.updates)):
            pass
        scores = loop.evaluator(loop.carry.params, loop.carry.state, made.prepared.validation or loop.sample)
        value = scores.loss
        if self.by_metric and made.settings.metric is not None:  # of unlike losses the numbers tell nothing
            value = -scores.metric if made.settings.metric.higher_is_better else scores.metric
        return value if np.isfinite(value) and loop.stopped != "diverged" else float("inf")


def treated(session: Session, settings: dict[str, Any], seed: int | None = None) -> Session:
    """A session as this one, with these settings in place of its own. Its data are not loaded anew."""
    live, recipe = dict(session.live), session.given
    if any(name in settings for name in ABOUT_NETWORK):
        base = {"network": session.of_network.get("architecture")} if live.pop("network", None) is not None else {}
        settings = {**base, **settings}
    if "network" in settings:  # it tells all of the network, its activation too
        network = recipes.to_dict(recipe).get("network", {})
        rest = {k: v for k, v in network.items() if k not in ("spec", "activation", "initial")}
        recipe = recipes.from_dict({**recipes.to_dict(recipe), "network": rest})
    if "optimizer" in settings:
        live.pop("optimizer", None)
    words = {**settings, **({} if seed is None else {"seed": seed})}
    return Session(recipes.override(recipe, words), None, live, session.folder, (), session.checkpoint_seconds, session)


def repair(session: Session, run: Run, tell: Callable[[str], None] = lambda said: None) -> Run:
    """The run, or a better one. session: that trained `run`, to its end. tell: is told what is being tried.

    What was tried stands in the result under "repair", in the findings under "tried", and on the page.
    """
    seconds = max(LEAST_SECONDS, TIMES * run.result["seconds"])
    branches = Branches(session, seconds)
    rounds: list[dict[str, Any]] = []
    answered: list[Finding] = []
    tried: set[str] = set()
    while len(rounds) < ROUNDS and branches.seconds_left() > 0:
        pairs = [p for p in candidates(_findings(run)) if p[1].line() not in tried]
        if not pairs:
            break
        tried |= {remedy.line() for _, remedy in pairs}
        branches.by_metric = any(name.endswith("loss") for _, r in pairs for name in r.settings)
        updates = session.settings.updates
        long = any(f.problem in LONG for f, _ in pairs)
        steps = updates if long else min(updates, max(updates // SHARE, LEAST_STEPS))
        trials = try_remedies(branches, [r for _, r in pairs], steps, tell=tell)
        choice = best([(f, t.remedy) for t in trials for f, r in pairs if r.line() == t.remedy.line()], trials)
        line: dict[str, Any] = {"trials": [t.to_json() for t in trials], "kept": False}
        rounds.append(line)
        if choice is None:
            continue
        remedy = choice.trial.remedy
        tell(f"training with {remedy.text}: {remedy.line()}")
        line |= {"problem": choice.finding.problem, "remedy": remedy.line(), "text": remedy.text}
        before = run
        new_session, new = _full(session, remedy, run.path)
        line |= _compared(before, new)
        if new is not None and line["kept"]:
            own = [t for t in trials if t.remedy in choice.finding.remedies or t.remedy == remedy]
            answered.append(dataclasses.replace(_repaired(choice.finding, remedy, line), tried=tuple(own)))
            _keep(run.path, new)
            session, run = new_session, new
            branches.session = session
        elif run.path is not None:
            shutil.rmtree(run.path / TREATED, ignore_errors=True)
    return _told(run, rounds, answered, round(seconds - branches.seconds_left(), 1))


def _findings(run: Run) -> list[Finding]:
    return [Finding.from_json(found) for found in run.findings]


def _full(session: Session, remedy: Remedy, path: Path | None) -> tuple[Session, Run | None]:
    """A whole training with the remedy, in a folder within the run's own."""
    new = treated(session, remedy.settings)
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


def _compared(old: Run, new: Run | None) -> dict[str, Any]:
    """The scores of both, and whether the new one is better beyond noise. By the validation loss where both have the
    same loss, by the metric where they do not."""
    if new is None:
        return {"kept": False, "why": "it diverged"}
    metric = old.result["metric"]
    same = old.recipe.train.loss == new.recipe.train.loss
    by = "loss" if same or metric == "loss" else metric
    a, b = _score(old, by), _score(new, by)
    found = {"by": by, "before": a, "after": b, "metric": metric}
    found |= {"metric_before": _score(old, metric), "metric_after": _score(new, metric)}
    if b is None:
        return {**found, "kept": False}
    if a is None or not np.isfinite(a):
        return {**found, "kept": bool(np.isfinite(b))}
    gain = a - b if by == "loss" else b - a
    values = np.array([e["validation"]["loss"] for e in new.history if e.get("validation")], np.float64)
    noise = 2 * noise_of(values) if by == "loss" else 0.01
    return {**found, "kept": bool(gain > noise and gain > 0.01 * abs(a))}


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


def _told(run: Run, rounds: list[dict[str, Any]], answered: list[Finding], seconds: float) -> Run:
    run.findings = Findings([f.to_json() for f in answered] + _with_trials(run.findings, rounds))
    run.result["findings"] = [
        {k: f[k] for k in ("problem", "severity", "layer", "step", "summary")} for f in run.findings
    ]
    run.result["repair"] = {"rounds": files.finite(rounds), "seconds": seconds}
    if run.path is not None:
        place = RunDir(run.path)
        files.write_json(place.findings, files.finite(run.findings))
        files.write_json(place.result, run.result)
    return run


def _with_trials(found: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Findings that still stand, each with the trials of its own remedies."""
    trials = {Remedy(t["remedy"]["settings"]).line(): t for line in rounds for t in line["trials"]}
    return [{**f, "tried": [trials[r["line"]] for r in f["remedies"] if r["line"] in trials]} for f in found]
