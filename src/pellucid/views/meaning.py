"""What each score means, one plain sentence each: read from result.json and the record's setup alone."""

from collections.abc import Callable
from typing import Any

from pellucid.views import facts
from pellucid.views.console import figure

Told = dict[str, Any]
WHERE = {"test": "unseen examples", "validation": "validation examples", "train": "training examples"}
TRIVIAL = {"majority": "always naming the most common class", "mean": "always predicting the mean"}


def meanings(result: Told, setup: Told | None = None) -> list[tuple[str, str]]:
    """(the score, what it means) for the metric, the loss, and the further metrics of the part that counts.

    >>> result = {"metric": "accuracy", "test": {"accuracy": 0.95, "loss": 0.2}, "rows": {"test": 20},
    ...     "details": {"part": "test", "confusion": [[9, 1], [0, 10]], "accuracy": 0.95},
    ...     "baselines": [{"name": "majority", "metric": "accuracy", "test": 0.5}]}
    >>> for score, meaning in meanings(result): print(f"{score}: {meaning}")
    0.9500 accuracy: 1 of 20 unseen examples wrong; always naming the most common class gives 0.50
    """
    part = facts.shown_part(result)
    if part is None:
        return []
    details = {k: v for k, v in (result.get("details") or {}).items() if isinstance(v, float | int)}
    values: dict[str, Any] = {result["metric"]: facts.score(result, part)}
    values |= {"loss": facts.score(result, part, "loss"), **details}
    found = []
    for name, value in values.items():
        say = SAYS.get(name)
        if say is None or value is None or not abs(float(value)) < float("inf"):
            continue
        if sentence := say(float(value), result, part, setup or {}):
            found.append((f"{figure(float(value))} {name.replace('_', ' ')}", sentence))
    return found


def _accuracy(value: float, result: Told, part: str, setup: Told) -> str:
    counted = (result.get("details") or {}).get("confusion") if part == _part(result) else None
    total = sum(map(sum, counted)) if counted else 0
    right = sum(row[i] for i, row in enumerate(counted or []))
    if counted and total and abs(right / total - value) < 0.5 / total:  # rows of unequal weight are not counted
        said = f"{total - right:,.0f} of {total:,.0f} {WHERE[part]} wrong"
    else:
        said = f"{value:.1%} of the answers for {WHERE[part]} are right"
    return said + _beside(result, part)


def _r2(value: float, result: Told, part: str, setup: Told) -> str:
    if value < 0:
        return f"worse than always predicting the mean, which gives {_trivial(result, part) or 0.0:.2f}"
    return (
        f"the predictions explain {value:.0%} of the differences among {WHERE[part]}; "
        "1 would be all of them, always predicting the mean explains none"
    )


def _loss(value: float, result: Told, part: str, setup: Told) -> str:
    import math

    constant = setup.get("trivial_validation" if part != "train" else "trivial_loss") or setup.get("trivial_loss")
    said = ""
    if setup.get("loss") == "cross_entropy" and result.get("task") not in ("language", "pairs"):
        said = f"the right class is given a probability of {math.exp(-min(value, 700)):.2f} (the geometric mean)"
    elif setup.get("loss") == "cross_entropy":
        said = f"the character or word that comes next is given a probability of {math.exp(-min(value, 700)):.2f}"
    if constant is None:
        return said
    return (said + "; " if said else "") + f"the best constant answer, blind to the input, loses {figure(constant)}"


def _perplexity(value: float, result: Told, part: str, setup: Told) -> str:
    return f"as unsure of what comes next as if it chose among {value:.1f} equally likely tokens each time"


def _bits(value: float, result: Told, part: str, setup: Told) -> str:
    return f"packed by what it foresees, a text would take {value:.2f} bits a character; as plain bytes it takes 8"


def _balanced(value: float, result: Told, part: str, setup: Told) -> str:
    return f"each class counted alike, {value:.1%} of it is recognised on average"


def _f1(value: float, result: Told, part: str, setup: Told) -> str:
    return "precision and recall in one (their harmonic mean, averaged over classes); 1 is best"


def _roc_auc(value: float, result: Told, part: str, setup: Told) -> str:
    return (
        f"of an example of a class and one of another, it ranks the right one higher {value:.1%} of the time; 0.5 is "
        "guessing"
    )


def _mae(value: float, result: Told, part: str, setup: Told) -> str:
    return f"a prediction is off by {figure(value)} on average, in the target's own units"


def _rmse(value: float, result: Told, part: str, setup: Told) -> str:
    return f"a typical miss, large ones counted more: about two predictions in three lie within {figure(value)}"


def _exact(value: float, result: Told, part: str, setup: Told) -> str:
    return f"{value:.1%} of the {WHERE[part]} are right in every place"


def _top_k(value: float, result: Told, part: str, setup: Told) -> str:
    return f"the right class is among the likeliest few for {value:.1%} of the {WHERE[part]}"


SAYS: dict[str, Callable[[float, Told, str, Told], str]] = {
    "accuracy": _accuracy, "r2": _r2, "loss": _loss, "perplexity": _perplexity, "bits_per_character": _bits,
    "balanced_accuracy": _balanced, "f1": _f1, "roc_auc": _roc_auc, "mean_absolute_error": _mae,
    "root_mean_squared_error": _rmse, "exact_match": _exact, "top_k": _top_k,
}  # fmt: skip


def _part(result: Told) -> str | None:
    return (result.get("details") or {}).get("part")


def _trivial(result: Told, part: str) -> float | None:
    for one in result.get("baselines") or []:
        if one["name"] in TRIVIAL and one.get("metric") == result["metric"]:
            return facts.number(one.get(part))
    return None


def _beside(result: Told, part: str) -> str:
    """What the simplest answer gives."""
    for one in result.get("baselines") or []:
        value = facts.number(one.get(part))
        if one["name"] in TRIVIAL and one.get("metric") == result["metric"] and value is not None:
            return f"; {TRIVIAL[one['name']]} gives {value:.2f}"
    return ""
