"""Examples on the page: a card a picture, a line a text, a row a table's row; the mistakes; and which classes are hard.

Whatever comes from data goes through `escape`; pictures are data URLs that Pellucid made itself.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from pellucid.views.svg_more import sparkline


def mistakes(found: dict[str, Any]) -> str:
    """The surest mistakes and the classes confused most often, or the largest errors of a regression."""
    if "largest" in found:
        said = f"The rows of the {found['part']} part whose {found['column']} it misses by most."
        return f'<p class="quiet">{escape(said)}</p>{examples(found["largest"])}'
    rows, wrong = found["rows"], found["wrong"]
    said = (
        f"Of {rows:,} examples of the {found['part']} part {wrong:,} are taken for another class ({wrong / rows:.1%})."
    )
    if not wrong:
        return f"<p>{escape(said)}</p>"
    parts = [f"<p>{escape(said)}</p>", "<h3>Surest mistakes</h3>"]
    parts.append('<p class="quiet">Where it is sure and wrong: unusual examples, and labels that may be wrong.</p>')
    parts.append(examples(found["confident"]))
    confused = [pair for pair in found["confused"] if pair["examples"]]
    if confused:
        parts.append("<h3>Confused most often</h3>")
    for pair in confused:
        times = f"{pair['times']:,} time{'s' if pair['times'] != 1 else ''}"
        parts.append(f"<p>{escape(pair['true'])} taken for {escape(pair['predicted'])}, {times}</p>")
        parts.append(examples(pair["examples"]))
    return "\n".join(parts)


def examples(found: Sequence[dict[str, Any]]) -> str:
    """Examples of one kind, with what is true and what was said."""
    if not found:
        return ""
    kind = found[0]["kind"]
    if kind == "row":
        return _rows(found)
    if kind == "text":
        lines = "".join(f"<li>{_verdict(one)}<q>{escape(one['text'])}</q></li>" for one in found)
        return f'<ul class="texts">{lines}</ul>'
    return f'<div class="shots">{"".join(_shot(one) for one in found)}</div>'


def _shot(one: dict[str, Any]) -> str:
    spoken = f"row {one['row']}, {one['true']}, taken for {one['predicted']}"
    shown = picture(one["picture"], spoken) if one["kind"] == "image" else sparkline(one["series"], spoken)
    return f"<figure>{shown}<figcaption>{_verdict(one)}</figcaption></figure>"


def _verdict(one: dict[str, Any]) -> str:
    """ "8 → 1, 97 %": what is true, what was said, how sure."""
    sure = f" <small>{percent(one['probability'])}</small>" if "probability" in one else ""
    return f"<b>{escape(str(one['true']))}</b> → <b>{escape(str(one['predicted']))}</b>{sure} "


def _rows(found: Sequence[dict[str, Any]]) -> str:
    names = [name for name, _ in found[0]["columns"]]
    more = found[0].get("more", 0)
    sure = any("probability" in one for one in found)
    head = ["row", "true", "predicted", *(["sure"] if sure else []), *names, *([f"{more} more"] if more else [])]
    lines = ["<tr>" + "".join(f"<th>{escape(str(name))}</th>" for name in head) + "</tr>"]
    for one in found:
        cells = [f"{one['row'] + 1:,}", number(one["true"]), number(one["predicted"])]
        cells += [percent(one["probability"])] if sure else []
        cells += [value for _, value in one["columns"]] + (["…"] if more else [])
        lines.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def percent(value: Any) -> str:
    """>>> percent(0.987), percent(0.99999), percent("nan")
    ('99 %', '> 99.9 %', 'nan')
    """
    if not isinstance(value, float | int):
        return str(value)
    if value > 0.999:
        return "> 99.9 %"
    return f"{value * 100:.1f} %" if value >= 0.99 else f"{value * 100:.0f} %"


def picture(address: str, spoken: str, kind: str = "") -> str:
    """An image that lies in the page itself; anything else is not shown."""
    if not address.startswith("data:image/"):
        return ""
    mark = f' class="{kind}"' if kind else ""
    return f'<img{mark} src="{escape(address)}" alt="{escape(spoken)}">'


def classes(found: dict[str, Any]) -> str:
    """Precision, recall, F1 and support of each class."""
    said = (
        "Precision: of what was taken for the class, how much was of it. Recall: of what is of the class, how much was "
    )
    said += "found. F1: the harmonic mean of both."
    lines = ["<tr><th>class</th><th>precision</th><th>recall</th><th>F1</th><th>examples</th><th>predicted</th></tr>"]
    for one in found["classes"]:
        scores = "".join(_score(one[name]) for name in ("precision", "recall", "f1"))
        counts = f"<td>{one['support']:,}</td><td>{one['predicted']:,}</td>"
        lines.append(f"<tr><td>{escape(one['class'])}</td>{scores}{counts}</tr>")
    more = f"<p>{found['more']:,} more classes are not shown.</p>" if found.get("more") else ""
    body = f'<div class="wide"><table class="scores">{"".join(lines)}</table></div>{more}'
    if len(found["classes"]) > 25:
        body = f"<details><summary>{len(found['classes']):,} classes</summary>{body}</details>"
    return f'<p class="quiet">{said}</p>{body}'


def _score(value: float | None) -> str:
    if value is None:
        return "<td>–</td>"
    return f'<td class="level" style="--v:{value:.3f}">{value:.3f}</td>'
