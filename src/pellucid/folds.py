"""K-fold cross-validation: K runs, each with another part of the data as its test."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pellucid import files
from pellucid.errors import SettingError
from pellucid.fit import run_recipe
from pellucid.recipe import Recipe
from pellucid.rundir import RUNS, new_run
from pellucid.session import Callback, Run


@dataclass
class Folds:
    """All runs, and their scores together."""

    path: Path | None
    result: dict[str, Any]
    runs: list[Run] = field(default_factory=list)


def fit_folds(
    recipe: Recipe,
    k: int,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
    out: str | Path | None = RUNS,
    callbacks: Iterable[Callback] = (),
) -> Folds:
    """Train `k` times; fold i is the test of run i, and validation is drawn from the rest. Stratified or by group as
    every split is. The scores are means over folds, with their standard deviation and standard error.

    >>> from pellucid.recipe import make
    >>> found = fit_folds(make({"source": "iris", "epochs": 1, "baselines": False}), 3, out=None)
    >>> len(found.result["folds"]), sorted(found.result["mean"])
    (3, ['accuracy', 'loss'])
    """
    if k < 2:
        raise SettingError("cross-validation needs two folds or more", where="folds", expected="2 or more", got=k)
    place = new_run(Path(out), f"{recipe.name or recipe.data.source or 'data'}-folds").path if out is not None else None
    runs = []
    for number in range(k):
        one = msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, fold=(number, k)))
        folder = place / f"fold{number + 1}" if place else None
        runs.append(run_recipe(one, data=data, live=live, out=folder, exact=True, callbacks=tuple(callbacks)))
    result = together(runs)
    if place is not None:
        files.write_json(place / "result.json", {**result, "run": str(place)})
    return Folds(place, result, runs)


def together(runs: list[Run]) -> dict[str, Any]:
    """The folds' test scores, with mean, standard deviation over folds, and standard error of the mean."""
    scores = [run.result["test"] or {} for run in runs]
    names = list(scores[0])
    mean = {name: sum(s[name] for s in scores) / len(scores) for name in names}
    std = {name: math.sqrt(sum((s[name] - mean[name]) ** 2 for s in scores) / (len(scores) - 1)) for name in names}
    return {
        "task": runs[0].result["task"],
        "metric": runs[0].result["metric"],
        "folds": [
            {"test": s, "best_epoch": r.result["best_epoch"], "run": r.result["run"]}
            for s, r in zip(scores, runs, strict=True)
        ],
        "mean": mean,
        "std": std,
        "standard_error": {name: value / math.sqrt(len(scores)) for name, value in std.items()},
        "seconds": round(sum(run.result["seconds"] for run in runs), 3),
    }
