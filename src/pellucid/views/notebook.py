"""How Pellucid's objects look in a notebook: small cards and tables, in the notebook's own colours, light or dark."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from pellucid.views import facts
from pellucid.views.console import figure, seconds
from pellucid.views.names import recipe_words
from pellucid.views.report_findings import KINDS, flags, kind_of, numbered, title_of
from pellucid.views.report_parts import html_table
from pellucid.views.svg import Line, line_chart

MOST_ROWS = 5  # of a dataset
MOST_COLUMNS = 10
MOST_LAYERS = 12  # shown at once; the others are folded
MOST_PICTURES = 10
MOST_CLASSES = 20
# the page's colours in the middle of their brightness, so that they stand out on white and on black
CSS = """
.pellucid{--c1:#2a8fd6;--c2:#d9630f;--c3:#0f9a74;--c4:#c05fa8;--c5:#a97a00;--c6:#4d93c9;--c7:#8a7d10;--c8:#7b8794;
--fg:currentColor;--quiet:currentColor;--bg:transparent;--line:rgba(128,128,128,.35);max-width:720px;line-height:1.45}
.pellucid p{margin:4px 0}.pellucid .quiet{opacity:.75}.pellucid .cards{display:flex;flex-wrap:wrap;gap:6px 28px;
margin:6px 0}.pellucid .card b{display:block;font-size:1.35em;line-height:1.2}.pellucid .card span{opacity:.75}
.pellucid .wide{overflow-x:auto}.pellucid table{border-collapse:collapse;margin:6px 0;background:none}
.pellucid th,.pellucid td{text-align:right;padding:2px 12px 2px 0;border:0;border-bottom:1px solid var(--line);
background:none;white-space:nowrap;color:inherit}.pellucid th{font-weight:500;opacity:.75}
.pellucid th:first-child,.pellucid td:first-child,.pellucid .text{text-align:left}.pellucid .own td{font-weight:600}
.pellucid figure{margin:6px 0;max-width:480px}.pellucid figcaption{opacity:.75}
.pellucid svg{width:100%;height:auto;display:block;overflow:visible}.pellucid svg text{fill:currentColor;font-size:12px}
.pellucid svg .grid,.pellucid svg .ground{stroke:var(--line);fill:none}.pellucid svg .axis{stroke:currentColor;
stroke-opacity:.5}.pellucid svg line.mark{stroke:currentColor;stroke-dasharray:2 3}.pellucid svg .line{fill:none;
stroke-width:2}.pellucid svg .hover{fill:transparent}.pellucid svg .flag{--f:var(--c2)}.pellucid svg .flag.note{
--f:var(--c8)}.pellucid svg .flag path{fill:none;stroke:var(--f)}.pellucid svg .flag circle{fill:var(--f)}
.pellucid svg .flag text{fill:#fff;font-size:11px}.pellucid .legend{list-style:none;display:flex;flex-wrap:wrap;
gap:0 14px;padding:0;margin:0}.pellucid .legend i{display:inline-block;width:16px;margin-right:5px;
vertical-align:middle}.pellucid .badge{display:inline-block;min-width:18px;border-radius:9px;background:var(--c2);
color:#fff;font:600 11px/18px system-ui,sans-serif;text-align:center}.pellucid .badge.note{background:var(--c8)}
.pellucid .bar{height:6px;border-radius:3px;background:var(--line);overflow:hidden;margin:6px 0}
.pellucid .bar i{display:block;height:100%;background:var(--c1)}
.pellucid ul.found{list-style:none;padding:0;margin:6px 0}
.pellucid .pictures{display:flex;flex-wrap:wrap;gap:6px}.pellucid .pictures figure{margin:0;max-width:none}
.pellucid .pictures img{width:56px;height:56px;object-fit:contain;image-rendering:pixelated;margin:0}
"""


def html(value: Any) -> str:
    """A Run, Network, Dataset or Findings as HTML."""
    draw = next(DRAWN[kind.__name__] for kind in type(value).__mro__ if kind.__name__ in DRAWN)
    return wrapped(draw(value))


def wrapped(inside: str) -> str:
    """With the style that it needs, which reaches nothing else in the notebook."""
    return f'<style>{CSS}</style><div class="pellucid">{inside}</div>'


def cards(pairs: Iterable[tuple[str, str]]) -> str:
    """(value, name) pairs side by side."""
    shown = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(name)}</span></div>' for v, name in pairs)
    return f'<div class="cards">{shown}</div>'


def curve(history: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]] = (), best: int | None = None) -> str:
    """The losses of these epochs, findings flagged."""
    if len(history) < 2:
        return ""
    at = [float(line["epoch"]) for line in history]
    lines = [Line("training", at, [float(line["sample"]["loss"]) for line in history], 1)]
    if any(line.get("validation") for line in history):
        scores = [(line.get("validation") or {}).get("loss", "nan") for line in history]
        lines.append(Line("validation", at, [float(v) for v in scores], 2))
    steps = [0.0, *[float(line["step"]) for line in history]]
    flagged = flags(found, lambda step: float(np.interp(step, steps, [0.0, *at])))
    mark = (float(best), f"best epoch {best}") if best else None
    return line_chart(lines, title="Loss", x_label="epoch", y_label="", mark=mark, flags=flagged)


def finding_list(found: Sequence[Any]) -> str:
    """Findings as a list: number, title, place, one sentence, and the first remedy."""
    plain = [f if isinstance(f, dict) else f.to_json() for f in found]
    if not plain:
        return "<p>The doctor found nothing that harms.</p>"
    items = []
    for number, one in numbered(plain):
        place = (f", {one['layer']}" if one.get("layer") else "") + (
            f", since step {one['step']:,}" if one.get("step") is not None else ""
        )
        remedies = one.get("remedies") or []
        cure = ""
        if remedies and kind_of(one) != "note":
            line = f" <code>{escape(remedies[0]['line'])}</code>" if remedies[0].get("line") else ""
            cure = f"<br>Try {escape(remedies[0]['text'])}:{line}" if line else f"<br>Try {escape(remedies[0]['text'])}"
        items.append(
            f'<li><i class="badge {kind_of(one)}">{number}</i> <b>{escape(title_of(one) + place)}</b>: '
            f"{escape(str(one.get('summary', '')))}{cure}</li>"
        )
    return f'<ul class="found">{"".join(items)}</ul>'


def _findings(found: Any) -> str:
    counts = Counter(kind_of(f if isinstance(f, dict) else f.to_json()) for f in found)
    words = [f"{counts[kind]} {kind}{'s' if counts[kind] > 1 else ''}" for kind in KINDS if counts[kind]]
    return (f'<p class="quiet">{", ".join(words)}</p>' if words else "") + finding_list(found)


def _run(run: Any) -> str:
    from pellucid import recipe as recipes

    result = run.result
    part = facts.shown_part(result)
    shown = [] if part is None else [(figure(facts.score(result, part)), f"{part} {result['metric']}")]
    shown += [(f"{result['best_epoch']} of {result['epochs']}", "best epoch"), (seconds(result["seconds"]), "time")]
    shown.append((f"{result['parameters']:,}", "parameters"))
    rows = [[name, *map(figure, values)] for name, values in facts.score_rows(result)]
    rows.append(["loss", *[figure(facts.score(result, one, "loss")) for one in facts.PARTS]])
    rows = rows[1:] if result["metric"] == "loss" and len(rows) == 2 else rows
    words = " · ".join(recipe_words(recipes.to_dict(run.recipe)))
    lines = [f"<b>{escape(run.recipe.name or 'run')}</b>", f'<p class="quiet">{escape(words)}</p>', cards(shown)]
    lines += [html_table([result["metric"], *facts.PARTS], rows, own=True)]
    if (beaten := facts.beaten_by(result)) is not None:
        lines.append(f"<p>{escape(beaten[0].upper() + beaten[1:])}.</p>")
    lines += [curve(run.history, run.findings, result["best_epoch"]), finding_list(run.findings)]
    where = (
        f"<code>{escape(str(run.path))}</code>; <code>run.report()</code> writes its page" if run.path else "in memory"
    )
    return "".join(lines) + f'<p class="quiet">{where}</p>'


def _network(network: Any) -> str:
    """The layer table; of a network that has not met data, its structure as text."""
    from pellucid.errors import PellucidError
    from pellucid.network.summary import rows

    try:
        found = rows(network, network.example())
    except PellucidError:
        return f"<b>Network</b>, which has not met data yet: <code>{escape(str(network.layer))}</code>"
    table = [
        [
            row["path"],
            row["layer"],
            " × ".join(map(str, row["output"])) or "1",
            f"{row['parameters']:,}",
            row["initial"],
        ]
        for row in found
    ]
    head = ["layer", "kind", "output", "parameters", "initial weights"]
    drawn = html_table(head, table[:MOST_LAYERS], text=(0, 1, 4))
    if len(table) > MOST_LAYERS:
        more = html_table(head, table[MOST_LAYERS:], text=(0, 1, 4))
        drawn += f"<details><summary>{len(table) - MOST_LAYERS} more layers</summary>{more}</details>"
    total = network.parameters or sum(row["parameters"] for row in found)
    ready = "" if network.params is not None else ", no weights yet"
    return f"<b>Network</b>: {len(found)} layers, {total:,} parameters{ready}{drawn}"


def _dataset(data: Any) -> str:
    """What it holds, how often each class comes, and its first examples."""
    from pellucid.data.dataset import is_table, is_texts

    lines = [f"<b>{escape(data.name)}</b> <span class=quiet>{escape(repr(data).partition(': ')[2][:-1])}</span>"]
    if data.task:
        lines.append(f'<p class="quiet">{escape(data.task)}</p>')
    lines.append(_classes(data))
    if is_texts(data.x):
        lines += [f"<p><code>{escape((text or '')[:160])}</code></p>" for text in data.x[:3].tolist()]
    elif is_table(data.x):
        lines.append(_rows(data.x.columns, data.x.head(MOST_ROWS).rows(), data))
    elif (pictures := _pictures(data)) is not None:
        lines.append(pictures)
    elif data.x.ndim == 2:
        names = data.feature_names or [f"x{i + 1}" for i in range(data.x.shape[1])]
        lines.append(_rows(names, data.x[:MOST_ROWS].tolist(), data))
    lines += [f'<p class="quiet">{escape(note)}</p>' for note in data.notes]
    return "".join(lines)


def _rows(names: Sequence[str], values: Sequence[Sequence[Any]], data: Any) -> str:
    """The first rows; the target stands last."""
    most = MOST_COLUMNS
    head = [*names[:most], *(["…"] if len(names) > most else [])]
    rows = [[*map(_cell, row[:most]), *(["…"] if len(names) > most else [])] for row in values]
    if isinstance(data.y, np.ndarray) and data.y.ndim == 1:
        head.append(", ".join(data.target) if data.target else "target")
        rows = [[*row, _label(data, y)] for row, y in zip(rows, data.y[: len(rows)].tolist(), strict=True)]
    return html_table(head, rows, text=())


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)[:40]


def _label(data: Any, y: Any) -> str:
    """A target as its class's name, where classes are numbered and named."""
    names = data.class_names
    known = names and isinstance(y, int) and not isinstance(y, bool) and 0 <= y < len(names)
    return str(names[y]) if known else _cell(y)


def _classes(data: Any) -> str:
    if not isinstance(data.y, np.ndarray) or data.y.ndim != 1 or data.task == "regression":
        return ""
    counts = Counter(_label(data, y) for y in data.y[:100_000].tolist())
    if not 1 < len(counts) <= MOST_CLASSES or (data.y.dtype.kind == "f" and data.task != "classification"):
        return ""
    pairs = ", ".join(f"{escape(name)} {count:,}" for name, count in sorted(counts.items()))
    return f'<p class="quiet">{len(counts)} classes: {pairs}</p>'


def _pictures(data: Any) -> str | None:
    from pellucid.inspection.picture import as_bytes, data_url, is_image

    x = data.x
    if not isinstance(x, np.ndarray) or x.ndim not in (3, 4) or not is_image(x.shape[1:]) or not len(x):
        return None
    if x.dtype != np.uint8 and x.ndim == 3:  # numbers of steps by features are no picture
        return None
    shown = []
    for place, one in enumerate(x[:MOST_PICTURES]):
        label = _label(data, data.y[place].item()) if isinstance(data.y, np.ndarray) and data.y.ndim == 1 else ""
        pixels = one if one.dtype == np.uint8 else as_bytes(one)
        said = f"example {place + 1}" + (f": {label}" if label else "")
        image = f'<img src="{data_url(pixels)}" alt="{escape(said)}">'
        shown.append(f"<figure>{image}<figcaption>{escape(label)}</figcaption></figure>")
    return f'<div class="pictures">{"".join(shown)}</div>'


DRAWN: dict[str, Callable[[Any], str]] = {
    "Run": _run, "Network": _network, "Dataset": _dataset, "Findings": _findings
}  # fmt: skip
