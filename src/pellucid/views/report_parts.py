"""The sections of report.html, each from the run's facts to HTML; "" where there is nothing to show.

Whatever comes from data or a user (names, labels, notes, paths) goes through `escape`.
"""

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.signals.record import Record
from pellucid.views import facts
from pellucid.views.console import figure, seconds, size
from pellucid.views.svg import COLOURS, Line, heat_map, line_chart

if TYPE_CHECKING:
    from pellucid.views.report import Pages

SILENT = ("flatten", "dropout", "identity", "input")  # layers that pass on what they got
MOST_CLASSES = 20


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], own: bool = False, text: Sequence[int] = (0,)
) -> str:
    """A table; `own`: the first row is the network's own. `text`: columns that hold words."""

    def cell(tag: str, place: int, value: Any) -> str:
        return f"<{tag}{' class=text' if place in text and place else ''}>{escape(str(value))}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", i, name) for i, name in enumerate(head)) + "</tr>"]
    for number, row in enumerate(rows):
        mark = " class=own" if own and number == 0 else ""
        lines.append(f"<tr{mark}>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def head(pages: "Pages") -> str:
    result, recipe = pages.result, pages.recipe
    said = f"{recipe.get('data', {}).get('source') or 'data from Python'} · {network_words(recipe)}"
    parts = [f"<h1>{escape(pages.name)}</h1>", f'<p class="quiet">{escape(said)}</p>']
    if result is None:
        last = pages.record.epochs[-1]["epoch"] if pages.record.epochs else 0
        parts.append(f'<p class="warn">The run is not finished: {last} epochs so far.</p>')
        return "\n".join(parts)
    if result.get("stopped") == "diverged":
        parts.append('<p class="warn">Training diverged: the loss was no longer finite.</p>')
    part = facts.shown_part(result)
    cards = []
    if part is not None:
        cards.append((figure(facts.score(result, part)), f"{part} {result['metric']}"))
    cards += [
        (f"{result['best_epoch']} of {result['epochs']}", "best epoch"),
        (seconds(result["seconds"]), "training time"),
        (f"{result['parameters']:,}", "parameters"),
    ]
    parts.append('<div class="cards">')
    parts += [f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in cards]
    parts.append("</div>")
    said = facts.epochs_said(result, recipe.get("train", {}).get("keep", "best"))
    parts.append(f"<p>{escape(said[0].upper() + said[1:])}.</p>")
    return "\n".join(parts)


def network_words(recipe: dict[str, Any]) -> str:
    from pellucid.views.names import named

    network, train = recipe.get("network", {}), recipe.get("train", {})
    words = [named(network.get("spec"), "network"), named(train.get("optimizer"), ""), named(train.get("loss"), "")]
    return " · ".join(word for word in words if word)


def scores(pages: "Pages") -> str:
    """The metric beside the baselines; further metrics of the part that counts; a word where a simple model wins."""
    result = pages.result
    if result is None:
        return ""
    losses = ["loss", *[figure(facts.score(result, part, "loss")) for part in facts.PARTS]]
    rows = [] if result["metric"] == "loss" else [[n, *map(figure, values)] for n, values in facts.score_rows(result)]
    tables = html_table([result["metric"] if rows else "", *facts.PARTS], [*rows, losses], own=True)
    details = result.get("details") or {}
    more = [
        (name.replace("_", " "), figure(v))
        for name, v in details.items()
        if isinstance(v, float | int) and name != result["metric"]
    ]
    if more:
        tables += html_table([f"on the {details.get('part', 'test')} part", ""], more)
    html = f'<div class="beside">{tables}</div>'
    if (beaten := facts.beaten_by(result)) is not None:
        html += f'<p class="warn">{escape(beaten[0].upper() + beaten[1:])}.</p>'
    return html


def findings(pages: "Pages") -> str:
    """Alarms in full, notes as a list, and what was tried to repair the run."""
    alarms = [f for f in pages.findings if f.get("severity") != "note"]
    notes = [f for f in pages.findings if f.get("severity") == "note"]
    parts = [_finding(f) for f in alarms]
    if notes:
        lines = [f"{f.get('title', f.get('problem'))}: {f.get('summary', '')}" for f in notes]
        parts.append('<ul class="notes">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")
    return "\n".join([*parts, _tried(pages)])


def _finding(finding: dict[str, Any]) -> str:
    place = f", {finding['layer']}" if finding.get("layer") else ""
    since = f", since step {finding['step']:,}" if finding.get("step") is not None else ""
    lines = [f"<b>{escape(str(finding.get('title', finding.get('problem')))) + escape(place + since)}</b>"]
    lines += [f"<p>{escape(str(finding.get('summary', '')))}</p>"]
    lines += [f'<p class="quiet">{escape(str(finding.get("why", "")))}</p>']
    remedies = finding.get("remedies") or []
    shown = [escape(r["text"]) + (f": <code>{escape(r['line'])}</code>" if r.get("line") else "") for r in remedies]
    lines += ["<p>What to try: " + "; ".join(shown) + ".</p>"] if shown else []
    lines += [f'<p class="quiet">{escape(str(finding.get("source", "")))}</p>']
    return f'<div class="warn">{"".join(lines)}</div>'


def _tried(pages: "Pages") -> str:
    """What --repair tried: the loss after so many updates with each change and without, one number a seed."""
    rows = [
        [
            t["remedy"]["text"],
            f"{t['steps']:,}",
            _losses(t["without"]),
            _losses(t["treated"]),
            "yes" if t["helps"] else "no",
        ]
        for line in ((pages.result or {}).get("repair") or {}).get("rounds", [])
        for t in line.get("trials", [])
    ]
    head = ["tried", "updates", "validation loss without", "with it", "helps"]
    return html_table(head, rows, text=(0,)) if rows else ""


def _losses(values: Sequence[Any]) -> str:
    return ", ".join(figure(float(v)) for v in values)


def curves(pages: "Pages") -> str:
    epochs = pages.record.epochs
    if not epochs:
        return ""
    at = [float(e["epoch"]) for e in epochs]
    lines = [Line("training, while learning", at, [float(e["train"]["loss"]) for e in epochs], 6, dashed=True)]
    lines += _parts(epochs, at, "loss")
    best = (pages.result or {}).get("best_epoch")
    mark = (float(best), f"best epoch {best}") if best else None
    charts = [line_chart(lines, title="Loss", x_label="epoch", y_label="", mark=mark)]
    if pages.metric != "loss":
        title = pages.metric.replace("_", " ").capitalize()
        charts.append(line_chart(_parts(epochs, at, pages.metric), title=title, x_label="epoch", y_label="", mark=mark))
    rates = [float(e["learning_rate"]) for e in epochs]
    if len({f"{rate:.3g}" for rate in rates}) > 1:
        charts.append(
            line_chart([Line("learning rate", at, rates)], title="Learning rate", x_label="epoch", y_label="")
        )
    charts += _range_test((pages.result or {}).get("range_test"))
    return f'<div class="charts">{"".join(charts)}</div>'


def _parts(epochs: list[dict[str, Any]], at: list[float], name: str) -> list[Line]:
    lines = [Line("training", at, [float(e["sample"].get(name, "nan")) for e in epochs], 1)]
    if any(e.get("validation") for e in epochs):
        values = [float((e.get("validation") or {}).get(name, "nan")) for e in epochs]
        lines.append(Line("validation", at, values, 2))
    return lines


def _range_test(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    lines = [
        Line("loss", found["rates"], [float(v) for v in found["losses"]], 6, dashed=True),
        Line("smoothed", found["rates"], [float(v) for v in found["smoothed"]], 1),
    ]
    mark = (found["chosen"], f"chosen: {found['chosen']:g}")
    return [line_chart(lines, title="Range test", x_label="learning rate", y_label="loss", log_x=True, mark=mark)]


def signals(pages: "Pages") -> str:
    record = pages.record
    if len(record.steps) < 2 or not record.layers:
        return ""
    silent = {row["path"] for row in pages.layers if row["layer"] in SILENT}
    layers = [i for i, name in enumerate(record.layers) if name not in silent] or list(range(len(record.layers)))
    names = [record.layers[i] for i in layers]
    charts = []
    for group, title in (("activation", "Activations, root mean square"), ("gradient", "Gradients, root mean square")):
        steps, values = record.series(group, "rms")
        charts.append(_by_name(names, steps, values[:, layers], title))
    steps, zeros = record.series("activation", "zero")
    if (zeros[:, layers] > 0.01).any():
        some = [i for i in layers if (zeros[:, i] > 0.01).any()]
        charts.append(
            _by_name([record.layers[i] for i in some], steps, zeros[:, some], "Outputs that are zero, share", False)
        )
    charts.append(_update_ratio(record))
    said = "Measured on a sample of each layer's numbers; the gradients are of the loss by the layer's output."
    return f'<p class="quiet">{said}</p><div class="charts">{"".join(charts)}</div>'


def _by_name(names: list[str], steps: np.ndarray, values: np.ndarray, title: str, log: bool = True) -> str:
    if len(names) > COLOURS:
        return heat_map(names, steps.tolist(), values.tolist(), title=title, x_label="update")
    lines = [Line(name, steps.tolist(), values[:, i].tolist()) for i, name in enumerate(names)]
    return line_chart(lines, title=title, x_label="update", y_label="", log_y=log)


def _update_ratio(record: Record) -> str:
    """How far one update moves each weight matrix, as a share of its size. About 1e-3 is usual."""
    steps, updates = record.series("weight", "update")
    _, sizes = record.series("weight", "rms")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(sizes > 0, updates / sizes, np.nan)
    some = [i for i, name in enumerate(record.weights) if not name.endswith("/b") and np.isfinite(ratio[:, i]).any()]
    if not some:
        return ""
    return _by_name([record.weights[i] for i in some], steps, ratio[:, some], "Size of an update beside its weights")


def layers(pages: "Pages") -> str:
    if not pages.layers:
        return ""
    rows = [
        [r["path"], r["layer"], " × ".join(str(n) for n in r["output"]) or "1", f"{r['parameters']:,}", r["initial"]]
        for r in pages.layers
    ]
    rows.append(["", "", "", f"{sum(r['parameters'] for r in pages.layers):,}", ""])
    return html_table(["layer", "kind", "output", "parameters", "initial weights"], rows, text=(0, 1, 4))


def confusion(pages: "Pages") -> str:
    details = (pages.result or {}).get("details") or {}
    counts, classes = details.get("confusion"), details.get("classes")
    if not counts or not classes:
        return ""
    said = (
        f'<p class="quiet">The {escape(details["part"])} part; rows are the true class, columns what was predicted.</p>'
    )
    if len(classes) > MOST_CLASSES:
        return said + _most_confused(counts, classes)
    lines = ["<tr><th></th>" + "".join(f"<th>{escape(c)}</th>" for c in classes) + "</tr>"]
    for i, row in enumerate(counts):
        total = sum(row) or 1.0
        cells = "".join(
            f'<td class="{"hit" if i == j else "miss"}" style="--v:{value / total:.3f}">{shown_count(value)}</td>'
            for j, value in enumerate(row)
        )
        lines.append(f"<tr><th>{escape(classes[i])}</th>{cells}</tr>")
    return said + f'<div class="wide"><table class="confusion">{"".join(lines)}</table></div>'


def shown_count(value: float) -> str:
    return f"{value:,.0f}" if value else ""


def _most_confused(counts: list[list[float]], classes: list[str]) -> str:
    pairs = [(v, a, b) for a, row in enumerate(counts) for b, v in enumerate(row) if a != b and v]
    rows = [[classes[a], classes[b], f"{v:,.0f}"] for v, a, b in sorted(pairs, reverse=True)[:25]]
    return html_table(["true", "taken for", "times"], rows, text=(0, 1)) if rows else "<p>Nothing was confused.</p>"


def notes(pages: "Pages") -> str:
    said = (pages.result or {}).get("notes") or []
    said = [*said, *[f"{b['name']}: {b['note']}" for b in (pages.result or {}).get("baselines") or [] if b.get("note")]]
    return f'<ul class="notes">{"".join(f"<li>{escape(one)}</li>" for one in said)}</ul>' if said else ""


def costs(pages: "Pages") -> str:
    result = pages.result
    if result is None:
        return ""
    rows = [
        ("time in all", seconds(result["seconds"])),
        ("of it compiling", seconds(result["compile_seconds"])),
        ("updates", f"{result['steps']:,}"),
        ("examples a second", f"{result['examples_per_second']:,.0f}"),
        ("memory at most", size(result["peak_memory_bytes"])),
        ("rows", ", ".join(f"{n:,} {part}" for part, n in (result.get("rows") or {}).items())),
    ]
    return html_table(["", ""], rows)


def again(pages: "Pages") -> str:
    recipe = shlex.quote(str(pages.place.recipe))
    parts = []
    if pages.recipe.get("reproducible", True):
        parts.append(f"<p><code>pellucid train {escape(recipe)}</code></p>")
        parts.append(f"<p><code>pellucid verify {escape(shlex.quote(str(pages.place.path)))}</code> proves it.</p>")
    else:
        parts.append('<p class="warn">The recipe alone does not give this run again: Python objects went into it.</p>')
    parts.append(f"<details><summary>recipe.toml</summary><pre>{escape(pages.recipe_text)}</pre></details>")
    return "\n".join(parts)
