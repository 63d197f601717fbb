"""Runs side by side: settings that differ, curves, scores, costs."""

import string
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from pellucid.memory import in_words
from pellucid.rundir import RunDir, read_json
from pellucid.signals.record import read_record
from pellucid.views import facts
from pellucid.views.console import figure, seconds, sparkline, table, unicode_fits

SILENT = ("name", "data.fingerprint")  # differ without being a setting


def comparison(places: list[RunDir]) -> dict[str, Any]:
    """{"runs": [...], "settings": {key: [one value a run]}}; each run with its result, epochs and curves."""
    from pellucid import recipe as recipes

    settings = [_flat(recipes.to_dict(recipes.read(place.recipe))) for place in places]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    differing = {
        key: [one.get(key) for one in settings]
        for key in keys
        if key not in SILENT and any(one.get(key) != settings[0].get(key) for one in settings)
    }
    same_data = len({one.get("data.fingerprint") for one in settings}) == 1
    return {"same_data": same_data, "settings": differing, "runs": [_run(place) for place in places]}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one dict with dotted keys.

    >>> _flat({"train": {"optimizer": {"type": "adam"}, "epochs": 5}})
    {'train.optimizer.type': 'adam', 'train.epochs': 5}
    """
    out: dict[str, Any] = {}
    for key, one in value.items():
        out |= _flat(one, f"{prefix}{key}.") if isinstance(one, dict) else {f"{prefix}{key}": one}
    return out


def _run(place: RunDir) -> dict[str, Any]:
    result = read_json(place.result) if place.result.is_file() else None
    epochs = read_record(place.record).epochs if place.record.is_file() else []
    scores = [epoch.get("validation") or epoch["sample"] for epoch in epochs]
    metric = result["metric"] if result else next((n for one in scores[:1] for n in one if n != "loss"), "loss")
    return {
        "run": str(place.path), "name": place.path.name, "status": facts.status(result, place.running),
        "metric": metric, "result": result, "loss": [one["loss"] for one in scores],
        "curve": [one.get(metric) for one in scores],
    }  # fmt: skip


def comparison_text(found: dict[str, Any], console: Console) -> RenderableType:
    runs = found["runs"]
    letters = list(string.ascii_uppercase[: len(runs)]) if len(runs) <= 26 else [str(i + 1) for i in range(len(runs))]
    names = table("", "", left=2)
    for letter, run in zip(letters, runs, strict=True):
        names.add_row(
            Text(letter, style="bold"), run["name"] + ("" if run["status"] == "finished" else f" ({run['status']})")
        )
    lines: list[RenderableType] = [names]
    if not found["same_data"]:
        lines.append(Text("the runs saw different data, so their scores do not compare", style="yellow"))
    lines += [Text(""), _settings(found["settings"], letters), Text(""), _scores(runs, letters), Text("")]
    lines += [_curves(runs, letters, console), Text(""), _costs(runs, letters)]
    return Group(*lines)


def _settings(settings: dict[str, list[Any]], letters: list[str]) -> RenderableType:
    if not settings:
        return Text("all settings are the same")
    made = table("settings that differ", *letters, left=1 + len(letters))
    for key, values in settings.items():
        made.add_row(key, *["-" if v is None else f"{v:g}" if isinstance(v, float) else str(v) for v in values])
    return made


def _scores(runs: list[dict[str, Any]], letters: list[str]) -> RenderableType:
    made = table("scores", *letters)
    for part in facts.PARTS:
        for name in dict.fromkeys(name for run in runs for name in (run["metric"], "loss")):
            values = [facts.score(run["result"], part, name) if run["result"] else None for run in runs]
            if any(value is not None for value in values):
                made.add_row(f"{part} {name}", *[figure(value) for value in values])
    return made


def _curves(runs: list[dict[str, Any]], letters: list[str], console: Console) -> RenderableType:
    """Each run's validation loss and metric over its epochs, drawn small; first and last value beside."""
    made = table("validation curves", "", "from", "to", left=2)
    for letter, run in zip(letters, runs, strict=True):
        for name, values in (("loss", run["loss"]), (run["metric"], run["curve"])):
            numbers = [float(v) for v in values if v is not None]
            if numbers and (name != "loss" or values is run["loss"]):
                drawn = sparkline(numbers, 24, unicode_fits(console))
                made.add_row(f"{letter} {name}", drawn, figure(numbers[0]), figure(numbers[-1]))
    return made


def _costs(runs: list[dict[str, Any]], letters: list[str]) -> RenderableType:
    made = table("costs", *letters)
    rows = [
        ("best epoch", lambda r: f"{r['best_epoch']}/{r['epochs']}"),
        ("updates", lambda r: f"{r['steps']:,}"),
        ("time", lambda r: seconds(r["seconds"])),
        ("of it compiling", lambda r: seconds(r["compile_seconds"])),
        ("examples/s", lambda r: f"{r['examples_per_second']:,.0f}"),
        ("parameters", lambda r: f"{r['parameters']:,}"),
        ("memory", lambda r: in_words(r["peak_memory_bytes"])),
    ]
    for name, shown in rows:
        made.add_row(name, *[shown(run["result"]) if run["result"] else "-" for run in runs])
    return made
