"""How Pellucid's objects show themselves in a notebook.

What draws them lies above what is drawn, so it is handed in: the package's `__init__` sets `drawer` and `notebook` when
this module is first imported.
"""

from collections.abc import Callable
from typing import Any

drawer: Callable[[Any], str] | None = None  # an object -> HTML
# live progress as a callback of a run's, inside a notebook; None elsewhere
notebook: Callable[[], Any | None] | None = None


class Shown:
    """An object that a notebook shows as a card or a table; where nothing draws, as its text."""

    def _repr_html_(self) -> str | None:
        return None if drawer is None else drawer(self)


class Findings(list[Any], Shown):
    """What the doctor found: a list, of a run's findings as `findings.json` holds them, that shows itself in a
    notebook."""


def live_progress() -> Any | None:
    """What shows a run's progress in place, where this is a notebook."""
    return None if notebook is None else notebook()
