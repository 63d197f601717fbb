"""The report's scores, what they mean, and what was taken for what."""

from html import escape
from typing import TYPE_CHECKING

from pellucid.views import facts
from pellucid.views.console import figure
from pellucid.views.meaning import meanings
from pellucid.views.report_parts import html_table

if TYPE_CHECKING:
    from pellucid.views.report import Pages

MOST_CLASSES = 20


def scores(pages: "Pages") -> str:
    """The metric beside the baselines, what each score means, and a word where a simple model wins."""
    result = pages.result
    if result is None:
        return ""
    losses = ["loss", *[figure(facts.score(result, part, "loss")) for part in facts.PARTS]]
    rows = [] if result["metric"] == "loss" else [[n, *map(figure, values)] for n, values in facts.score_rows(result)]
    html = html_table([result["metric"] if rows else "", *facts.PARTS], [*rows, losses], own=True)
    if (beaten := facts.beaten_by(result)) is not None:
        html += f'<p class="warn">{escape(beaten[0].upper() + beaten[1:])}.</p>'
    said = meanings(result, pages.record.setup)
    items = "".join(f"<li><b>{escape(score)}</b>: {escape(meaning)}.</li>" for score, meaning in said)
    part = facts.shown_part(result)
    if items:
        html += f'<p class="quiet">What they say, on the {part} part:</p><ul class="meaning">{items}</ul>'
    return html


def confusion(pages: "Pages") -> str:
    """True classes by predicted ones; the pairs most often confused where there are many."""
    details = (pages.result or {}).get("details") or {}
    counts, classes = details.get("confusion"), details.get("classes")
    if not counts or not classes:
        return ""
    said = (
        f'<p class="quiet">The {escape(details["part"])} part; rows are the true class, columns what was predicted.</p>'
    )
    if len(classes) > MOST_CLASSES:
        return said + _most_confused(counts, classes)
    lines = ["<tr><td></td>" + "".join(f"<th>{escape(c)}</th>" for c in classes) + "</tr>"]
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
