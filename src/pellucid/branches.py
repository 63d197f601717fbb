"""Branches of a run: the same training with other settings, in memory, for the doctor's trials.

They begin from the initial weights, or from a state in the middle of the run (`start`, see `midway.py`), where what the
settings change leaves the network as it is (`continues`). On a CPU they follow one another; elsewhere those that differ
in numbers alone take their steps side by side.
"""

import time
import warnings
from typing import Any

import numpy as np

from pellucid import recipe as recipes
from pellucid.errors import PellucidError
from pellucid.midway import State, put
from pellucid.network.layer import flatten
from pellucid.session import Session
from pellucid.train.loop import Loop
from pellucid.train.together import alike, run_together

BUDGETS = ("steps", "epochs")
ABOUT_NETWORK = ("network", "activation", "initial", "output")
# what may change in the middle of a run: the weights stay what they are
CONTINUING = {"optimizer", "learning_rate", "schedule", "batch_size", "patience", "keep", "monitor", "loss"}


class Branches:
    """Trains branches of a run in memory; see `doctor.trial.Trainer`. updates: how many it has made in all."""

    def __init__(self, session: Session, seconds: float):
        self.session, self.until, self.by_metric = session, time.perf_counter() + seconds, False
        self.updates = 0
        self.start: State | None = None

    def seconds_left(self) -> float:
        return self.until - time.perf_counter()

    def branch(self, settings: dict[str, Any], seed: int, steps: int) -> float:
        loop = self._loop(settings, seed)
        if loop is None:
            return float("nan")
        until = self._until(loop, settings, steps)
        for _ in loop.some(until - loop.step):
            pass
        return self._value(loop)

    def _loop(self, settings: dict[str, Any], seed: int) -> Loop | None:
        """A loop that is ready to train; None where these settings cannot be used."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self._made(settings, self.session.given.train.seed + 1 + seed)
        except PellucidError:
            return None
        loop = Loop(made.network, made.prepared.train, made.prepared.validation, made.settings)
        return None if self.start is not None and not put(loop, self.start) else loop

    def _until(self, loop: Loop, settings: dict[str, Any], steps: int) -> int:
        budget = loop.settings.updates
        return budget if set(BUDGETS) & set(settings) else min(loop.step + steps, budget)

    def _value(self, loop: Loop) -> float:
        self.updates += loop.step - (0 if self.start is None else self.start.step)
        network = loop.result() if loop.settings.keep == "best" else loop.now()
        weights = (flatten(network.params or {}), network.state)
        scores = loop.evaluator(*weights, loop.validation or loop.sample)
        value, metric = scores.loss, loop.settings.metric
        if self.by_metric and metric is not None:  # of unlike losses the numbers tell nothing
            value = -scores.metric if metric.higher_is_better else scores.metric
        return value if np.isfinite(value) and loop.stopped != "diverged" else float("inf")

    def _made(self, settings: dict[str, Any], seed: int) -> Session:
        """With another seed, and the split of the run's own: data that are prepared in another way (standardised) are
        divided as before, for a branch may differ from the one beside it in the remedy alone."""
        words = {**settings, "signals": False}  # nobody reads them, and it compiles faster; the weights are the same
        like = treated(self.session, words)
        return Session(recipes.override(like.given, {"seed": seed}), None, like.live, like.folder, (), 1e9, like)


class SideBySide(Branches):
    """Branches of which those that differ in numbers alone are trained in one program; see `doctor.trial.Together`."""

    def together(self, wanted: list[dict[str, Any]], seed: int, steps: int) -> list[float]:
        loops = [self._loop(settings, seed) for settings in wanted]
        ends = [0 if loop is None else self._until(loop, s, steps) for loop, s in zip(loops, wanted, strict=True)]
        left = [i for i, loop in enumerate(loops) if loop is not None]
        while left:
            first = left[0]
            group = [i for i in left if ends[i] == ends[first] and alike(loops[first], loops[i])]  # pyright: ignore
            run_together([loop for i in group if (loop := loops[i]) is not None], ends[first])
            left = [i for i in left if i not in group]
        return [float("nan") if loop is None else self._value(loop) for loop in loops]


def continues(settings: dict[str, Any]) -> bool:
    """Whether these settings can come into force in the middle of a run.

    >>> continues({"learning_rate": 0.1}), continues({"activation": "relu"})
    (True, False)
    """
    return bool(settings) and set(settings) <= CONTINUING


def treated(session: Session, settings: dict[str, Any]) -> Session:
    """A session as this one, with these settings in place of its own. Its data are not loaded anew.

    What was given as a Python object (a loss, an optimizer) gives way to a setting of that name; a network that was put
    together by hand takes its changes, and one of a named architecture is from then on named in the recipe."""
    live, recipe = dict(session.live), session.given
    if any(name in settings for name in ABOUT_NETWORK) and "network" in live:
        architecture = session.of_network.get("architecture")
        if architecture is not None or "network" in settings:
            live.pop("network")
            settings = {"network": architecture, **settings}
    if "network" in settings:  # it tells all of the network, its activation too
        network = recipes.to_dict(recipe).get("network", {})
        rest = {k: v for k, v in network.items() if k not in ("spec", *ABOUT_NETWORK)}
        recipe = recipes.from_dict({**recipes.to_dict(recipe), "network": rest})
    live = {word: value for word, value in live.items() if word not in settings}
    return Session(
        recipes.override(recipe, settings), None, live, session.folder, (), session.checkpoint_seconds, session
    )
