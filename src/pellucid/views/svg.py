"""Small charts as SVG text: line charts with axes, and heat maps, in the colours `--c1` ... `--c8` of the page's CSS.

Every chart is a `<figure>`: caption, drawing with a spoken label, legend. Hovering shows the values, without scripts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34
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
class Scale:
    """From values to pixels along one axis."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._of(self.low), self._of(self.high)
        return self.start + (self._of(value) - low) / (high - low or 1.0) * (self.stop - self.start)

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def shows(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self, wanted: int = 5) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, wanted)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that divide a range.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, at most six; 1, 2 and 5 times them where the range is short.

    >>> log_ticks(0.002, 30.0), log_ticks(0.3, 4.0)
    ([0.01, 0.1, 1.0, 10.0], [0.5, 1.0, 2.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**e for e in range(first, last + 1) if low * 0.999 <= 10.0**e <= high * 1.001]
    if len(decades) > 2:
        return decades[:: -(-len(decades) // 6)]
    fine = [float(f"{m}e{e}") for e in range(first, last + 1) for m in (1, 2, 5)]
    return [v for v in fine if low * 0.999 <= v <= high * 1.001] or [low, high]


def short(value: float) -> str:
    """A number on an axis.

    >>> [short(v) for v in (0.0, 0.25, 1e-5, 12000.0, 2.5e6)]
    ['0', '0.25', '1e-5', '12k', '2.5M']
    """
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    for limit, letter in ((1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e6 if letter == 'M' else 1e3):.3g}{letter}"
    return f"{value:.4g}"


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    mark: tuple[float, str] | None = None,
    unit: Callable[[float], str] = lambda v: f"{v:.4g}",
) -> str:
    """Curves over one pair of axes. `mark`: a place on the x axis, and what is said of it."""
    lines = [_thinned(line) for line in lines]
    xs = [v for line in lines for v in line.x if math.isfinite(v) and (v > 0 or not log_x)]
    ys = [v for line in lines for v in line.y if math.isfinite(v) and (v > 0 or not log_y)]
    if not xs or not ys:
        return _figure(title, title, [f'<text x="{LEFT}" y="20">nothing to draw</text>'], "", 40)
    x = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, log_x)
    y = Scale(*_padded(min(ys), max(ys), log_y), HEIGHT - BOTTOM, TOP, log_y)
    spoken = f"{title}: {', '.join(line.name for line in lines)} over {x_label}"
    parts = _axes(x, y, x_label, y_label)
    parts += [_path(line, place, x, y) for place, line in enumerate(lines)]
    parts += [*_mark(mark, x), *_hovers(lines, x, x_label, unit)]
    alone = len(lines) == 1 and lines[0].name.lower() == title.lower()
    return _figure(title, spoken, parts, "" if alone else _legend(lines))


def _figure(title: str, spoken: str, parts: Sequence[str], legend: str, height: int = HEIGHT) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(spoken)}">'
        f"<title>{escape(spoken)}</title>{''.join(parts)}</svg>{legend}</figure>"
    )


def _thinned(line: Line) -> Line:
    n = len(line.x)
    if n <= MOST_POINTS:
        return line
    keep = sorted({round(i * (n - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)})
    return Line(line.name, [line.x[i] for i in keep], [line.y[i] for i in keep], line.colour, line.dashed)


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        return (low / 2, high * 2) if high / low < 4 else (low / 1.2, high * 1.2)
    if low >= 0 and low < 0.4 * high:  # a range that nearly reaches zero is shown from zero
        low = 0.0
    room = (high - low or abs(high) or 1.0) * 0.04
    return (low - room if low != 0 else 0.0), high + room


def _axes(x: Scale, y: Scale, x_label: str, y_label: str) -> list[str]:
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


def _mark(mark: tuple[float, str] | None, x: Scale) -> list[str]:
    if mark is None or not x.shows(mark[0]):
        return []
    at = x(mark[0])
    right = at > (LEFT + WIDTH) / 2
    place = f'x="{at + (-6 if right else 6):.1f}" text-anchor="{"end" if right else "start"}"'
    return [
        f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="mark" {place} y="{TOP + 10}">{escape(mark[1])}</text>',
    ]


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


def _hovers(lines: Sequence[Line], x: Scale, x_label: str, unit: Callable[[float], str]) -> list[str]:
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
            f'<rect class="hover" x="{x(value) - width / 2:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(x_label)} {value:g}\n{escape(said)}</title></rect>'
        )
    return parts


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><i style="border-top:3px {"dashed" if line.dashed else "solid"} var(--c{_colour(line, place)})"></i>'
        f"{escape(line.name)}</li>"
        for place, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}</ul>'


# Crameri's "batlow" in nine steps: even in brightness, and readable with every kind of colour vision
RAMP = ("#011959", "#103f60", "#1c5a62", "#3c6d56", "#687b3e", "#9d892b", "#d29343", "#f8a17b", "#fbd0e0")


def heat_map(
    names: Sequence[str], x: Sequence[float], values: Sequence[Sequence[float]], *, title: str, x_label: str
) -> str:
    """One row a name, colour by the logarithm of the value. values: [len(x)][len(names)]."""
    columns = sorted({round(i * (len(x) - 1) / 59) for i in range(60)}) if len(x) > 60 else range(len(x))
    known = [v for i in columns for v in values[i] if math.isfinite(v) and v > 0]
    if not known:
        return line_chart([], title=title, x_label=x_label, y_label="")
    low, high = math.log10(min(known)), math.log10(max(known))
    margin, row = 130, max(12, min(20, 400 // len(names)))
    width, height = (WIDTH - margin - RIGHT) / len(columns), len(names) * row + 60
    parts = []
    for j, name in enumerate(names):
        shown = name if len(name) <= 20 else "…" + name[-19:]
        parts.append(f'<text x="{margin - 6}" y="{j * row + row - 3}" text-anchor="end">{escape(shown)}</text>')
        for place, i in enumerate(columns):
            fill = _ramp(values[i][j], low, high)
            place_x = f'x="{margin + place * width:.1f}" y="{j * row}"'
            parts.append(f'<rect {place_x} width="{width + 0.3:.1f}" height="{row - 1}" fill="{fill}"/>')
    floor = len(names) * row
    for place in (0, len(columns) // 2, len(columns) - 1):
        at = margin + (place + 0.5) * width
        parts.append(f'<text x="{at:.1f}" y="{floor + 14}" text-anchor="middle">{short(x[columns[place]])}</text>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{floor + 30}" text-anchor="end">{escape(x_label)}</text>')
    for place, colour in enumerate(RAMP):
        parts.append(f'<rect x="{margin + 50 + place * 16}" y="{floor + 38}" width="16" height="10" fill="{colour}"/>')
    parts.append(f'<text x="{margin + 44}" y="{floor + 47}" text-anchor="end">{short(10**low)}</text>')
    parts.append(f'<text x="{margin + 56 + len(RAMP) * 16}" y="{floor + 47}">{short(10**high)}</text>')
    return _figure(title, f"{title}: one row a layer over {x_label}", parts, "", height)


def _ramp(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "var(--c2)"
    if value <= 0:
        return "none"
    place = (math.log10(value) - low) / (high - low or 1.0)
    return RAMP[min(max(round(place * (len(RAMP) - 1)), 0), len(RAMP) - 1)]
