"""What the pages of `explain` are made of: numbers, sums, grids, bars, all within 80 columns; and what one may ask for.

Nothing here knows any layer.
"""

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.views.explain_stage import Stage

Array = np.ndarray
Line = tuple[str, str]  # text, style
SMALL = 8  # layers up to this width are shown whole
TERMS = 6  # of a weighted sum; the rest is added up
WIDTH = 80
BAR = 24
ASCII = str.maketrans({
    "Σ": "sum", "·": "*", "δ": "d", "η": "rate", "α": "alpha", "Φ": "Phi", "φ": "phi", "±": "+-", "²": "^2",
    "→": "->", "█": "#", "▏": "#", "×": "x", "∂": "d", "ᵀ": "^T",
})  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What a person wants to see: one layer alone, one unit of each, one step, head, place; all counted from 1."""

    layer: str | None = None
    unit: int | None = None
    step: int | None = None
    head: int | None = None
    place: tuple[int, int] | None = None

    def wants(self, stage: Stage) -> bool:
        """Whether a stage is, or lies in, the layer that was asked for."""
        return self.layer in (None, stage.title) or stage.path.startswith(f"{self.layer}/")


def num(value: Any) -> str:
    """Four digits, as short as they go.

    >>> num(0.123456), num(-3.0), num(0.0), num(1e-9)
    ('0.1235', '-3', '0', '1e-09')
    """
    return f"{float(value):.4g}" if value else "0"


def bracketed(value: Any) -> str:
    return f"({num(value)})" if value < 0 else num(value)


def shape_of(a: Array) -> str:
    return " x ".join(map(str, a.shape))


def wrapped(text: str, indent: int = 4, hang: int = 6) -> Iterator[Line]:
    for line in textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + hang)):
        yield line, ""


def titled(text: str) -> Iterator[Line]:
    """A layer and its formula."""
    for line in textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      "):
        yield line, "cyan"


def packed(items: Sequence[str]) -> Iterator[Line]:
    """Items side by side, as many as a line holds."""
    line = ""
    for item in items:
        if line and len(line) + 3 + len(item) > WIDTH:
            yield line, ""
            line = ""
        line += f"   {item}" if line else f"    {item}"
    if line:
        yield line, ""


def summed(terms: Sequence[str]) -> str:
    """Terms with their signs between them.

    >>> summed(["2·a", "-3·b", "1"])
    '2·a - 3·b + 1'
    """
    return "".join((f" - {t[1:]}" if t.startswith("-") else f" + {t}") if i else t for i, t in enumerate(terms))


def products(w: Array, x: Array, more: Sequence[str] = ()) -> str:
    """w·x + w·x + ..., the largest terms in their order, the rest added up; then what else is added.

    >>> products(np.array([1.0, -2.0]), np.array([3.0, 4.0]), ["0.5"])
    '1·3 - 2·4 + 0.5'
    """
    each = w * x
    order = np.sort(np.argsort(-np.abs(each), kind="stable")[:TERMS]) if len(x) > TERMS else np.arange(len(x))
    terms = [f"{num(w[i])}·{bracketed(x[i])}" for i in order]
    if len(x) > len(order):
        terms.append(f"{num(each.sum() - each[order].sum())} ({len(x) - len(order)} more terms)")
    return summed([*terms, *more])


def head(text: str) -> list[Line]:
    title, colon, rest = text.partition(":")
    return [("", ""), (title.upper() + colon + rest, "bold")]


def widely(values: Array, name: str) -> Iterator[Line]:
    flat = values.reshape(-1)
    norm = float(np.sqrt((flat**2).sum()))
    yield f"    {flat.size:,} values: {name} between {num(flat.min())} and {num(flat.max())}, norm {num(norm)}", ""


def grid(title: str, values: Array) -> list[str]:
    """A small grid of numbers, [rows, columns], under its title, with as many decimals as its largest number asks for.

    >>> grid("w", np.array([[1.0, -0.25], [0.0, 2.0]]))
    ['w            ', ' 1.00  -0.25 ', ' 0.00   2.00 ']
    """
    largest = float(np.abs(values).max(initial=0.0))
    digits = (
        0 if bool((values == np.round(values)).all()) and largest >= 10 else 2 if largest >= 0.1 or not largest else 4
    )
    if largest >= 1000 or 0 < largest < 0.001:
        cells = [[f"{v:.1e}" for v in row] for row in values]
    else:
        cells = [[f"{v:.{digits}f}" for v in row] for row in values]
    width = max(len(c) for row in cells for c in row) + 1
    lines = [title, *("".join(f"{c:>{width}} " for c in row) for row in cells)]
    most = max(map(len, lines))
    return [line.ljust(most) for line in lines]


def beside(grids: Sequence[list[str]]) -> Iterator[Line]:
    """Grids next to each other; what does not fit stands below."""
    row: list[list[str]] = []
    for one in [*grids, []]:
        if row and (not one or 4 + sum(len(g[0]) + 2 for g in [*row, one]) > WIDTH):
            for i in range(max(map(len, row))):
                cells = [g[i] if i < len(g) else " " * len(g[0]) for g in row]
                yield f"    {'  '.join(cells)}".rstrip()[:WIDTH], "" if i else "dim"
            row = []
        row.append(one)


def bar(share: float, width: int = BAR) -> str:
    """A bar for a share of 1; anything above 0 leaves a trace.

    >>> bar(0.5, 4), bar(0.0), bar(0.001)
    ('██', '', '▏')
    """
    return "█" * round(share * width) or ("▏" if share > 0 else "")


def perplexity(loss: float) -> str:
    return num(math.exp(loss)) if loss < 700 else "beyond all bounds"


def at_place(stage: Stage, place: tuple[int, ...]) -> Stage:
    """The stage at one place (a step, or row and column), as if there were no other; gradients stay those of all."""
    deep = len(place)
    if not deep:
        return stage
    pick = lambda a: a[place] if isinstance(a, np.ndarray) and a.ndim > deep else a  # noqa: E731
    return dataclasses.replace(stage, x=pick(stage.x), y=pick(stage.y), dy=pick(stage.dy), dx=pick(stage.dx))


def place_said(place: tuple[int, ...]) -> str:
    """
    >>> place_said((0, 3)), place_said((4,)), place_said(())
    ('at row 1, column 4', 'at step 5', '')
    """
    if len(place) == 2:
        return f"at row {place[0] + 1}, column {place[1] + 1}"
    return f"at step {place[0] + 1}" if place else ""


def units_of(stage: Stage, wish: Wish) -> list[int]:
    """The units that are shown: all of a small layer, else the one asked for, else the one that the loss pulls most."""
    if wish.unit is not None:
        return [wish.unit - 1] if wish.unit <= stage.width else []
    if stage.width <= SMALL or (wish.layer is not None and stage.width <= 64):
        return list(range(stage.width))
    pull = stage.dy if stage.kind == "dense" else stage.dx  # dL/dz both, so that z, a and δ are of one unit
    return [int(np.abs(pull.reshape(-1)).argmax())]
