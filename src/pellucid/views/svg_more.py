"""Further charts as SVG text: bars with their spread, points, reliability diagrams, sparklines, maps of attention."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pellucid.views.svg import axes, figure
from pellucid.views.svg_scale import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, short, ticks

ROW = 19  # pixels of a bar's row
NAMES = 150  # pixels for the bars' names
MOST_LETTERS = 22


@dataclass(frozen=True)
class Bar:
    """One bar: a value, how far it spreads to both sides, and what else a pointer is told."""

    name: str
    value: float
    spread: float = 0.0
    said: str = ""


def bar_chart(bars: Sequence[Bar], *, title: str, x_label: str, mark: tuple[float, str] | None = None) -> str:
    """A row a bar, from 0; a line to both sides of its end is the spread. `mark`: a value with a line through all."""
    known = [b for b in bars if math.isfinite(b.value)]
    if not known:
        return ""
    ends = [v for b in known for v in (b.value - b.spread, b.value + b.spread)] + ([mark[0]] if mark else [])
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low or 1.0) * 0.04
    x = Scale(low - (room if low < 0 else 0), high + room, NAMES, WIDTH - 62)
    floor = len(known) * ROW + TOP
    parts = [_tick(x, value, floor) for value in ticks(x.low, x.high)]
    parts += [_bar(b, place, x) for place, b in enumerate(known)]
    parts.append(f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{floor}"/>')
    if mark is not None:
        at = f"{x(mark[0]):.1f}"
        parts.append(f'<line class="mark" x1="{at}" x2="{at}" y1="{TOP}" y2="{floor}"/>')
        parts.append(f'<text class="label" x="{NAMES}" y="{floor + 34}">┊ {escape(mark[1])}</text>')
    parts.append(f'<text class="label" x="{WIDTH - 62}" y="{floor + 34}" text-anchor="end">{escape(x_label)}</text>')
    spoken = f"{title}: " + ", ".join(f"{b.name} {b.value:.3g}" for b in known[:8])
    return figure(title, spoken, parts, "", floor + 38)


def _tick(x: Scale, value: float, floor: float) -> str:
    at = f"{x(value):.1f}"
    return (
        f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{floor}"/>'
        f'<text x="{at}" y="{floor + 16}" text-anchor="middle">{short(value)}</text>'
    )


def _bar(bar: Bar, place: int, x: Scale) -> str:
    top = TOP + place * ROW
    start, stop = sorted((x(0), x(bar.value)))
    middle = top + ROW / 2
    shown = bar.name if len(bar.name) <= MOST_LETTERS else "…" + bar.name[1 - MOST_LETTERS :]
    said = bar.said or f"{bar.name}: {bar.value:.4g}" + (f" ± {bar.spread:.2g}" if bar.spread else "")
    spread = ""
    if bar.spread:
        a, b = x(bar.value - bar.spread), x(bar.value + bar.spread)
        spread = f'<line class="spread" x1="{a:.1f}" x2="{b:.1f}" y1="{middle}" y2="{middle}"/>'
    at = max(stop, x(bar.value + bar.spread)) + 6
    return (
        f"<g><title>{escape(said)}</title>"
        f'<text x="{NAMES - 8}" y="{middle + 4}" text-anchor="end">{escape(shown)}</text>'
        f'<rect class="bar" x="{start:.1f}" y="{top + 3}" width="{max(stop - start, 0.5):.1f}" height="{ROW - 6}"/>'
        f'{spread}<text class="value" x="{at:.1f}" y="{middle + 4}">{bar.value:.3g}</text></g>'
    )


def scatter(
    x: Sequence[float], y: Sequence[float], *, title: str, x_label: str, y_label: str, line: str | None = None
) -> str:
    """Points. line "equal": y = x, "zero": y = 0, drawn through them."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return ""
    xs, ys = [a for a, _ in points], [b for _, b in points]
    if line == "equal":
        xs = ys = xs + ys
    ends = ys + ([0.0] if line == "zero" else [])
    across, up = Scale(*_roomy(xs), LEFT, WIDTH - RIGHT), Scale(*_roomy(ends), HEIGHT - BOTTOM, TOP)
    parts = axes(across, up, x_label, y_label)
    if line is not None:
        values = (across.low, across.high) if line == "equal" else (0.0, 0.0)
        parts.append(
            f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(values[0]):.1f}" y2="{up(values[1]):.1f}"/>'
        )
    parts.append('<g class="points">')
    parts += [f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>' for a, b in points]
    parts.append("</g>")
    return figure(title, f"{title}: {y_label} over {x_label}, {len(points)} points", parts, "")


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low or abs(high) or 1.0) * 0.05
    return low - room, high + room


def reliability(bins: Sequence[dict[str, Any]], *, title: str) -> str:
    """Accuracy over what the network said, a bar a bin, beside the line where both are alike, and the gap between."""
    x, y = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT), Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, "probability it gave", "share right")
    for one in bins:
        if not one["count"]:
            continue
        left, right = x(one["low"]) + 1, x(one["high"]) - 1
        place = f'x="{left:.1f}" width="{right - left:.1f}"'
        right_at, sure_at = y(one["accuracy"]), y(one["confidence"])
        floor, top = max(right_at, sure_at), min(right_at, sure_at)
        kind = "gap" if one["accuracy"] < one["confidence"] else "spare"
        said = f"said {one['confidence']:.1%}, right {one['accuracy']:.1%}, {one['count']:,} examples"
        parts.append(
            f"<g><title>{escape(said)}</title>"
            f'<rect class="bar" {place} y="{floor:.1f}" height="{y(0) - floor:.1f}"/>'
            f'<rect class="{kind}" {place} y="{top:.1f}" height="{floor - top:.1f}"/></g>'
        )
    parts.append(f'<line class="mark" x1="{x(0)}" x2="{x(1)}" y1="{y(0)}" y2="{y(1)}"/>')
    return figure(title, f"{title}: how often it was right over the probability it gave", parts, "")


def histogram(edges: Sequence[float], counts: Sequence[float], *, title: str, x_label: str, y_label: str = "") -> str:
    """Bars side by side between `edges`, one more than `counts`."""
    if not counts or not max(counts):
        return ""
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Scale(0.0, max(counts) * 1.04, HEIGHT - BOTTOM, TOP)
    parts = axes(x, y, x_label, y_label)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            left, width = x(low) + 0.5, max(x(high) - x(low) - 1, 0.5)
            parts.append(
                f'<rect class="bar" x="{left:.1f}" width="{width:.1f}" y="{y(count):.1f}" '
                f'height="{y(0) - y(count):.1f}"><title>{low:.3g} to {high:.3g}: {count:,}</title></rect>'
            )
    return figure(title, f"{title}: how often each value of {x_label} occurs", parts, "")


def sparkline(series: Sequence[Sequence[float]], spoken: str) -> str:
    """A few short curves in a small box, without axes, each on its own scale."""
    width, height = 120, 40
    paths = []
    for place, values in enumerate(series):
        known = [v for v in values if math.isfinite(v)]
        if len(known) < 2:
            continue
        x = Scale(0, len(values) - 1, 2, width - 2)
        y = Scale(min(known), max(known) if max(known) > min(known) else min(known) + 1, height - 3, 3)
        d = " L".join(f"{x(i):.1f} {y(v):.1f}" for i, v in enumerate(values) if math.isfinite(v))
        paths.append(f'<path class="line" style="stroke:var(--c{place + 1})" d="M{d}"/>')
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(spoken)}">'
        f"{''.join(paths)}</svg>"
    )


def attention_map(rows: Sequence[str], columns: Sequence[str], picture: str, *, title: str) -> str:
    """A picture of one place a pair of tokens, with the tokens beside it and above it."""
    cell = 12
    left = 10 + 7 * min(max(map(len, rows), default=1), 12)
    top = 10 + 7 * min(max(map(len, columns), default=1), 12)
    width, height = left + cell * len(columns) + 4, top + cell * len(rows) + 4
    turned = max(map(len, columns), default=1) > 1
    parts = []
    for i, name in enumerate(columns):
        at = left + cell * i + cell / 2
        turn = f' transform="rotate(-90 {at + 4:.0f} {top - 5})"' if turned else ""
        anchor = "start" if turned else "middle"
        parts.append(f'<text x="{at + (4 if turned else 0):.0f}" y="{top - 5}" text-anchor="{anchor}"{turn}>')
        parts.append(f"{escape(_cut(name))}</text>")
    for i, name in enumerate(rows):
        parts.append(f'<text x="{left - 5}" y="{top + cell * i + 10}" text-anchor="end">{escape(_cut(name))}</text>')
    parts.append(
        f'<image href="{escape(picture)}" x="{left}" y="{top}" width="{cell * len(columns)}" '
        f'height="{cell * len(rows)}" preserveAspectRatio="none"/>'
    )
    spoken = f"{title}: how much each of {len(rows)} tokens looks at each of {len(columns)}"
    return (
        f'<figure class="map"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{round(width * 1.4)}px" role="img" '
        f'aria-label="{escape(spoken)}"><title>{escape(spoken)}</title>{"".join(parts)}</svg></figure>'
    )


def _cut(name: str) -> str:
    return name if len(name) <= 12 else name[:11] + "…"
