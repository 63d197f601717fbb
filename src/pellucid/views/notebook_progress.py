"""A run's progress in a notebook: one output, written anew in its place while the run goes on."""

import math
import sys
import time
from html import escape
from typing import Any

from pellucid.doctor.finding import Finding
from pellucid.session import Callback, Run, Session, epoch_line
from pellucid.train.loop import ChunkEnded, EpochEnded
from pellucid.views import facts
from pellucid.views.console import figure, seconds
from pellucid.views.notebook import cards, curve, finding_list, wrapped
from pellucid.views.terminal import Speed, opening

EVERY = 0.4  # seconds between two pictures at least


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, found out without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


class NotebookProgress(Callback):
    """Shows epoch, loss, validation score, speed, time left, the curve and the doctor's findings, in place."""

    of_one_run = True

    def __init__(self) -> None:
        self.handle: Any = None
        self.session: Session | None = None
        self.said = ""

    # -- what the run tells -----------------------------------------------------------------------------------------

    def loading(self, done: int, total: int) -> None:
        self._show(_bar(done, total, f"preparing the data: {done:,} of {total:,}"), last=done >= total)

    def started(self, session: Session) -> None:
        loop = session.loop
        self.session, self.total, self.step = session, session.settings.updates, loop.step
        self.epochs = -(-self.total // loop.program.steps_per_epoch)
        self.metric = session.settings.metric.name if session.settings.metric is not None else "loss"
        self.history: list[dict[str, Any]] = list(session.history)
        self.found_so_far: list[dict[str, Any]] = []
        self.epoch, self.loss, self.shown = loop.epoch, math.nan, 0.0
        self.speed = Speed()
        self.speed.start(loop.step)
        self._draw("compiling", last=True)

    def chunk_ended(self, event: ChunkEnded) -> None:
        self.speed.add(event.step)
        self.epoch, self.step, self.loss = event.epoch, event.step, event.loss
        self._draw()

    def epoch_ended(self, event: EpochEnded) -> None:
        self.history.append(epoch_line(event, self.metric))
        self.epoch, self.step, self.loss = event.epoch, event.step, event.loss
        self._draw()

    def found(self, finding: Finding) -> None:
        if self.session is not None and self.session.recipe.train.doctor == "full":
            self.found_so_far.append(finding.to_json())

    def repairing(self, said: str) -> None:
        self.said = said
        self._draw(last=True)

    def finished(self, run: Run) -> None:
        result = run.result
        part = facts.shown_part(result)
        score = "" if part is None else f": {part} {result['metric']} {figure(facts.score(result, part))}"
        word = "diverged" if result.get("stopped") == "diverged" else "finished"
        self.found_so_far = [f for f in run.findings if f["severity"] != "note"]
        self.loss = math.nan
        self._draw(f"{word}{score}; {facts.epochs_said(result, run.recipe.train.keep or 'best')}", last=True)

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _draw(self, state: str = "", last: bool = False) -> None:
        if not last and time.perf_counter() - self.shown < EVERY:
            return
        assert self.session is not None
        words = "".join(f'<p class="quiet">{escape(line)}</p>' for line in opening(self.session))
        parts = [words, _bar(self.step, self.total, state or self._pace()), self._numbers()]
        parts.append(curve(self.history, self.found_so_far))
        parts += [f"<p>repair: {escape(self.said)}</p>"] if self.said else []
        parts += [finding_list(self.found_so_far)] if self.found_so_far else []
        self._show("".join(parts), last)

    def _show(self, inside: str, last: bool) -> None:
        """Write the output anew; `last`: at once, however short the time since the one before."""
        if not last and self.handle is not None and time.perf_counter() - getattr(self, "shown", 0.0) < EVERY:
            return
        from IPython.display import HTML, display  # type: ignore[import-not-found]

        page = HTML(wrapped(inside))
        if self.handle is None:
            self.handle = display(page, display_id=True)
        else:
            self.handle.update(page)
        self.shown = time.perf_counter()

    def _numbers(self) -> str:
        pairs = [] if math.isnan(self.loss) else [(figure(self.loss), "loss, while learning")]
        scores = (self.history[-1].get("validation") or self.history[-1]["sample"]) if self.history else {}
        part = "validation" if self.history and self.history[-1].get("validation") else "training"
        pairs += [
            (figure(scores[name]), f"{part} {name}") for name in dict.fromkeys((self.metric, "loss")) if name in scores
        ]
        return cards(pairs) if pairs else ""

    def _pace(self) -> str:
        said = f"epoch {self.epoch} of {self.epochs}"
        if self.speed.value:
            left = (self.total - self.step) / self.speed.value
            said += f"; {self.speed.value:,.0f} updates/s, {seconds(left)} left at most"
        return said


def _bar(done: int, total: int, said: str) -> str:
    share = min(done / max(total, 1), 1.0)
    return (
        f'<div class="bar" role="progressbar" aria-label="progress" aria-valuenow="{share:.0%}">'
        f'<i style="width:{share:.1%}"></i></div><p>{escape(said)}</p>'
    )
