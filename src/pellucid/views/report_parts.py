"""The sections of report.html, each from the run's facts to HTML; "" where there is nothing to show.

Whatever comes from data or a user (names, labels, notes, paths) goes through `escape`.
"""

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pellucid.memory import in_words
from pellucid.views import facts
from pellucid.views.console import figure, seconds
from pellucid.views.names import recipe_words
from pellucid.views.network_picture import network_picture

if TYPE_CHECKING:
    from pellucid.views.report import Pages


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], own: bool = False, text: Sequence[int] = (0,)
) -> str:
    """A table; `own`: the first row is the network's own. `text`: columns that hold words."""

    def cell(tag: str, place: int, value: Any) -> str:
        return f"<{tag}{' class=text' if place in text and place else ''}>{escape(str(value))}</{tag}>"

    heads = "".join(cell("th" if name else "td", i, name) for i, name in enumerate(head))
    lines = [f"<tr>{heads}</tr>"] if any(head) else []
    for number, row in enumerate(rows):
        mark = " class=own" if own and number == 0 else ""
        lines.append(f"<tr{mark}>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def head(pages: "Pages") -> str:
    result, recipe = pages.result, pages.recipe
    said = f"{recipe.get('data', {}).get('source') or 'data from Python'} · {' · '.join(recipe_words(recipe))}"
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


def layers(pages: "Pages") -> str:
    """The network as a picture, and its table folded below."""
    if not pages.layers:
        return ""
    rows = [
        [r["path"], r["layer"], " × ".join(str(n) for n in r["output"]) or "1", f"{r['parameters']:,}", r["initial"]]
        for r in pages.layers
    ]
    rows.append(["", "", "", f"{sum(r['parameters'] for r in pages.layers):,}", ""])
    table = html_table(["layer", "kind", "output", "parameters", "initial weights"], rows, text=(0, 1, 4))
    if any(r["layer"] == "weight" for r in pages.layers):  # of layers that are not known, weights alone
        return table
    said = "Each layer drawn after what leaves it; hover for the whole."
    shared = (pages.result or {}).get("parameters", 0) - sum(r["parameters"] for r in pages.layers)
    if shared > 0:
        said += f" {shared:,} parameters more belong to several layers together."
    picture = network_picture(pages.layers, pages.composites)
    return f'<p class="quiet">{said}</p>{picture}<details><summary>The layers as a table</summary>{table}</details>'


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
        ("memory at most", in_words(result["peak_memory_bytes"])),
        ("rows", ", ".join(f"{n:,} {part}" for part, n in (result.get("rows") or {}).items())),
    ]
    return html_table(["", ""], rows).replace("<table>", "<table class=short>")


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
