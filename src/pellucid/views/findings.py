"""What the doctor found, for the terminal: a calm line where all is well, else each finding with what to do."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from pellucid.doctor.problems import PROBLEMS

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def findings(found: list[dict[str, Any]], how: str = "full", notes: bool = False) -> RenderableType:
    """found: as in findings.json. how: "full"; or "hint", for a class: the evidence and a question, the cause unnamed.
    notes: those too that are no alarms. Print it with `crop=False`, lest a remedy's line be cut off."""
    shown = [f for f in found if notes or f["severity"] != "note"]
    if not shown:
        quiet = sum(f["severity"] == "note" for f in found)
        more = f" ({quiet} note{'s' if quiet > 1 else ''} in findings.json)" if quiet and how == "full" else ""
        return Text(f"doctor: nothing is wrong{more}", style="green")
    return Group(*[part for place, f in enumerate(shown) for part in (_hint if how == "hint" else _full)(f, place)])


def repaired(result: dict[str, Any]) -> RenderableType | None:
    """What `--repair` came to, a line for each round; None where there was nothing to treat."""
    told = result.get("repair")
    if not told or not told["rounds"]:
        return None
    return Group(*[Text.assemble(("repair: ", "cyan"), _round(line)) for line in told["rounds"]])


def _round(line: dict[str, Any]) -> str:
    if "remedy" not in line:
        n = len(line["trials"])
        return f"{n} remedies tried, none helps beyond the noise" if n else "no remedy could be tried"
    title = PROBLEMS[line["problem"]].title
    if line.get("after") is None:
        return f"{title}: {line['text']} was tried and rolled back, for it diverged"
    scores = [(line["by"], line["before"], line["after"])]
    if line["metric"] != line["by"]:
        scores.append((line["metric"], line["metric_before"], line["metric_after"]))
    shown = ", ".join(f"{name} {_figure(a)} to {_figure(b)}" for name, a, b in scores)
    verdict = "kept" if line["kept"] else "rolled back"
    return f"{title}: {line['text']} ({line['remedy']}) is {verdict}: validation {shown}"


def _figure(value: Any) -> str:
    return "none" if value is None else f"{float(value):.4g}"


def headline(finding: dict[str, Any]) -> Text:
    """The title, and where."""
    place = f", {finding['layer']}" if finding["layer"] else ""
    return Text.assemble(("doctor: ", COLOURS[finding["severity"]]), (finding["title"] + place, "bold"))


@dataclass(frozen=True)
class _Remedy:
    """What to try, and the words of the command line for it: in one piece, however narrow the terminal is, so that they
    can be copied."""

    text: str
    line: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.line or len(self.text) + len(self.line) + 5 <= options.max_width:
            yield _indented(self.text + (f":  {self.line}" if self.line else ""))
        else:
            yield _indented(f"{self.text}:")
            yield Text(f"       {self.line}", no_wrap=True, overflow="ignore")


def _full(finding: dict[str, Any], place: int) -> list[RenderableType]:
    lines: list[RenderableType] = [headline(finding), _indented(finding["summary"])]
    lines.append(_indented(finding["why"], "dim"))
    for trial in finding["tried"]:
        lines.append(_indented(tried(trial), "cyan"))
    for one, remedy in enumerate(finding["remedies"]):
        lines.append(_Remedy(("try  " if one == 0 else "or   ") + remedy["text"], remedy["line"]))
    unsure = "" if finding["confidence"] >= 0.6 else "not certain; "
    lines.append(_indented(f"{unsure}read {finding['source']}", "dim"))
    return lines


def _hint(finding: dict[str, Any], place: int) -> list[RenderableType]:
    where = f" in {finding['layer']}" if finding["layer"] else ""
    since = f" since step {finding['step']:,}" if finding["step"] is not None else ""
    seen = numbers(finding["evidence"])
    return [
        Text.assemble(("doctor: ", "yellow"), f"something is unusual{where}{since}"),
        *([_indented(seen)] if seen else []),
        _indented(finding["question"]),
    ]


def numbers(evidence: dict[str, Any]) -> str:
    """The evidence as plain `name number` pairs, without the names of causes."""
    flat: list[str] = []
    for key, value in evidence.items():
        if key == "explains":
            continue
        for name, one in value.items() if isinstance(value, dict) else [(key, value)]:
            if isinstance(one, int | float) and not isinstance(one, bool):
                flat.append(f"{name.replace('_', ' ')} {one:.4g}")
    return ", ".join(flat[:8])


def tried(trial: dict[str, Any]) -> str:
    """One sentence on a short training with a change beside one without."""

    def mean(values: Any) -> float:
        return sum(map(float, values)) / max(len(values), 1)

    start = f" from update {trial['start']:,} on" if trial.get("start") else ""
    verdict = "it helps" if trial["helps"] else "no gain beyond the noise"
    return (
        f"tried {trial['remedy']['text'] or 'it'}: after {trial['steps']:,} updates{start} the loss is "
        f"{mean(trial['treated']):.4g}, and {mean(trial['without']):.4g} without ({len(trial['treated'])} "
        f"seed{'s' if len(trial['treated']) != 1 else ''}): {verdict}"
    )


def _indented(text: str, style: str = "") -> RenderableType:
    return Padding(Text(text, style=style), (0, 0, 0, 2))
