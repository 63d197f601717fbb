"""Exercises in the terminal: the list, a faulty run with a hint, and what an answer was worth."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from pellucid.doctor.finding import Remedy
from pellucid.views.console import figure, out, sparkline, table, unicode_fits
from pellucid.views.findings import findings


def stars(count: int) -> str:
    return ("★" if unicode_fits(out()) else "*") * count


def listed(exercises: Sequence[Any]) -> RenderableType:
    made = table("exercise", "", "story", left=3)
    for e in exercises:
        made.add_row(e.name, stars(e.stars), e.story)
    return Group(made, Text("\npellucid exercise NAME trains one, and shows what the doctor sees", style="dim"))


def presented(exercise: Any, begun: Any, causes: Sequence[str], place: str | None) -> RenderableType:
    """The story, the curves, the scores, and the doctor's hints; and how to answer."""
    lines: list[RenderableType] = [
        Text.assemble((exercise.name, "bold"), " ", stars(exercise.stars), f"  {exercise.story}"), Text(),
        curves(begun.history),
    ]  # fmt: skip
    if begun.run is not None:
        lines.append(scores(begun.run.result))
    hints = [f.to_json() for f in begun.findings if f.alarm]
    lines += [Text(), findings(hints, "hint") if hints else Text("doctor: nothing is unusual", style="green"), Text()]
    if place is not None:
        lines.append(Text(f"run      {place}"))
    lines += [
        Text(f"answer   pellucid exercise {exercise.name} --cause PROBLEM [--fix KEY=VALUE ...]"),
        Text(f"give up  pellucid exercise {exercise.name} --reveal"),
        Padding(Text("PROBLEM is one of " + ", ".join(causes), style="dim"), (0, 0, 0, 9)),
    ]
    return Group(*lines)


def curves(history: Sequence[dict[str, Any]]) -> RenderableType:
    """A line for each loss: from, the curve, to."""
    if not history:
        return Text("it ended before its first epoch did", style="dim")
    made = table("loss", "from", "", "to")
    for label, part in (("training", "sample"), ("validation", "validation")):
        values = [float(e[part]["loss"]) for e in history if e.get(part)]
        if values:
            made.add_row(label, figure(values[0]), sparkline(values, 32, unicode_fits(out())), figure(values[-1]))
    return made


def scores(result: dict[str, Any]) -> Text:
    metric = result["metric"]
    parts = [f"{p} {figure(result[p][metric])}" for p in ("train", "validation") if result.get(p)]
    simple = [f"{b['name']} {figure(b['validation'])}" for b in result["baselines"] if b.get("validation") is not None]
    beside = f"; beside it on validation: {', '.join(simple)}" if simple else ""
    return Text(f"{metric}: {', '.join(parts) or 'none, it diverged'} after {result['steps']:,} updates{beside}")


def answered(exercise: Any, problem: Any, cause: str | None, judged: Any, reveal: bool) -> RenderableType:
    right = cause in exercise.right
    lines: list[RenderableType] = []
    if cause is not None and right:
        more = f": {exercise.accepted[cause]}" if cause in exercise.accepted else ""
        lines.append(Text(f"right    {cause.replace('_', ' ')}{more}", style="green"))
    elif cause is not None:
        lines.append(Text(f"no       {cause.replace('_', ' ')} is not what was planted", style="yellow"))
    if judged is not None:
        lines.append(verdict(judged))
    if not (right or reveal):
        lines.append(Text(f"ask      {problem.question}"))
        lines.append(Text(f"give up  pellucid exercise {exercise.name} --reveal", style="dim"))
        return Group(*lines)
    lines += [
        Text(f"cause    {problem.title} ({exercise.problem})"),
        Text(f"planted  {exercise.planted}"),
        Text(f"why      {problem.why}"),
        Text(f"lesson   {exercise.lesson}"),
        Text(f"mend it  {mended(exercise.fix)}"),
        Text(f"read     {problem.source}", style="dim"),
    ]
    return Group(*lines)


def verdict(judged: Any) -> Text:
    """One sentence on a repair: the scores without and with it, and the known one's."""

    def shown(values: Sequence[float]) -> str:
        mean = sum(values) / len(values)
        return "diverged" if not math.isfinite(mean) else figure(-mean if judged.measure == "loss" else mean)

    name = "loss" if judged.measure == "loss" else "score"
    if not judged.helps:
        said = "no gain beyond the noise"
    elif judged.reaches:
        said = "it helps, and reaches the known repair"
    else:
        said = f"it helps; the known repair reaches {shown(judged.reference)}"
    text = (
        f"repair   validation {name} {shown(judged.changed)}, {shown(judged.faulty)} without it "
        f"({len(judged.changed)} seeds): {said}"
    )
    return Text(text, style="green" if judged.helps else "yellow")


def mended(fix: dict[str, Any]) -> str:
    """The known repair as options of `--fix`; in words where it is a network written by hand."""
    network = fix.get("network")
    if isinstance(network, dict) and network["type"] == "sequential":
        return "the same network, without what was planted"
    tables = {k: v for k, v in fix.items() if isinstance(v, dict) and "type" not in v}
    said = [f"'{key}={{" + ", ".join(f"{k} = {v:g}" for k, v in table.items()) + "}'" for key, table in tables.items()]
    rest = Remedy({k: v for k, v in fix.items() if k not in tables}).line().replace("--set ", "--fix ")
    return " ".join([*([rest] if rest else []), *(f"--fix {text}" for text in said)])
