"""Branches of a run: the same training with other settings, in memory, for the doctor's trials."""

import time
import warnings
from typing import Any

import numpy as np

from pellucid import recipe as recipes
from pellucid.errors import PellucidError
from pellucid.network.layer import flatten
from pellucid.session import Session
from pellucid.train.loop import Loop

BUDGETS = ("steps", "epochs")
ABOUT_NETWORK = ("network", "activation", "initial", "output")


class Branches:
    """Trains branches of a run in memory; see `doctor.trial.Trainer`. updates: how many it has made in all."""

    def __init__(self, session: Session, seconds: float):
        self.session, self.until, self.by_metric = session, time.perf_counter() + seconds, False
        self.updates = 0

    def seconds_left(self) -> float:
        return self.until - time.perf_counter()

    def branch(self, settings: dict[str, Any], seed: int, steps: int) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self._made(settings, self.session.given.train.seed + 1 + seed)
        except PellucidError:
            return float("nan")
        loop = Loop(made.network, made.prepared.train, made.prepared.validation, made.settings)
        budget = made.settings.updates
        budget = budget if set(BUDGETS) & set(settings) else min(steps, budget)
        for _ in loop.run(stop=lambda: loop.step >= budget):
            pass
        self.updates += loop.step
        network = loop.result() if made.settings.keep == "best" else loop.now()
        weights = (flatten(network.params or {}), network.state)
        scores = loop.evaluator(*weights, made.prepared.validation or loop.sample)
        value = scores.loss
        if self.by_metric and made.settings.metric is not None:  # of unlike losses the numbers tell nothing
            value = -scores.metric if made.settings.metric.higher_is_better else scores.metric
        return value if np.isfinite(value) and loop.stopped != "diverged" else float("inf")

    def _made(self, settings: dict[str, Any], seed: int) -> Session:
        """With another seed, and the split of the run's own: data that are prepared in another way (standardised) are
        divided as before, for a branch may differ from the one beside it in the remedy alone."""
        words = {**settings, "signals": False}  # nobody reads them, and it compiles faster; the weights are the same
        like = treated(self.session, words)
        return Session(recipes.override(like.given, {"seed": seed}), None, like.live, like.folder, (), 1e9, like)


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
