"""A network as a picture: its layers from top to bottom, drawn after what leaves them, blocks framed, repeats folded.

An image is a stack of sheets, as large and as many as its places and channels tell; numbers are a row of circles; a
sequence is a grid of steps. Hovering tells each layer in full.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from pellucid.network.summary import short
from pellucid.views.network_tree import Fold, Group, Leaf, Node, tree

WIDTH, ROW, HEAD, GAP = 640, 46, 20, 8
MIDDLE, TEXT, INDENT = 118, 206, 10
COLOURS = {
    "conv": 1, "conv_transpose": 1, "upsample": 1, "dense": 3, "output": 3, "lstm": 4, "gru": 4, "rnn": 4,
    "attention": 2, "bahdanau_decoder": 4, "luong_attention": 2, "embed": 5, "positions": 5, "max_pool": 6,
    "avg_pool": 6, "global_pool": 6,
}  # fmt: skip
RECURRENT = ("lstm", "gru", "rnn", "bahdanau_decoder")


def network_picture(rows: Sequence[dict[str, Any]], kinds: dict[str, str]) -> str:
    """A picture of the layer table `rows`; kinds: of the composites, by path ("" for the whole)."""
    parts: list[str] = []
    nodes = tree(rows, kinds)
    bottom = _column(nodes, 6.0, 0, parts)
    count = f"{len(rows)} layer" + ("" if len(rows) == 1 else "s")
    spoken = f"The network, from input to output: {count}, {sum(row['parameters'] for row in rows):,} parameters"
    return (
        f'<div class="wide"><svg class="network" viewBox="0 0 {WIDTH} {bottom + 4:.0f}" role="img" '
        f'aria-label="{escape(spoken)}">'
        f"<title>{escape(spoken)}</title>{''.join(parts)}</svg></div>"
    )


def _column(nodes: Sequence[Node], top: float, depth: int, parts: list[str], ends: list[float] | None = None) -> float:
    """Draw nodes one below the other; gives where they end. ends: takes where each of them ends."""
    for place, node in enumerate(nodes):
        if place and getattr(node, "name", "") != "shortcut":
            parts.append(f'<path class="way" d="M{MIDDLE} {top - GAP + 1:.0f}v{GAP - 3}m-3 -4l3 4l3 -4"/>')
        if isinstance(node, Leaf):
            parts.append(_leaf(node, top, depth))
            top += ROW + GAP
        else:
            top = _framed(node, top, depth, parts)
        if ends is not None:
            ends.append(top - GAP)
    return top


def _words(node: Group | Fold) -> tuple[str, str]:
    """What stands left and right in the head of a frame."""
    if isinstance(node, Fold):
        kind, after = _kind(node.parts[0]) if len(node.parts) == 1 else ("", "")
        name = f"{getattr(node.parts[0], 'name', '')} to {node.last}"
        return f"{name} {kind}".strip() + after, f"{node.parameters:,} parameters in all"
    kind, after = _kind(node)
    return f"{node.name} {kind}".strip() + after, f"{node.parameters:,} parameters"


def _kind(node: Node) -> tuple[str, str]:
    """(a block's kind, the small layers that follow it) in words."""
    if not isinstance(node, Group):
        return "", ""
    after = ", ".join(row["layer"].replace("_", " ") for row in node.rows)
    kind = "" if node.kind in ("", "sequential") else node.kind.replace("_", " ")
    return kind, f", then {after}" if after else ""


def _framed(node: Group | Fold, top: float, depth: int, parts: list[str]) -> float:
    """Nodes in a frame with a head line; gives where the next one begins."""
    left, right = 2 + depth * INDENT, WIDTH - 2 - depth * INDENT
    place, ends, times = len(parts), [], node.times if isinstance(node, Fold) else 0
    first = top + HEAD + GAP
    # a block that repeats needs no frame around its frame
    inner = node.parts[0] if isinstance(node, Fold) and len(node.parts) == 1 else node
    inner = inner if isinstance(inner, Group | Fold) else node
    bottom = _column(inner.parts, first, depth + 1, parts, ends)
    size = f'x="{left}" y="{top:.0f}" width="{right - left}" height="{bottom - top - 2:.0f}" rx="8"'
    name, said = _words(node)
    more = f'<tspan class="times" dx="8">× {times}</tspan>' if times else ""
    head = [
        f'<rect class="{"frame fold" if times else "frame"}" {size}/>',
        f'<text class="group" x="{left + 10}" y="{top + 16:.0f}">{escape(_cut(name, 52))}{more}</text>',
        f'<text x="{right - 10}" y="{top + 16:.0f}" text-anchor="end">{escape(said)}</text>',
    ]
    if isinstance(inner, Group):
        starts = [first, *[end + GAP for end in ends]]
        head += [_arc(left + 5, starts[a] - GAP / 2, ends[b]) for a, b in _sums(inner)]
    parts[place:place] = head
    return bottom + GAP


def _sums(group: Group) -> list[tuple[int, int]]:
    """Which parts have a way around them, whose end is added: (first, last) of each."""
    names, last = [getattr(part, "name", "") for part in group.parts], len(group.parts) - 1
    if group.kind == "residual" and last >= 0 and "shortcut" not in names:
        return [(0, last)]
    if group.kind == "transformer_block" and "attention" in names:
        half = names.index("attention")
        return [(0, half), (half + 1, last)] if half < last else [(0, half)]
    return []


def _arc(x: float, start: float, end: float) -> str:
    way = f"M{MIDDLE} {start:.0f}H{x + 5}q-5 0 -5 5V{end - 5:.0f}q0 5 5 5H{MIDDLE - 6}"
    plus = f"M{MIDDLE - 4} {end:.0f}h8M{MIDDLE} {end - 4:.0f}v8"
    circle = f'<circle class="plus" cx="{MIDDLE}" cy="{end:.0f}" r="6"/>'
    return f'<path class="arc" d="{way}"/>{circle}<path class="arc" d="{plus}"/>'


def _leaf(leaf: Leaf, top: float, depth: int) -> str:
    middle = top + ROW / 2
    right = WIDTH - 14 - depth * INDENT
    colour = COLOURS.get(leaf.kind, 8)
    tip = "\n".join(
        f"{row['path']}: {row['layer']}, output {_shape(row['output'])}, {row['parameters']:,} parameters"
        for row in leaf.rows
    )
    kind = leaf.kind.replace("_", " ")
    name = _cut(leaf.name, 22)
    told = "" if leaf.name.rstrip("0123456789") == leaf.kind else f'<tspan class="kind" dx="8">{escape(kind)}</tspan>'
    small = ", ".join(row["layer"].replace("_", " ") for row in leaf.rows[1:])
    lines = [f'<text class="name" x="{TEXT}" y="{middle - (3 if small else -4):.0f}">{escape(name)}{told}</text>']
    if small:
        lines.append(f'<text class="small" x="{TEXT}" y="{middle + 14:.0f}">then {escape(_cut(small, 44))}</text>')
    counted = f"{short(leaf.parameters)} parameters" if leaf.parameters else "no parameters"
    lines.append(f'<text class="shape" x="{right}" y="{middle - 3:.0f}" text-anchor="end">{_shapes(leaf)}</text>')
    lines.append(f'<text class="small" x="{right}" y="{middle + 14:.0f}" text-anchor="end">{counted}</text>')
    glyph = _glyph(leaf, middle)
    return f'<g class="layer" style="--c:var(--c{colour})"><title>{escape(tip)}</title>{glyph}{"".join(lines)}</g>'


def _shapes(leaf: Leaf) -> str:
    """What leaves the layer; and what it is made into (flattened) where that differs."""
    first, last = _shape(leaf.rows[0]["output"]), _shape(leaf.output)
    return first if first == last else f"{first} → {last}"


def _shape(output: Sequence[int]) -> str:
    return " × ".join(f"{n:,}" for n in output) or "1"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# -- glyphs ---------------------------------------------------------------------------------------------------------


def _glyph(leaf: Leaf, middle: float) -> str:
    output = list(leaf.rows[0]["output"])
    if len(output) == 3 or (len(output) == 2 and leaf.kind in ("input", "grey") and min(output) > 4):
        drawn = _sheets(output, middle)
    elif len(output) == 2:
        drawn = _grid(output, middle)
    else:
        drawn = _circles(output[0] if output else 1, middle)
    if leaf.kind in RECURRENT:
        drawn += f'<path class="loop" d="M{MIDDLE + 46} {middle + 9:.0f}q14 0 14 -9t-14 -9m5 -3l-5 3l4 5"/>'
    if leaf.kind == "attention":
        drawn += "".join(
            f'<path class="loop" d="M{MIDDLE - 36} {middle - 10:.0f}q{reach / 2} -14 {reach} 0"/>'
            for reach in (24, 48, 72)
        )
    return drawn


def _sheets(output: Sequence[int], middle: float) -> str:
    """As large as the image's places, as many as its channels, both on a logarithmic scale."""
    side = min(9 + 4.2 * math.log2(max(max(output[:2]), 1)), 36)
    count = 1 + round(math.log2(output[2])) if len(output) == 3 and output[2] > 0 else 1
    count, step = min(count, 9), 5
    left, top = MIDDLE - (side + (count - 1) * step) / 2, middle - side / 2
    return "".join(
        f'<rect class="sheet" x="{left + i * step:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}" rx="2"/>'
        for i in reversed(range(count))
    )


def _circles(count: int, middle: float) -> str:
    """Each number a circle up to nine of them; of more the first and the last four, the more the smaller."""
    shown, radius = min(count, 9), 5.0 if count <= 64 else 4.0
    step = 2 * radius + 2
    parts = []
    for i in range(shown):
        x = MIDDLE + (i - (shown - 1) / 2) * step
        gap = count > 9 and i == 4
        dots = "".join(f'<circle class="dot" cx="{x + d:.1f}" cy="{middle}" r="1"/>' for d in (-3.5, 0, 3.5))
        parts.append(dots if gap else f'<circle class="unit" cx="{x:.1f}" cy="{middle}" r="{radius}"/>')
    return "".join(parts)


def _grid(output: Sequence[int], middle: float) -> str:
    """Steps from left to right, numbers of a step from top to bottom."""
    steps, deep = min(output[0], 9), min(1 + round(math.log2(max(output[1], 1)) / 2), 5)
    parts = []
    for i in range(steps):
        x = MIDDLE + (i - steps / 2) * 10
        for j in range(deep):
            y = middle + (j - deep / 2) * 7
            parts.append(f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="8.5" height="5.5" rx="1"/>')
    return "".join(parts)
