"""Lists for the terminal: runs, built-in sets, folds, and what `verify` found."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pellucid.views.console import figure, seconds, table

STYLES = {"finished": "", "running": "green", "interrupted": "yellow", "diverged": "red"}


def runs_table(found: list[dict[str, Any]]) -> RenderableType:
    """One line a run. The metric's name stands with the score, for runs of several tasks lie together."""
    made = table("run", "status", "metric", "validation", "test", "epochs", "time", left=3)
    for run in found:
        best = "-" if run["epochs"] is None else f"{run['best_epoch'] or '-'}/{run['epochs']}"
        made.add_row(
            run["name"],
            Text(run["status"], style=STYLES.get(run["status"], "")),
            run["metric"] or "-",
            figure(run["validation"]),
            figure(run["test"]),
            best,
            "-" if run["seconds"] is None else seconds(run["seconds"]),
        )
    return made


def datasets_table(found: list[dict[str, Any]]) -> RenderableType:
    made = table("name", "rows", "features", "what it is", left=1)
    made.columns[3].justify = "left"
    for one in found:
        kind = "" if one["task"] == "classification" else f" ({one['task']})"
        made.add_row(one["name"], f"{one['rows']:,}", str(one["features"]), one["about"] + kind)
    return made


def folds_table(result: dict[str, Any]) -> RenderableType:
    """Each fold's test scores, then mean and standard deviation."""
    names = list(result["mean"])
    made = table("fold", *[f"test {name}" for name in names], "best epoch")
    for place, fold in enumerate(result["folds"], 1):
        made.add_row(str(place), *[figure(fold["test"].get(name)) for name in names], str(fold["best_epoch"]))
    metric = result["metric"]
    mean, std = figure(result["mean"][metric]), figure(result["std"][metric])
    said = f"test {metric}: {mean} ± {std} over {len(result['folds'])} folds"
    return Group(made, Text(""), Text(said, style="bold"), Text(f"{seconds(result['seconds'])} in all"))


def verdict(found: dict[str, Any]) -> RenderableType:
    """What `verify` says."""
    if found["agrees"]:
        head = Text("the bytes agree: the recipe gives this run again", style="green")
    elif not found["comparable"]:
        head = Text("not comparable: the run was made elsewhere, so its bytes need not agree", style="yellow")
    else:
        head = Text("the bytes differ: the recipe does not give this run again", style="red")
    lines: list[RenderableType] = [head]
    if found["files"]:
        made = table("file", "", left=2)
        for one in found["files"]:
            made.add_row(one["file"], "the same" if one["agrees"] else "differs")
        lines += [Text(""), made]
    lines += [Text(f"- {line}") for line in found["differences"]]
    return Group(*lines)
