"""The progress of a run in a terminal: a bar that is drawn over, or without one a plain line an epoch."""

import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from pellucid.doctor.finding import Finding
from pellucid.session import Callback, Run, Session
from pellucid.train.loop import ChunkEnded, EpochEnded
from pellucid.views.console import err, figure, live
from pellucid.views.findings import headline
from pellucid.views.names import named

MOST_LINES = 50  # plain lines of a run with no more epochs than this; longer ones are thinned out to fewer
LINES = 40
SAMPLE_TOKENS = 64  # that a language model writes at the end of an epoch
SMOOTHING = 0.7  # of the speed, over chunks


class TerminalProgress(Callback):
    """Tells how a run goes, on stderr. A context manager, so that the bar is cleared away however the run ends.

    The bar: epoch, loss, validation metric, examples a second, time left. Plain lines: the same an epoch, all of them
    up to 50 epochs, about 40 of more, always the last.
    """

    of_one_run = True

    def __init__(self, console: Console | None = None):
        self.console = console or err()
        self.session: Session | None = None
        self.bar: Progress | None = None
        self.speed = Speed()
        self.last: EpochEnded | None = None
        self.told = 0

    def __enter__(self) -> "TerminalProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def loading(self, done: int, total: int) -> None:
        """Images are decoded, tables encoded: a bar that is taken away again."""
        if not live(self.console):
            return
        if self.bar is None:
            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(), Facts(), console=self.console, transient=True
            )
            self.task = self.bar.add_task("preparing the data", total=total, said="")
            self.bar.start()
        self.bar.update(self.task, completed=done, said=f"{done:,} of {total:,}")
        if done >= total:
            self.close()

    def preparing(self, said: str) -> None:
        """What is about to be written before the run begins."""
        self.console.print(said, soft_wrap=True)

    # -- what the run tells -------------------------------------------------------------------------------------

    def started(self, session: Session) -> None:
        self.session = session
        loop = session.loop
        self.total, self.batch = session.settings.updates, loop.program.batch
        self.epochs = -(-self.total // loop.program.steps_per_epoch)
        self.metric = session.settings.metric.name if session.settings.metric is not None else None
        self.every = 1 if self.epochs <= MOST_LINES else math.ceil(self.epochs / LINES)
        self.speed.start(loop.step)
        for line in opening(session):
            self.console.print(line, soft_wrap=True)
        if live(self.console):
            width = max(8, min(40, self.console.width - 72))
            bar = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=width), Facts(), console=self.console,
                transient=True, refresh_per_second=8,
            )  # fmt: skip
            self.task = bar.add_task("compiling", total=self.total, completed=loop.step, said="")
            bar.start()
            self.bar = bar

    def chunk_ended(self, event: ChunkEnded) -> None:
        self.speed.add(event.step)
        if self.bar is not None:
            said = f"loss {figure(event.loss)}" + self._score() + self._pace(event.step)
            epoch = f"epoch {event.epoch}/{self.epochs}"
            self.bar.update(self.task, completed=event.step, description=epoch, said=said)

    def epoch_ended(self, event: EpochEnded) -> None:
        self.last = event
        shown = event.epoch % self.every == 0 or event.epoch == 1
        if self.bar is None and shown:
            self._line(event)
        if shown and self.session is not None and self.session.prepared.targets.task == "language":
            self.console.print(Text(f"  writes: {sample(self.session)}", style="dim"), soft_wrap=True)

    def found(self, finding: Finding) -> None:
        if self.session is not None and self.session.recipe.train.doctor == "full":
            self.console.print(headline(finding.to_json()), soft_wrap=True)

    def repairing(self, said: str) -> None:
        self.console.print(Text.assemble(("repair: ", "cyan"), said), soft_wrap=True)

    def finished(self, run: Run) -> None:
        self.close()
        if self.last is not None and self.last.epoch != self.told and not live(self.console):
            self._line(self.last)

    # -- words --------------------------------------------------------------------------------------------------

    def _score(self) -> str:
        if self.last is None or self.last.validation is None:
            return ""
        scores = self.last.validation
        return f"  val {'loss' if self.metric is None else self.metric} {figure(scores.metric)}"

    def _pace(self, step: int) -> str:
        if not self.speed.value:
            return ""
        return f"  {self.speed.value * self.batch:,.0f} ex/s  {clock((self.total - step) / self.speed.value)} left"

    def _line(self, event: EpochEnded) -> None:
        self.told = event.epoch
        width = len(str(self.epochs))
        said = f"epoch {event.epoch:>{width}}/{self.epochs}  loss {figure(event.sample.loss)}"
        if event.validation is not None:
            said += f"  validation loss {figure(event.validation.loss)}"
            if self.metric is not None:
                said += f" {self.metric} {figure(event.validation.metric)}"
        self.console.print(said + (" *" if event.improved else ""), soft_wrap=True)


def sample(session: Session) -> str:
    """What a language model writes at present, on one line."""
    from itertools import islice

    from pellucid.network.generate import Writer, write

    now, encoder = session.loop.now(), session.prepared.features.encoder
    writer = Writer(now.layer, now.params or {}, now.state or {})
    first = int(session.prepared.train.x[0, 0])
    ids = islice(write(writer, [first], temperature=0.8, seed=session.settings.seed), SAMPLE_TOKENS)
    return repr(encoder.tokenizer.decode(list(ids)))[1:-1]  # pyright: ignore[reportAttributeAccessIssue]


def clock(seconds: float) -> str:
    """Time left, as on a clock.

    >>> clock(75.2), clock(3725)
    ('1:15', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Speed:
    """Updates a second, smoothed; the first chunk, in which XLA compiles, is left out."""

    def __init__(self) -> None:
        self.value = 0.0
        self._step, self._time, self._first = 0, 0.0, True

    def start(self, step: int) -> None:
        self._step, self._first = step, True

    def add(self, step: int) -> None:
        now = time.perf_counter()
        if not self._first:
            passed = now - self._time
            if passed < 0.2:  # small networks end many chunks a second: measure over some of them
                return
            speed = (step - self._step) / passed
            self.value = SMOOTHING * self.value + (1 - SMOOTHING) * speed if self.value else speed
        self._step, self._time, self._first = step, now, False


class Facts(ProgressColumn):
    """What is said beside the bar, cut where the terminal is narrow."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["said"], no_wrap=True, overflow="ellipsis")


def opening(session: Session) -> list[str]:
    """What is about to be trained on what: two lines."""
    import jax

    prepared, recipe = session.prepared, session.recipe
    rows = [f"{len(part):,} {name}" for name, part in parts_of(prepared) if part is not None]
    features = " x ".join(f"{n}" for n in prepared.features.shape)
    targets = prepared.targets
    if targets.classes:
        what = f"{len(targets.classes)} classes"
    else:
        what = targets.task if len(targets.columns) == 1 else f"{len(targets.columns)} targets"
    return [
        f"{session.dataset.name}: {' + '.join(rows)} rows, {features} feature{'s' if features != '1' else ''}, {what}",
        f"{named(recipe.network.spec, 'network')}: {session.network.parameters:,} parameters, "
        f"{named(recipe.train.optimizer, 'optimizer')}, "
        f"batch {session.settings.batch_size}, on {jax.default_backend()}",
    ]


def parts_of(prepared: Any) -> list[tuple[str, Any]]:
    return [("training", prepared.train), ("validation", prepared.validation), ("test", prepared.test)]
