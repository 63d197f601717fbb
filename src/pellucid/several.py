"""One recipe trained several times: with other seeds, or K-fold, each with another part of the data as its test.

On a CPU the runs follow one another through one compiled program: that was measured to be quicker than training them
side by side (vmap over 5 seeds took as long as 6 to 7 single runs). On a GPU, which a small network does not fill, they
go side by side (`train/meeting.py`).
"""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import msgspec

from pellucid import files
from pellucid.errors import SettingError
from pellucid.fit import run_recipe
from pellucid.machine import Interruptions
from pellucid.recipe import Recipe
from pellucid.rundir import RUNS, new_run
from pellucid.session import Callback, Run
from pellucid.train import hosts
from pellucid.train.meeting import Meeting


@dataclass
class Several:
    """All runs, and their scores together."""

    path: Path | None
    result: dict[str, Any]
    runs: list[Run] = field(default_factory=list)


def fit_folds(recipe: Recipe, k: int, **more: Any) -> Several:
    """Train `k` times; fold i is the test of run i, and validation is drawn from the rest. Stratified or by group as
    every split is. The scores are means over folds, with their standard deviation and standard error.

    more: data, live, out, callbacks, as `pellucid.fit.run_recipe` takes them; side_by_side: all at once, as far as they
    are alike (of folds, where each has as many rows to train on); None: on a GPU. Callbacks are then copied for each.

    >>> from pellucid.recipe import make
    >>> found = fit_folds(make({"source": "iris", "epochs": 1, "baselines": False}), 3, out=None)
    >>> len(found.result["folds"]), sorted(found.result["mean"])
    (3, ['accuracy', 'loss'])
    """
    if k < 2:
        raise SettingError("cross-validation needs two folds or more", where="folds", expected="2 or more", got=k)

    def recipes() -> Iterator[tuple[str, Recipe]]:
        for number in range(k):
            one = msgspec.structs.replace(recipe.data, fold=(number, k))
            yield f"fold{number + 1}", msgspec.structs.replace(recipe, data=one)

    return _trained("folds", recipe, recipes(), **more)


def fit_seeds(recipe: Recipe, n: int, **more: Any) -> Several:
    """Train `n` times, with the recipe's seed and those after it: each draws its own split, initial weights and order
    of examples, so that the spread of the scores tells how much of one run's score is chance.

    more: as of `fit_folds`.

    >>> from pellucid.recipe import make
    >>> found = fit_seeds(make({"source": "iris", "epochs": 1, "baselines": False, "seed": 5}), 2, out=None)
    >>> [one["seed"] for one in found.result["seeds"]]
    [5, 6]
    """
    if n < 2:
        raise SettingError("several seeds are two or more", where="seeds", expected="2 or more", got=n)

    def recipes() -> Iterator[tuple[str, Recipe]]:
        for seed in range(recipe.train.seed, recipe.train.seed + n):
            yield f"seed{seed}", msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, seed=seed))

    return _trained("seeds", recipe, recipes(), **more)


def _trained(
    what: str, recipe: Recipe, recipes: Iterable[tuple[str, Recipe]], *, data: Any = None,
    live: dict[str, Any] | None = None, out: str | Path | None = RUNS, callbacks: Iterable[Callback] = (),
    side_by_side: bool | None = None,
) -> Several:  # fmt: skip
    name = f"{recipe.name or recipe.data.source or 'data'}-{what}"
    place = None
    if out is not None:  # of processes that train together the first one writes, and names the folder
        place = new_run(Path(out), name).path if hosts.is_first() else Path(out)
    callbacks = tuple(callbacks)
    if side_by_side is None:
        side_by_side = jax.default_backend() != "cpu"
    side_by_side = side_by_side and hosts.count() == 1
    tasks = [
        partial(
            run_recipe, one, data=data, live=live, out=place / folder if place else None, exact=True,
            callbacks=_for_run(number, callbacks) if side_by_side else callbacks,
        )
        for number, (folder, one) in enumerate(recipes)
    ]  # fmt: skip
    if side_by_side:
        for callback in callbacks:
            if callback.of_one_run:
                callback.preparing(f"{len(tasks)} runs side by side; the first one is shown")
        with Interruptions():
            runs = Meeting().run(tasks)
    else:
        runs = [task() for task in tasks]
    result = together(runs, what)
    if place is not None and hosts.is_first():
        files.write_json(place / "result.json", {**result, "run": str(place)})
    return Several(place, result, runs)


def _for_run(number: int, callbacks: tuple[Callback, ...]) -> tuple[Callback, ...]:
    """The callbacks of one of several runs that go on at once."""
    if number == 0:
        return callbacks
    return tuple(copy.copy(callback) for callback in callbacks if not callback.of_one_run)


def together(runs: list[Run], what: str) -> dict[str, Any]:
    """The runs' scores on the test part (validation, where there is none), with mean, standard deviation over runs, and
    standard error of the mean."""
    part = "test" if all(run.result["test"] for run in runs) else "validation"
    scores = [run.result[part] or {} for run in runs]
    names = list(scores[0])
    mean = {name: sum(s[name] for s in scores) / len(scores) for name in names}
    std = {name: math.sqrt(sum((s[name] - mean[name]) ** 2 for s in scores) / (len(scores) - 1)) for name in names}
    return {
        "task": runs[0].result["task"],
        "metric": runs[0].result["metric"],
        "part": part,
        what: [
            {part: s, "seed": r.result["seed"], "best_epoch": r.result["best_epoch"], "run": r.result["run"]}
            for s, r in zip(scores, runs, strict=True)
        ],
        "mean": mean,
        "std": std,
        "standard_error": {name: value / math.sqrt(len(scores)) for name, value in std.items()},
        "seconds": round(sum(run.result["seconds"] for run in runs), 3),
    }
