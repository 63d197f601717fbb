"""The terminal: one console for results (stdout), one for progress and notes (stderr), and how numbers are written.

Rich honours NO_COLOR and FORCE_COLOR; nothing here draws boxes, and where a terminal cannot move its cursor, or is
none, nothing is drawn over.
"""

import os
import sys
from collections.abc import Sequence
from functools import cache

from rich.console import Console
from rich.table import Table
from rich.text import Text

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would leave with exit code 1; the command decides that."""
        raise BrokenPipeError


def out() -> Console:
    """Where results go."""
    return _Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


@cache
def err() -> Console:
    """Where progress, notes and errors go: one for the process, so that they do not overwrite each other."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def live(console: Console) -> bool:
    """Whether lines may be drawn over. FORCE_COLOR asks for colour, not for that."""
    isatty = getattr(console.file, "isatty", lambda: False)
    return bool(isatty()) and not console.is_dumb_terminal and os.environ.get("TERM", "") not in ("dumb", "unknown")


def note(text: str) -> None:
    """One line for something that one should know."""
    err().print(Text.assemble(("note: ", "yellow"), " ".join(text.split())), soft_wrap=True)


def say_error(text: str) -> None:
    err().print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def table(*columns: str, left: int = 1) -> Table:
    """A table without lines; the first `left` columns are text, the rest numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for place, name in enumerate(columns):
        made.add_column(name, justify="left" if place < left else "right", overflow="fold")
    return made


def unicode_fits(console: Console) -> bool:
    """Whether blocks and dots can be drawn; a terminal that calls itself dumb gets plain letters."""
    if os.environ.get("TERM", "") == "dumb":
        return False
    return console.encoding.lower().replace("-", "") in ("utf8", "utf16", "utf32")


def sparkline(values: Sequence[float], width: int = 24, unicode: bool = True, span: float = 0.0) -> str:
    """Values as a row of blocks, at most `width` long; those that are not finite as `!`. span: the least range that
    fills the height, so that what hardly moves is drawn flat.

    >>> sparkline([1, 2, 3, 4])
    '▁▃▆█'
    >>> sparkline([0.0, float("nan"), 8.0], unicode=False)
    '_!@'
    >>> sparkline([1.0, 1.1, 1.0], span=2.0)
    '▄▅▄'
    """
    blocks = BLOCKS if unicode else PLAIN_BLOCKS
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    known = [v for v in values if abs(v) < float("inf")]
    if not known:
        return "!" * len(values)
    low, high = min(known), max(known)
    room = max(span - (high - low), 0.0) / 2
    low, high = low - room, high + room
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((v - low) * scale)] if abs(v) < float("inf") else "!" for v in values)


def figure(value: float | str | None, digits: int = 4) -> str:
    """A score or a loss as a person reads it.

    >>> figure(0.98123), figure(None), figure("nan"), figure(1234.5678), figure(0.000012)
    ('0.9812', '-', 'nan', '1,234.57', '1.2e-05')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    size = abs(value)
    if size == 0 or 1e-3 <= size < 100:
        return f"{value:.{digits}f}"
    return f"{value:,.2f}" if 100 <= size < 1e7 else f"{value:.3g}"


def seconds(value: float) -> str:
    """A time span.

    >>> seconds(0.42), seconds(75), seconds(3725)
    ('0.4 s', '1 min 15 s', '1 h 2 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
