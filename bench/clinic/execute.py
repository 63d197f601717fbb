"""One run of one case: train, let the doctor look, and write down what it said beside what came out.

This is the only place that calls `fit`, and so the only one that knows by which words the doctor is asked.
"""

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from case import Case, Setup
from live import find
from sets import build

import pellucid as pc
from pellucid import recipe as recipes

UNSEEN = {"signals": False}  # without probes a run has the same bytes, and compiles in a third of the time
RESULTS = ("train", "validation", "test", "metric", "steps", "epochs", "best_epoch", "seconds", "stopped")


def knows(word: str) -> bool:
    """Whether `fit` takes this word: as a keyword of its own, or as a setting of a recipe."""
    sections = recipes.SECTIONS.values()
    return word in inspect.signature(pc.fit).parameters or any(word in s.__struct_fields__ for s in sections)


@contextmanager
def raw_targets() -> Iterator[None]:
    """Numbers are learned as they are while this lasts, as in the programs that forget to scale them.

    Pellucid always standardises its targets, so that the fault cannot be made by any setting of it.
    """
    from pellucid.data import targets

    fitted = targets._fit_column

    def unscaled(*args: Any) -> Any:
        column = fitted(*args)
        return replace(column, mean=0.0, scale=1.0) if column.kind == "number" else column

    targets._fit_column = unscaled
    try:
        yield
    finally:
        targets._fit_column = fitted


def train(setup: Setup, seed: int, doctor: str = "off", repair: bool = False, **more: Any) -> tuple[Any, str | None]:
    """(the run or None, what went wrong or None). A run that diverged is a run."""
    words = {**setup.settings, **{word: find(word, name) for word, name in setup.live.items()}}
    network = words.pop("network")
    asked = {"doctor": doctor} if knows("doctor") else {}
    if repair and knows("repair"):
        asked["repair"] = True
    with warnings.catch_warnings(), raw_targets() if setup.raw_targets else nullcontext():
        warnings.simplefilter("ignore")
        try:
            return pc.fit(network, build(setup.data), seed=seed, **{"out": None, **words, **asked, **more}), None
        except pc.errors.Diverged as error:
            return getattr(error, "run", None), "diverged"
        except Exception as error:  # the clinic goes on; the row says what happened
            return None, f"{type(error).__name__}: {error}"


def score(run: Any, part: str, measure: str = "metric") -> float:
    """A run's score on a part, higher is better: the metric, or minus the loss. NaN where there is none.

    A run that diverged before it had any weights worth keeping is as bad as can be: -inf.
    """
    if run is None:
        return float("-inf")
    found = run.result.get(part)
    if not found:
        return float("-inf")
    metric = run.result["metric"]
    value = -found["loss"] if measure == "loss" or metric == "loss" else found[metric]
    return float(value) if np.isfinite(value) else float("-inf")


def examine(case: Case, seed: int, repair: bool = False, **more: Any) -> dict[str, Any]:
    """A row of results.jsonl."""
    began = time.perf_counter()
    run, trouble = train(case.setup, seed, doctor="full", repair=repair, **more)
    result = run.result if run is not None else {}
    findings = run.findings if run is not None else []
    part = "test" if result.get("test") else "validation"
    repaired = {"held": _finite(score(run, part, case.measure)), "spent": spent(result)} if repair else {}
    return {
        "id": case.id, "seed": seed, "repair": repair, "fingerprint": case.fingerprint(), "part": case.part,
        "family": case.family, "half": case.half, "tier": case.tier, "causes": list(case.causes),
        "right": sorted(case.right), "layers": list(case.layers), "trouble": trouble,
        "score": _finite(score(run, "validation", case.measure)),
        "result": {name: _plain(result.get(name)) for name in RESULTS},
        "fine": None if case.floor is None else is_healthy(case, run),
        "findings": [_short(f) for f in findings], "wall": round(time.perf_counter() - began, 2), **repaired,
    }  # fmt: skip


def is_healthy(case: Case, run: Any) -> bool:
    """Whether a control is what it claims to be, found out without the doctor.

    Its score on validation and test together reaches the floor less three standard errors of a share measured on so
    few rows, and the weights that were kept are not clearly worse on validation than the best of the run.
    """
    if run is None or case.floor is None:
        return False
    counts = run.result["rows"]
    parts = [p for p in ("validation", "test") if run.result.get(p)]
    metric = run.result["metric"]
    if metric == "loss":
        return -run.result["validation"]["loss"] >= case.floor
    n = sum(counts[p] for p in parts)
    mean = sum(run.result[p][metric] * counts[p] for p in parts) / n
    share = min(max(case.floor, 0.05), 0.95)
    return mean >= case.floor - 3 * (share * (1 - share) / n) ** 0.5 and not_past_its_best(run)


def not_past_its_best(run: Any) -> bool:
    """The kept weights' validation loss is near the best epoch's: within a fifth, or 0.03, or 0.3 / sqrt(rows), about
    the standard error of a loss that is measured on so few."""
    losses = [e["validation"]["loss"] for e in run.history if e.get("validation")]
    if not losses:
        return True
    noise = max(0.2 * min(losses), 0.03, 0.3 / run.result["rows"]["validation"] ** 0.5)
    return run.result["validation"]["loss"] <= min(losses) + noise


def spent(result: dict[str, Any]) -> int:
    """Updates made in all trials and whole trainings of a repair."""
    return int((result.get("repair") or {}).get("updates") or 0)


def _short(finding: dict[str, Any]) -> dict[str, Any]:
    kept = ("problem", "severity", "layer", "step", "summary", "confidence", "symptoms")
    return {
        **{key: _plain(finding.get(key)) for key in kept},
        "remedies": [_plain(r.get("settings")) for r in finding.get("remedies", [])],
    }


def _plain(value: Any) -> Any:
    """As JSON holds it, without what is not finite."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _finite(float(value)) if isinstance(value, float | np.floating) else value


def _finite(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)
