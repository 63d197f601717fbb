"""Numbered flags on a curve: where something began. Side by side where they would overlap, with a stem to the place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pellucid.views.svg_scale import LEFT, RIGHT, TOP, WIDTH, Scale

FLAG = 20  # the place that a flag takes, in height and width


@dataclass(frozen=True)
class Flag:
    """Something that began at a place of the x axis: a short name that stands in the flag, and what is said of it.
    kind: "error", "warning" or "note"."""

    x: float
    name: str
    said: str
    kind: str = "note"


def flag_places(at: Sequence[float]) -> list[tuple[float, int]]:
    """Where flags stand that belong to these places: (x, row), no two nearer than one flag's width.

    >>> flag_places([100.0, 105.0, 300.0])
    [(92.5, 0), (112.5, 0), (300.0, 0)]
    """
    per_row = int((WIDTH - RIGHT - LEFT) // FLAG)
    order = sorted(range(len(at)), key=lambda i: at[i])
    found: list[tuple[float, int]] = [(0.0, 0)] * len(at)
    for row in range(0, len(order), per_row):
        some = order[row : row + per_row]
        groups: list[tuple[float, int]] = []  # (middle, how many) of flags that touch
        for i in some:
            groups.append((at[i], 1))
            while len(groups) > 1 and groups[-1][0] - groups[-2][0] < (groups[-1][1] + groups[-2][1]) * FLAG / 2:
                (a, n), (b, m) = groups[-2:]
                groups[-2:] = [((a * n + b * m) / (n + m), n + m)]
        spread = [middle + (k - (n - 1) / 2) * FLAG for middle, n in groups for k in range(n)]
        for i, x in zip(some, _inside(spread), strict=True):
            found[i] = (x, row // per_row)
    return found


def _inside(places: list[float]) -> list[float]:
    """The same, pushed in from the chart's edges."""
    low, high = LEFT + FLAG / 2, WIDTH - RIGHT - FLAG / 2
    for k, x in enumerate(places):
        places[k] = low = max(x, low)
        low += FLAG
    for k in reversed(range(len(places))):
        places[k] = high = min(places[k], high)
        high -= FLAG
    return places


def draw(flag: Flag, place: tuple[float, int], curve: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """A number in a circle above the chart, a stem down to the curve, and a dot on it."""
    at, (stand, row) = x(min(max(flag.x, x.low), x.high)), place
    value = _value_at(curve, flag.x)
    foot = y(value) if value is not None and y.shows(value) else y.start
    above = TOP + row * FLAG
    stem = f"M{stand:.1f} {above + 8} L{at:.1f} {y.stop + 2} L{at:.1f} {foot:.1f}"
    return (
        f'<g class="flag {flag.kind}"><title>{escape(flag.name)}: {escape(flag.said)}</title><path d="{stem}"/>'
        f'<circle class="dot" cx="{at:.1f}" cy="{foot:.1f}" r="3"/><circle cx="{stand:.1f}" cy="{above}" r="8.5"/>'
        f'<text x="{stand:.1f}" y="{above + 4}" text-anchor="middle">{escape(flag.name)}</text></g>'
    )


def _value_at(curve: Sequence[tuple[float, float]], x: float) -> float | None:
    """The curve's height at x, on the straight line between its points."""
    points = [(a, b) for a, b in curve if math.isfinite(b)]
    if not points:
        return None
    before = max((p for p in points if p[0] <= x), default=points[0])
    after = min((p for p in points if p[0] >= x), default=points[-1])
    share = (x - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return before[1] + share * (after[1] - before[1])
