"""What a run's result says, in words and rows: read from result.json alone, shown by the terminal and the report."""

from typing import Any

PARTS = ("train", "validation", "test")
SUBJECTS = {
    "linear": "a linear model does",
    "boosted trees": "boosted trees do",
    "majority": "always naming the most common class does",
    "mean": "always predicting the mean does",
    "unigram": "counting single tokens does",
    "bigram": "counting pairs of tokens does",
}


def number(value: Any) -> float | None:
    """A score as a number; the strings "nan" and "inf" of result.json too; None where there is none."""
    return None if value is None else float(value)


def score(result: dict[str, Any], part: str, name: str | None = None) -> float | None:
    return number((result.get(part) or {}).get(name or result["metric"]))


def shown_part(result: dict[str, Any]) -> str | None:
    """The part whose score counts: test, else validation, else training."""
    return next((part for part in reversed(PARTS) if result.get(part)), None)


def score_rows(result: dict[str, Any]) -> list[tuple[str, list[float | None]]]:
    """(name, [training, validation, test]) of the metric: the network first, then the baselines."""
    rows = [("this network", [score(result, part) for part in PARTS])]
    for baseline in result.get("baselines") or []:
        if baseline.get("metric") == result["metric"]:
            rows.append((baseline["name"], [None, number(baseline.get("validation")), number(baseline.get("test"))]))
    return rows


def beaten_by(result: dict[str, Any]) -> str | None:
    """A word where a simple model does better on the part that counts; the best of them.

    >>> beaten_by({"metric": "accuracy", "test": {"accuracy": 0.968, "loss": 0.1},
    ...     "baselines": [{"name": "linear", "metric": "accuracy", "validation": 0.9, "test": 0.981}]})
    'a linear model does better here: 0.981 against 0.968'
    """
    part = shown_part(result)
    own = None if part is None else score(result, part)
    if own is None or part == "train":
        return None
    better, sign = [], -1 if result["metric"] == "loss" else 1
    for baseline in result.get("baselines") or []:
        value = number(baseline.get(part))
        if baseline.get("metric") == result["metric"] and value is not None and sign * value > sign * own:
            better.append((sign * value, baseline["name"]))
    if not better:
        return None
    value, name = max(better)
    value *= sign
    digits = next((d for d in (3, 4, 5) if f"{value:.{d}f}" != f"{own:.{d}f}"), 6)
    return f"{SUBJECTS.get(name, name + ' does')} better here: {value:.{digits}f} against {own:.{digits}f}"


def epochs_said(result: dict[str, Any], keep: str = "best") -> str:
    """Which epoch's weights these are, and why training ended."""
    best, epochs = result["best_epoch"], result["epochs"]
    why = {
        "budget": "the budget is used up", "patience": "no better validation score came", "diverged": "it diverged",
    }.get(result.get("stopped", ""), result.get("stopped") or "")  # fmt: skip
    which = f"best epoch {best} of {epochs}, its weights are kept"
    if keep == "last":
        which = f"the last epoch, {epochs}, is kept"
    elif not best:
        which = f"no epoch of {epochs} had a finite score"
    return f"{which}; {why}" if why else which


def status(result: dict[str, Any] | None, running: bool) -> str:
    """finished, diverged, running or interrupted."""
    if result is None:
        return "running" if running else "interrupted"
    return "diverged" if result.get("stopped") == "diverged" else "finished"
