"""Heat maps as SVG text: one row a layer, one column a stretch of time, colours with a fixed meaning.

The scales are even in brightness and read with every kind of colour vision. Of many samples a column keeps the most
unusual, so that a spike of one update stays visible; neighbours of one colour are drawn as one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from pellucid.views.svg import RIGHT, WIDTH, figure, short

# black over red to pale yellow: nothing is dark, too much is fire (as in web/static/heat.js)
FIRE = ("#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#fcffa4")
# Crameri's "batlow" in nine steps
BATLOW = ("#011959", "#103f60", "#1c5a62", "#3c6d56", "#687b3e", "#9d892b", "#d29343", "#f8a17b", "#fbd0e0")
BROKEN = "#00c8e0"  # of values that are no finite numbers: far from every colour of both scales
LEVELS = 33  # colours of a scale
MOST_COLUMNS, MOST_CELLS = 60, 2_400
MARGIN = 132


@dataclass(frozen=True)
class Colours:
    """What a colour says: `low` is the first colour, `high` the last, whatever the values are. words: what is said
    below the first, the middle and the last."""

    low: float
    high: float
    words: tuple[str, str, str]
    log: bool = True
    stops: tuple[str, ...] = FIRE

    def place(self, values: np.ndarray) -> np.ndarray:
        """From 0 (low or less) to 1 (high or more); NaN where a value is not finite."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.log10(values) if self.log else np.asarray(values, np.float64)
            found = np.clip((at - low) / (high - low), 0, 1)
        return np.where(np.isfinite(values), np.where(np.isnan(found), 0.0, found), np.nan)

    def colour(self, level: int) -> str:
        """One of `LEVELS` colours, between the stops; level -1: not a finite number."""
        if level < 0:
            return BROKEN
        at = level / (LEVELS - 1) * (len(self.stops) - 1)
        k = min(int(at), len(self.stops) - 2)
        pair = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in self.stops[k : k + 2]]
        return "#" + "".join(f"{round(a + (b - a) * (at - k)):02x}" for a, b in zip(*pair, strict=True))

    def ticks(self) -> list[float]:
        if not self.log:
            return [self.low, (self.low + self.high) / 2, self.high]
        low, high = math.log10(self.low), math.log10(self.high)
        return [10 ** (low + (high - low) * i / 4) for i in range(5)]


def heat_map(
    names: Sequence[str], x: Sequence[float], values: np.ndarray, *, title: str, x_label: str, colours: Colours,
    scale: float = 1.0, said: str = "",
) -> str:  # fmt: skip
    """values: [len(x), len(names)]. The colour is that of value / scale; what hovering tells is the value itself.
    said: what the picture shows, for who hears it."""
    values = np.asarray(values, np.float64).reshape(len(x), len(names))
    if not len(x) or not names:
        return figure(title, title, ['<text x="12" y="20">nothing to draw</text>'], "", 40)
    row = max(9, min(20, 420 // len(names)))
    stretches = _stretches(len(x), max(12, min(MOST_COLUMNS, MOST_CELLS // len(names))))
    width = (WIDTH - MARGIN - RIGHT) / len(stretches)
    places = colours.place(values / scale)
    parts = [f'<rect class="ground" x="{MARGIN}" y="0" width="{WIDTH - MARGIN - RIGHT}" height="{len(names) * row}"/>']
    for j, name in enumerate(names):
        shown = name if len(name) <= 20 else "…" + name[-19:]
        size = "" if row >= 13 else f' style="font-size:{row - 1}px"'
        parts.append(f'<text x="{MARGIN - 6}" y="{j * row + row * 0.78:.0f}" text-anchor="end"{size}>{escape(shown)}')
        parts.append(f"<title>{escape(name)}</title></text>")
        cells = _row(name, x, values[:, j], places[:, j], stretches, colours, (j * row, row, width))
        parts.append(f'<g class="cells">{"".join(cells)}</g>')
    parts += _axis(x, x_label, stretches, width, len(names) * row)
    parts += _legend(colours, len(names) * row + 44, not np.isfinite(values).all())
    spoken = f"{title}: {len(names)} layers from the input down, over {x_label}. {said}"
    return figure(title, spoken.strip(), parts, "", len(names) * row + 90)


def _stretches(n: int, most: int) -> list[tuple[int, int]]:
    """n samples in at most so many stretches, each (first, one past the last)."""
    count = min(n, most)
    return [(i * n // count, (i + 1) * n // count) for i in range(count)]


def _row(
    name: str, x: Sequence[float], values: np.ndarray, places: np.ndarray, stretches: list[tuple[int, int]],
    colours: Colours, box: tuple[float, float, float],
) -> list[str]:  # fmt: skip
    """The cells of one layer; box: (top, height, width of a column)."""
    top, height, width = box
    levels = [_level(places[a:b]) for a, b in stretches]
    parts, start = [], 0
    for end in range(1, len(levels) + 1):
        if end < len(levels) and levels[end] == levels[start]:
            continue
        first, last = stretches[start][0], stretches[end - 1][1]
        tip = f"{name}\nupdate {_range(x[first], x[last - 1])}: {_spread(values[first:last])}"
        parts.append(
            f'<rect x="{MARGIN + start * width:.1f}" y="{top}" width="{(end - start) * width:.1f}" '
            f'height="{height - 1}" fill="{colours.colour(levels[start])}"><title>{escape(tip)}</title></rect>'
        )
        start = end
    return parts


def _level(places: np.ndarray) -> int:
    """The most unusual of a stretch: what is not finite before what is farthest from the middle."""
    if not np.isfinite(places).all():
        return -1
    return round(float(places[np.argmax(np.abs(places - 0.5))]) * (LEVELS - 1))


def _range(a: float, b: float) -> str:
    return f"{a:,.0f}" if a == b else f"{a:,.0f} to {b:,.0f}"


def _spread(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "not a finite number"
    low, high = f"{known.min():.3g}", f"{known.max():.3g}"
    return (low if low == high else f"{low} to {high}") + ("" if len(known) == len(values) else ", and not finite")


def _axis(x: Sequence[float], x_label: str, stretches: list[tuple[int, int]], width: float, floor: float) -> list[str]:
    """Samples stand evenly, so the numbers below do not: they are taken closer at the start."""
    parts = []
    count = len(stretches)
    for place in sorted({round(i * (count - 1) / 5) for i in range(6)}):
        at = MARGIN + (place + 0.5) * width
        step = x[stretches[place][0] if place < count - 1 else stretches[place][1] - 1]
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{short(float(step))}</text>')
    parts.append(f'<text class="label" x="{MARGIN - 6}" y="{floor + 16}" text-anchor="end">{escape(x_label)}</text>')
    return parts


def _legend(colours: Colours, top: float, broken: bool) -> list[str]:
    width = (WIDTH - MARGIN - RIGHT - 20) / LEVELS
    left = MARGIN + 10
    parts = [
        f'<rect x="{left + i * width:.1f}" y="{top - 12}" width="{width + 0.3:.1f}" height="10" '
        f'fill="{colours.colour(i)}"/>'
        for i in range(LEVELS)
    ]
    ticks = colours.ticks()
    for i, value in enumerate(ticks):
        at = left + LEVELS * width * i / (len(ticks) - 1)
        parts.append(f'<text x="{at:.1f}" y="{top + 11}" text-anchor="middle">{short(value)}</text>')
    for word, share, anchor in zip(colours.words, (0, 0.5, 1), ("start", "middle", "end"), strict=True):
        at = left + LEVELS * width * share + (-10, 0, 10)[round(share * 2)]
        parts.append(f'<text x="{at:.1f}" y="{top + 27}" text-anchor="{anchor}">{escape(word)}</text>')
    if broken:
        parts.append(f'<rect x="8" y="{top - 12}" width="14" height="10" fill="{BROKEN}"/>')
        parts.append(f'<text x="28" y="{top - 3}">not finite</text>')
    return parts
