"""Lists for the terminal: runs, built-in sets, folds and seeds, and what `verify` found."""

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


def several_table(result: dict[str, Any]) -> RenderableType:
    """The scores of each fold or seed, then mean and standard deviation."""
    what, part, names = "folds" if "folds" in result else "seeds", result["part"], list(result["mean"])
    made = table(what[:-1], *[f"{part} {name}" for name in names], "best epoch")
    for place, one in enumerate(result[what], 1):
        label = place if what == "folds" else one["seed"]
        made.add_row(str(label), *[figure(one[part].get(name)) for name in names], str(one["best_epoch"]))
    metric = result["metric"]
    mean, std = figure(result["mean"][metric]), figure(result["std"][metric])
    said = f"{part} {metric}: {mean} ± {std} over {len(result[what])} {what}"
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


def checkup(found: dict[str, Any]) -> RenderableType:
    """What `verify --machine` says."""
    kernels = found["kernels"]
    in_use = f"native, {kernels['isa']}" if kernels["isa"] else f"plain JAX ({kernels['why']})"
    facts = table("", "", left=2)
    facts.add_row("kernels", in_use)
    facts.add_row("devices", ", ".join(found["devices"]))
    if found["memory_bytes"]:
        facts.add_row("memory", f"{found['memory_bytes'] / 2**30:.1f} GiB")
    for name, version in found["versions"].items():
        if name != "kernels":
            facts.add_row(name, version)
    checks = table("check", "error", "", left=1)
    for check in found["checks"]:
        said = "agrees" if check["agrees"] else Text("differs", style="red")
        checks.add_row(check["name"], f"{check['error']:.1g}", said)
    if found["agrees"]:
        head = Text("this machine computes rightly", style="green")
    else:
        head = Text("this machine gives wrong sums: no result from it can be trusted", style="red")
    told = Text("error: the distance from NumPy in float64, as a share of the largest value", style="dim")
    return Group(head, Text(""), facts, Text(""), checks, told)
