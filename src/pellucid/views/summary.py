"""What a finished run came to, for the terminal: scores beside baselines, costs, notes, and where things lie."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from pellucid.memory import in_words
from pellucid.views import facts
from pellucid.views.console import figure, seconds, table


def show_summary(console: Console, result: dict[str, Any], report: str | None = None, keep: str = "best") -> None:
    """Print the whole summary of a result.json; paths on lines of their own, which no width tears apart."""
    console.print(Group(*_summary(result, keep)))
    for name, path in (("run", result.get("run")), ("report", report)):
        if path:
            console.print(Text(f"{name:<8} {path}"), soft_wrap=True)


def _summary(result: dict[str, Any], keep: str) -> list[RenderableType]:
    lines: list[RenderableType] = [scores(result), Text("")]
    if (beaten := facts.beaten_by(result)) is not None:
        lines.append(Text(beaten, style="yellow"))
    details = result.get("details") or {}
    if "perplexity" in details:
        bits = details.get("bits_per_character")
        said = f", {figure(bits)} bits per character" if bits is not None else ""
        lines.append(Text(f"perplexity {figure(details['perplexity'])}{said} on the {details['part']} part"))
    lines.append(Text(facts.epochs_said(result, keep)))
    lines += [Text(line) for line in costs(result)]
    if result.get("range_test"):
        lines.append(Text(f"learning rate {result['range_test']['chosen']:g}, found by the range test"))
    lines += [Text.assemble(("note: ", "yellow"), one) for one in result.get("notes") or []]
    return [*lines, Text("")]


def scores(result: dict[str, Any]) -> RenderableType:
    """The metric of the network and of the baselines on each part, and the network's losses."""
    parts = [part for part in facts.PARTS if result.get(part) or part != "test"]
    made = table(result["metric"] if result["metric"] != "loss" else "", *parts)
    for place, (name, values) in enumerate(facts.score_rows(result)):
        shown = [figure(v) for part, v in zip(facts.PARTS, values, strict=True) if part in parts]
        made.add_row(name, *shown, style="bold" if place == 0 else "")
    if result["metric"] != "loss":
        made.add_row("loss", *[figure(facts.score(result, part, "loss")) for part in parts], style="dim")
    return made


def costs(result: dict[str, Any]) -> list[str]:
    return [
        f"{seconds(result['seconds'])} in all, {seconds(result['compile_seconds'])} of it compiling; "
        f"{result['steps']:,} updates, {result['examples_per_second']:,.0f} examples/s",
        f"{result['parameters']:,} parameters, {in_words(result['peak_memory_bytes'])} of memory at most",
    ]


def evaluation(result: dict[str, Any]) -> RenderableType:
    """What `pellucid evaluate` found."""
    of = result["file"] or f"the run's own {result['part']} part"
    made = table("", "")
    for name in dict.fromkeys((result["metric"], "loss")):
        made.add_row(name, figure(result[name]))
    for name, value in result["details"].items():
        if isinstance(value, float) and name != result["metric"]:
            made.add_row(name.replace("_", " "), figure(value))
    lines: list[RenderableType] = [Text(f"{result['rows']:,} rows of {of}"), made]
    if "confusion" in result["details"]:
        lines += [Text(""), confusion(result["details"]["confusion"], result["details"]["classes"])]
    lines += [Text.assemble(("note: ", "yellow"), one) for one in result["notes"]]
    return Group(*lines)


def confusion(counts: list[list[float]], classes: list[str], most: int = 12, width: int = 80) -> RenderableType:
    """The confusion matrix, or the pairs most often confused where it is too wide."""
    names = max(16, *(len(c) for c in classes)) + 2
    if len(classes) <= most and names + sum(max(min(len(c), 6), 3) + 2 for c in classes) <= width:
        made = table("true \\ predicted", *[c[:6] for c in classes])
        for name, row in zip(classes, counts, strict=True):
            made.add_row(name, *[f"{v:,.0f}" if v else "." for v in row])
        return made
    pairs = [(v, classes[a], classes[b]) for a, row in enumerate(counts) for b, v in enumerate(row) if a != b and v]
    made = table("true", "taken for", "times", left=2)
    for value, a, b in sorted(pairs, reverse=True)[:10]:
        made.add_row(a, b, f"{value:,.0f}")
    return made if pairs else Text("nothing was confused")
