"""Other tools' logs as a record: what Keras, Lightning, Hugging Face and TensorBoard write, or a loop of your own.

    log = read_log(Path("metrics.csv"))        # log.record for the doctor, log.notes for a person

Tables (CSV, TSV) and JSON lines, long (`step, split, metric, value`) or wide (`epoch, loss, val_loss`); Hugging Face's
`trainer_state.json`; event files, or a folder of them. Names are read by their words: `val_loss`, `Loss/validation` and
`eval/loss` are the same. Nothing is guessed of what a log does not tell: the record then holds losses alone.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pellucid.errors import DataError
from pellucid.signals.events import scalars
from pellucid.signals.record import SCHEMA, Record, number, read_record

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".log", ".txt")
EVENTS = "tfevents"
KNOWN_FILES = ("metrics.csv", "training.log", "trainer_state.json")  # of Lightning, Keras, Hugging Face
SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "eval": "validation", "evaluation": "validation", "dev": "validation", "test": "test",
}  # fmt: skip
GRAINS = {"epoch": "epoch", "step": "step", "batch": "step", "iteration": "step", "iterations": "step"}
STEPS = ("step", "steps", "global_step", "trainer/global_step", "_step", "iteration", "iter", "update", "updates")
EPOCHS = ("epoch", "epochs")
# passed over silently
NO_METRIC = ("time", "timestamp", "_timestamp", "_runtime", "wall_time", "wall time", "date", "run")
LONG = {"metric", "value"}
MOST = 100  # points of a curve that is made from more


class Point(NamedTuple):
    step: int
    split: str
    metric: str
    grain: str  # "epoch", "step", or "" where it is not said
    value: float


@dataclass
class Log:
    """A log that was read: its record, and what one should know of it."""

    record: Record
    notes: list[str] = field(default_factory=list)


def is_log(path: Path) -> bool:
    """Whether this file or folder can be read here."""
    if path.is_dir():
        return any((path / name).is_file() for name in KNOWN_FILES) or next(path.rglob(f"*{EVENTS}*"), None) is not None
    return path.is_file() and (path.suffix.lower() in TABLES or EVENTS in path.name)


def read_log(path: Path) -> Log:
    """The log in this file or folder. Raises DataError where there is no loss in it, or more than one run."""
    if path.is_dir():
        known = next((path / name for name in KNOWN_FILES if (path / name).is_file()), None)
        return read_log(known) if known is not None else _of_events(path)
    if EVENTS in path.name:
        return _of_events(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("this is no text", where=path, got=error) from error
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson") or text.lstrip()[:1] in ("{", "["):
        return _of_json(path, text)
    return _of_rows(list(csv.DictReader(text.splitlines(), delimiter=_delimiter(text))), path)


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",\t;", key=first.count)


def _of_json(path: Path, text: str) -> Log:
    try:
        whole = json.loads(text)
    except ValueError:
        lines = [_object(line) for line in text.splitlines()]
        rows = [line for line in lines if line is not None]
    else:
        if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):  # Hugging Face's Trainer
            rows = [r for r in whole["log_history"] if isinstance(r, dict) and "train_runtime" not in r]
            return _of_rows(rows, path, {"updates": whole.get("max_steps")})
        if isinstance(whole, dict) and any(isinstance(v, list) for v in whole.values()):  # Keras' History.history
            lists = {k: v for k, v in whole.items() if isinstance(v, list)}
            longest = max(len(v) for v in lists.values())
            rows = [{k: v[i] for k, v in lists.items() if i < len(v)} for i in range(longest)]
            return _of_rows([{"epoch": i + 1, **row} for i, row in enumerate(rows)], path)
        rows = [r for r in (whole if isinstance(whole, list) else [whole]) if isinstance(r, dict)]
    if any(r.get("kind") == "header" and r.get("schema") == SCHEMA for r in rows):
        return Log(read_record(path))
    return _of_rows(rows, path)


def _object(line: str) -> dict[str, Any] | None:
    """A line of JSON; None for one that a crash cut short, or that is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# -- rows -> points -----------------------------------------------------------------------------------------------


def _of_rows(rows: list[dict[str, Any]], path: Path, setup: dict[str, Any] | None = None) -> Log:
    if not rows:
        raise DataError("there is nothing in this log", where=path, expected="a header and rows, or JSON lines")
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    _one_run({str(row["run"]) for row in rows if row.get("run") not in (None, "")}, path)
    step_column = next((c for c in columns if c.strip().lower() in STEPS), None)
    epoch_column = next((c for c in columns if c.strip().lower() in EPOCHS), None)
    counted = step_column or epoch_column
    long = {c.strip().lower() for c in columns} >= LONG
    unread: dict[str, None] = {}
    points: list[Point] = []
    for place, row in enumerate(rows, 1):
        step = value_of(row.get(counted)) if counted else place
        if step is None or not np.isfinite(step):
            continue
        named = _long(row) if long else row.items()
        for name, raw in named:
            column, text = str(name), str(name).strip().lower()
            if name in (step_column, epoch_column) or text in (*STEPS, *EPOCHS, *NO_METRIC) or raw in (None, ""):
                continue
            value = value_of(raw)
            split, metric, grain = words_of(column)
            if value is None or not metric:
                unread.setdefault(column)
                continue
            points.append(Point(int(step), split, metric, grain, value))
    if counted is not None and counted == epoch_column and min((p.step for p in points), default=1) == 0:
        points = [p._replace(step=p.step + 1) for p in points]  # Keras counts epochs from 0
    notes = (
        [] if step_column else [f"it counts {'epochs' if epoch_column else 'rows'}: read those where steps are told"]
    )
    return _log(points, path, unread, notes, setup)


def _long(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """A row that names its metric, as one of a wide table."""
    low = {str(key).strip().lower(): value for key, value in row.items()}
    split = low.get("split") or low.get("part") or low.get("phase") or ""
    yield f"{split}/{low.get('metric')}" if split else str(low.get("metric")), low.get("value")


def value_of(raw: Any) -> float | None:
    """A number, or the text of one; None for what is none.

    >>> value_of("0.5"), value_of("nan"), value_of(""), value_of(True)
    (0.5, nan, None, None)
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return None


def words_of(name: str) -> tuple[str, str, str]:
    """(split, metric, grain) that a column's or a tag's name tells; the metric "" where it is none that is read.

    >>> words_of("val_loss"), words_of("Loss/train"), words_of("train_loss_epoch"), words_of("accuracy")
    (('validation', 'loss', ''), ('train', 'loss', ''), ('train', 'loss', 'epoch'), ('train', 'accuracy', ''))
    >>> words_of("grad_norm"), words_of("lr-Adam")
    (('train', '', ''), ('train', 'learning_rate', ''))
    """
    words = [w for w in re.split(r"[^a-z0-9]+", name.lower()) if w]
    split = next((SPLITS[w] for w in words if w in SPLITS), "train")
    grain = next((GRAINS[w] for w in words if w in GRAINS), "")
    rest = "_".join(w for w in words if w not in SPLITS and w not in GRAINS and w not in ("vs", "running", "mean"))
    if rest in ("lr", "learning_rate") or rest.startswith("lr_"):
        return split, "learning_rate", grain
    rest = {"acc": "accuracy", "cross_entropy": "loss", "nll": "loss", "nll_loss": "loss", "ppl": "perplexity"}.get(
        rest, rest
    )
    return split, rest if rest in ("loss", *SCORES) else "", grain


SCORES = ("accuracy", "perplexity", "r2", "f1", "auc", "mae", "rmse", "mse", "top_5_accuracy", "balanced_accuracy")


def _one_run(names: set[str], where: Path) -> None:
    if len(names) > 1:
        shown = sorted(names)
        raise DataError(
            "there are several runs in it", where=where, expected="the log of one run",
            got=", ".join(shown[:6]) + (", ..." if len(shown) > 6 else ""), fix="one file, or one folder, for each run",
        )  # fmt: skip


# -- TensorBoard --------------------------------------------------------------------------------------------------


def _of_events(path: Path) -> Log:
    """Event files, those in folders `train` and `validation` (as Keras has them) being one run."""
    files = sorted(path.rglob(f"*{EVENTS}*")) if path.is_dir() else [path]
    owners = {file: _owner(file.parent, path if path.is_dir() else path.parent) for file in files}
    _one_run({name for name, _ in owners.values()} if path.is_dir() else set(), path)
    points: list[Point] = []
    unread: dict[str, None] = {}
    by_epoch = True
    for file in files:
        folder_split = owners[file][1]
        for tag, step, value in scalars(file):
            split, metric, grain = words_of(tag)
            split = folder_split or split
            if not metric:
                unread.setdefault(tag)
                continue
            by_epoch = by_epoch and grain == "epoch" and bool(folder_split)  # Keras' tags: epoch_loss
            points.append(Point(step, split, metric, grain, value))
    if points and by_epoch:
        points = [p._replace(step=p.step + 1) for p in points]
    notes = ["it counts epochs: read those where steps are told"] if points and by_epoch else []
    return _log(points, path, unread, notes)


def _owner(folder: Path, root: Path) -> tuple[str, str]:
    """(the run that a folder below `root` belongs to, the part that its name says or "")."""
    split = SPLITS.get(folder.name.lower(), "") if folder != root else ""
    run = folder.parent if split else folder
    return str(run.relative_to(root)) if run != root else ".", split


# -- points -> record ---------------------------------------------------------------------------------------------


def _log(
    points: list[Point], path: Path, unread: Iterable[str], notes: list[str], setup: dict[str, Any] | None = None
) -> Log:
    said = [*notes, "not read: " + ", ".join(unread)] if unread else list(notes)
    losses = [p for p in points if p.metric == "loss" and p.split != "test"]
    if not losses:
        found = list(dict.fromkeys([*(f"{p.split} {p.metric}" for p in points), *unread]))
        raise DataError(
            "there is no loss in this log", where=path, expected="a column or tag such as loss, train_loss, val_loss",
            got=", ".join(found[:12]) or "nothing that is a number",
        )  # fmt: skip
    if not any(p.split == "validation" for p in losses):
        said.append("no validation loss in it: overfitting cannot be seen")
    if not any(p.split == "train" for p in losses):
        said.append("no training loss in it: whether it learns its own examples cannot be seen")
    said.append("a log of losses: what goes on in the layers cannot be seen")
    return Log(record_of(points, setup or {}), said)


def record_of(points: list[Point], setup: dict[str, Any]) -> Record:
    """Losses at each validation (the training loss the mean since the one before), and those of steps by themselves."""
    record = Record()
    record.add({"kind": "header", "schema": SCHEMA, "setup": {k: v for k, v in setup.items() if v}})
    by_epoch, by_step = _training(points)
    rates = {p.step: p.value for p in points if p.metric == "learning_rate"}
    for step, value in sorted(by_step.items()):
        line = {"kind": "step", "step": step, "loss": number(value)}
        record.add(line | ({"learning_rate": number(rates[step])} if step in rates else {}))
    scored: dict[int, dict[str, Any]] = {}
    for p in points:
        if p.split == "validation" and p.metric != "learning_rate":
            scored.setdefault(p.step, {})[p.metric] = number(p.value)
    ends = sorted(scored) or _ends(sorted(by_epoch or by_step))
    before = -np.inf
    for count, step in enumerate(ends, 1):
        source = by_epoch or by_step
        since = [v for s, v in source.items() if before < s <= step]
        before = step
        line = {"kind": "epoch", "epoch": count, "step": step, "validation": scored.get(step)}
        record.add(line | ({"train": {"loss": number(np.mean(since))}} if since else {}))
    return record


def _training(points: list[Point]) -> tuple[dict[int, float], dict[int, float]]:
    """The training losses of epochs, and those of steps; where names do not tell, they are of epochs if there are about
    as many as validations."""
    train = [p for p in points if p.split == "train" and p.metric == "loss"]
    validations = len({p.step for p in points if p.split == "validation" and p.metric == "loss"})
    epochs = {p.step: p.value for p in train if p.grain == "epoch"}
    steps = {p.step: p.value for p in train if p.grain == "step"}
    rest = {p.step: p.value for p in train if not p.grain}
    few = len(rest) <= 1.5 * validations if validations else len(rest) <= MOST
    if few:
        return epochs or rest, steps
    return epochs, steps or rest


def _ends(steps: list[int]) -> list[int]:
    """At most `MOST` of these steps, evenly, the last among them."""
    if len(steps) <= MOST:
        return steps
    return [steps[i] for i in np.linspace(0, len(steps) - 1, MOST + 1).round().astype(int)[1:]]
