"""Line charts as SVG text, in the colours `--c1` ... `--c8` of the page's CSS.

Every chart is a `<figure>`: caption, drawing with a spoken label, legend. Hovering shows the values, without scripts.
Long curves are thinned out so that every spike stays: of each stretch its least and its largest value.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from pellucid.views import svg_flags
from pellucid.views.svg_flags import FLAG, Flag, flag_places
from pellucid.views.svg_scale import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, short

MOST_POINTS = 300
MOST_HOVERS = 100
COLOURS = 8


@dataclass(frozen=True)
class Line:
    """One curve. `colour` 1 to 8, by default its place; values that are not finite leave a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A value to compare with: a thin line across the chart, drawn where it lies in range."""

    y: float
    name: str


@dataclass(frozen=True)
class Band:
    """The range from low to high at each x, shaded in a line's colour."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: int = 1


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    mark: tuple[float, str] | None = None,
    flags: Sequence[Flag] = (),
    levels: Sequence[Level] = (),
    band: Band | None = None,
    unit: Callable[[float], str] = lambda v: f"{v:.4g}",
) -> str:
    """Curves over one pair of axes. `mark`: a place on the x axis, and what is said of it; `flags` stand on the last
    curve, numbered, side by side where they would overlap."""
    xs = [v for line in lines for v in line.x if math.isfinite(v) and (v > 0 or not log_x)]
    ranges = [line.y for line in lines] + ([band.low, band.high] if band else [])
    ys = [v for one in ranges for v in one if math.isfinite(v) and (v > 0 or not log_y)]
    if not xs or not ys:
        return figure(title, title, [f'<text x="{LEFT}" y="20">nothing to draw</text>'], "", 40)
    x = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    places = flag_places([x(min(max(flag.x, x.low), x.high)) for flag in flags])
    rows = max((row for _, row in places), default=-1) + 1
    y = Scale(*_padded(min(ys), max(ys), log_y), HEIGHT - BOTTOM, TOP + rows * FLAG, log_y)
    spoken = f"{title}: {', '.join(line.name for line in lines)} over {x_label}"
    spoken += "".join(f"; {flag.name}: {flag.said}" for flag in flags)
    parts = axes(x, y, x_label, y_label) + [_level(level, y) for level in levels if y.low <= level.y <= y.high]
    parts += [_band(band, x, y)] if band else []
    parts += [_path(_thinned(line), place, x, y) for place, line in enumerate(lines)]
    parts += [*_mark(mark, x, y), *_hovers(lines, x, y, x_label, unit)]
    curve = list(zip(lines[-1].x, lines[-1].y, strict=True))
    parts += [svg_flags.draw(flag, place, curve, x, y) for flag, place in zip(flags, places, strict=True)]
    alone = len(lines) == 1 and lines[0].name.lower() == title.lower()
    return figure(title, spoken, parts, "" if alone else _legend(lines))


def figure(title: str, spoken: str, parts: Sequence[str], legend: str, height: int = HEIGHT) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(spoken)}">'
        f"<title>{escape(spoken)}</title>{''.join(parts)}</svg>{legend}</figure>"
    )


def kept(values: Sequence[float], most: int = MOST_POINTS) -> list[int]:
    """Which of many values to draw: the first, the last, and of each stretch the least, the largest and one that is
    not finite.

    >>> values = [0.0] * 5000 + [9.0] + [0.0] * 4999
    >>> places = kept(values)
    >>> len(places) <= 300, 5000 in places, places[0], places[-1]
    (True, True, 0, 9999)
    """
    n = len(values)
    if n <= most:
        return list(range(n))
    found, stretches = {0, n - 1}, (most - 2) // 3
    for i in range(stretches):
        part = range(1 + i * (n - 2) // stretches, 1 + (i + 1) * (n - 2) // stretches)
        known = [k for k in part if math.isfinite(values[k])]
        if known:
            found |= {min(known, key=values.__getitem__), max(known, key=values.__getitem__)}
        if len(known) < len(part):
            found.add(next(k for k in part if not math.isfinite(values[k])))
    return sorted(found)


def _thinned(line: Line) -> Line:
    places = kept(line.y)
    return Line(line.name, [line.x[i] for i in places], [line.y[i] for i in places], line.colour, line.dashed)


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        return (low / 2, high * 2) if high / low < 4 else (low / 1.2, high * 1.2)
    if low >= 0 and low < 0.4 * high:  # a range that nearly reaches zero is shown from zero
        low = 0.0
    room = (high - low or abs(high) or 1.0) * 0.04
    return (low - room if low != 0 else 0.0), high + room


def axes(x: Scale, y: Scale, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in y.ticks():
        at = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{short(value)}</text>')
    floor = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    for value in x.ticks(6):
        at = x(value)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{short(value)}</text>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text class="label" x="{LEFT}" y="{HEIGHT - 3}">{escape(y_label)}</text>')
    return parts


def _mark(mark: tuple[float, str] | None, x: Scale, y: Scale) -> list[str]:
    if mark is None or not x.shows(mark[0]):
        return []
    at = x(mark[0])
    right = at > (LEFT + WIDTH) / 2
    place = f'x="{at + (-6 if right else 6):.1f}" text-anchor="{"end" if right else "start"}"'
    return [
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{y.stop}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="mark" {place} y="{y.stop + 10}">{escape(mark[1])}</text>',
    ]


def _level(level: Level, y: Scale) -> str:
    """Named above its line, or below it where there is no room."""
    at = y(level.y)
    text = at - 4 if at > y.stop + 14 else at + 13
    return (
        f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="mark level" x="{LEFT + 4}" y="{text:.1f}">{escape(level.name)}</text>'
    )


def _band(band: Band, x: Scale, y: Scale) -> str:
    low, high = kept(band.low), kept(band.high)
    edge = [(band.x[i], band.high[i]) for i in high] + [(band.x[i], band.low[i]) for i in reversed(low)]
    points = [f"{x(a):.1f} {y(b):.1f}" for a, b in edge if x.shows(a) and y.shows(b)]
    return f'<path style="fill:var(--c{band.colour});fill-opacity:.2" d="M{" L".join(points)}Z"/>' if points else ""


def _colour(line: Line, place: int) -> int:
    return line.colour or place % COLOURS + 1


def _path(line: Line, place: int, x: Scale, y: Scale) -> str:
    style = f"stroke:var(--c{_colour(line, place)})" + (";stroke-dasharray:5 4" if line.dashed else "")
    pieces: list[list[str]] = [[]]
    for a, b in zip(line.x, line.y, strict=True):
        if x.shows(a) and y.shows(b):
            pieces[-1].append(f"{x(a):.1f} {y(b):.1f}")
        elif pieces[-1]:
            pieces.append([])
    d = "".join(f"M{' L'.join(piece if len(piece) > 1 else piece * 2)}" for piece in pieces if piece)
    return f'<path class="line" style="{style}" d="{d}"/>' if d else ""


def _hovers(lines: Sequence[Line], x: Scale, y: Scale, x_label: str, unit: Callable[[float], str]) -> list[str]:
    """Invisible columns whose tooltip tells the values there."""
    base = max(lines, key=lambda line: len(line.x))
    places = [v for v in base.x if x.shows(v)]
    places = places[:: max(1, -(-len(places) // MOST_HOVERS))]
    found = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    width = (WIDTH - LEFT - RIGHT) / max(len(places), 1)
    parts = []
    for value in places:
        said = "\n".join(f"{one.name}: {unit(at[value])}" for one, at in zip(lines, found, strict=True) if value in at)
        parts.append(
            f'<rect class="hover" x="{x(value) - width / 2:.1f}" y="{y.stop}" width="{width:.1f}" '
            f'height="{y.start - y.stop}"><title>{escape(x_label)} {value:g}\n{escape(said)}</title></rect>'
        )
    return parts


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><i style="border-top:3px {"dashed" if line.dashed else "solid"} var(--c{_colour(line, place)})"></i>'
        f"{escape(line.name)}</li>"
        for place, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}</ul>'
