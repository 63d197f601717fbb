"""What the watchers of other people's training loops share (`connect.torch.watch`, `connect.keras.Watch`): settings,
the record, what is concluded from it, and the promise that training never suffers from being watched.

No JAX and no PyTorch here. A fault of a watcher's own is caught, told once, and the watcher steps aside.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.connect.trials import Trials, answered
from pellucid.doctor.diagnose import diagnose as conclude
from pellucid.doctor.finding import Finding
from pellucid.doctor.problems import PROBLEMS
from pellucid.errors import PellucidWarning, SettingError, nearest
from pellucid.shown import Findings
from pellucid.signals.journal import Journal
from pellucid.signals.record import Record, read_record

EVERY = 100  # steps: what is measured costs a small network about as much as one step
# a step is taken to last so long (seconds), and a second to suffice for so many operations; what takes less than SHORT
# is measured half as often, for beside it a measurement is dear
STEP, FLOPS, SHORT = 300e-6, 60e9, 2e-3
# what a loop may tell of itself: the words of a record's setup
TOLD = ("task", "loss", "batch", "rows", "updates", "steps_per_epoch", "classes", "trivial_loss")


def diagnose(record: Any, silence: Iterable[str] = ()) -> list[Finding]:
    """What is wrong with a training, as its record shows it; an empty list where nothing is.

    record: a `Record`; the path of a run's folder or of a record.jsonl; or what has one (`run.record`, a watcher's).
    silence: names of problems that are not to be told.

    >>> diagnose(Record())
    []
    """
    silence = _known(silence)
    if isinstance(record, str | Path):
        path = Path(record)
        record = read_record(path / "record.jsonl" if path.is_dir() else path)
    record = getattr(record, "record", record)
    if not isinstance(record, Record):
        raise SettingError(
            "this cannot be diagnosed", expected="a Record, or the path of a run or of its record.jsonl",
            got=type(record).__name__, fix="of an optax state, take pc.watched(state) first",
        )  # fmt: skip
    return Findings(conclude(record, silence=silence))


class Watcher:
    """The part of a watcher that does not know whom it watches."""

    def __init__(
        self, *, out: str | Path | None, every: int | None, quiet: bool, silence: Iterable[str], told: dict[str, Any],
        read: Callable[[Sequence[Any]], list[float]] | None = None,
    ):  # fmt: skip
        if every is not None and every < 1:
            raise SettingError("a setting is out of range", where="every", expected="a whole number >= 1", got=every)
        for name in set(told) - set(TOLD):
            raise SettingError("a watcher cannot be told this", where=name, fix=nearest(name, TOLD))
        self.silence, self.quiet = _known(silence), quiet
        self.told = {"loss": None, **told}
        self.journal = Journal(every or EVERY, _file(out), **({"read": read} if read else {}))
        self.updates = 0
        self.trials: Trials | None = None  # the last ones
        self.notes: list[str] = []  # what could not be watched, and why
        self.aside = False  # a fault of its own, or the end: nothing is touched any more

    @property
    def record(self) -> Record:
        """What was measured so far: the same as a run's of Pellucid's own."""
        return self.journal.record

    def _begun(self) -> str:
        """From what trials begin, in words."""
        return f"the state after {_count(self.updates, 'update')}"

    def findings(self) -> list[Finding]:
        """What is wrong so far, the most important first; with the trials that answer it, where some were made."""
        return Findings(answered(diagnose(self.record, self.silence), self.trials or ()))

    def log(self, *, loss: Any = None, validation_loss: Any = None, **scores: Any) -> None:
        """Tell the watcher how training goes: numbers, or tensors of one element.

        loss: of the last batch (at each step), or the mean since the last call.   validation_loss: ends an epoch.
        More scores go by their names: `accuracy=`, `validation_accuracy=`.
        """
        if self.aside:
            return
        try:  # as `safely`, and cheaper: this may be called at every step
            if validation_loss is None and not scores:
                return self._log(loss, {}, {})
            train = {name: value for name, value in scores.items() if not name.startswith("validation_")}
            prefix = len("validation_")
            validation = {name[prefix:]: value for name, value in scores.items() if name not in train}
            if validation_loss is not None:
                validation = {"loss": validation_loss, **validation}
            self._log(loss, train, validation)
        except Exception as error:
            self.step_aside(error)

    def _log(self, loss: Any, train: dict[str, Any], validation: dict[str, Any]) -> None:
        self.journal.log(self.updates, loss, train, validation)

    # -- safety -----------------------------------------------------------------------------------------------------

    @contextmanager
    def safely(self) -> Iterator[None]:
        """Nothing that goes wrong inside reaches the training; it ends the watching."""
        try:
            yield
        except Exception as error:
            self.step_aside(error)

    def step_aside(self, error: Exception) -> None:
        """Take off all that was attached, and say why."""
        if self.aside:
            return
        self.aside = True
        try:
            self.detach()
        finally:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            self.notes.append(f"stepped aside after {self.updates:,} updates ({reason})")
            warn(f"pellucid stopped watching after {self.updates:,} updates; training goes on as it is ({reason})")

    def detach(self) -> None:
        """Remove whatever was attached to the model and its optimizer; called more than once."""

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the record and say what was found."""
        with self.safely():
            self.journal.close()
            if not self.quiet:
                print(self.summary(), file=sys.stderr)
        self.aside = True

    def summary(self) -> str:
        """The closing words: one line where all is well."""
        record, findings = self.record, self.findings()
        seen = f"{_count(len(record.layers), 'layer')} and {_count(len(record.weights), 'weight')} watched over " + (
            _count(self.updates, "update")
        )
        notes = [] if self.trials is None else [f"  {line}" for line in str(self.trials).splitlines()]
        notes += [f"  note: {note}" for note in self.notes]
        if not self.journal.told:
            notes.append("  note: no loss was told, so harm cannot be shown: w.log(loss=..., validation_loss=...)")
        if not findings:
            return "\n".join([f"pellucid: {seen}; nothing found that harms.", *notes])
        return "\n".join(
            [
                f"pellucid: {seen}; {_count(len(findings), 'finding')}.",
                *(_told(finding) for finding in findings),
                *notes,
            ]
        )


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def _told(finding: Finding) -> str:
    where = (f" in {finding.layer}" if finding.layer else "") + (
        f", from update {finding.step}" if finding.step is not None else ""
    )
    lines = [f"  {finding.severity}: {finding.about.title}{where}", f"    {finding.summary}"]
    changes = [r.text or ", ".join(f"{name} = {value}" for name, value in r.settings.items()) for r in finding.remedies]
    if changes:
        lines.append(f"    change: {'; or '.join(changes)}")
    return "\n".join(lines)


def warn(text: str) -> None:
    """A warning that cannot break a training, not even where warnings are errors."""
    try:
        warnings.warn(text, PellucidWarning, stacklevel=3)
    except Warning:
        print(f"warning: {text}", file=sys.stderr)


def _known(silence: Iterable[str]) -> tuple[str, ...]:
    names = (silence,) if isinstance(silence, str) else tuple(silence)
    for name in names:
        if name not in PROBLEMS:
            raise SettingError("there is no such problem to silence", where=name, fix=nearest(name, PROBLEMS))
    return names


def _file(out: str | Path | None) -> Path | None:
    if out is None:
        return None
    path = Path(out)
    return path if path.suffix == ".jsonl" else path / "record.jsonl"
