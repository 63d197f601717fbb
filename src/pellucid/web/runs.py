"""The runs of a folder: their names are all that a browser may say, and each stands for a folder right in it."""

import math
from pathlib import Path
from typing import Any

from pellucid import files
from pellucid.rundir import RunDir
from pellucid.views import facts
from pellucid.web.pace import STAGES
from pellucid.web.read import read_object, signature
from pellucid.web.table import as_number
from pellucid.web.tail import Tail

MOST = 500  # runs that are listed, the newest of them
SPARK = 40  # points of a small curve


def find(root: Path, name: str) -> RunDir | None:
    """The run of this name, whether it is there yet or not; None where the name is no plain one, or its folder is a
    link that leads elsewhere.

    >>> find(Path("runs"), "../secret"), find(Path("runs"), "/etc"), find(Path("runs"), ".."), find(Path("runs"), "")
    (None, None, None, None)
    """
    plain = name not in ("", ".", "..") and not any(c in name for c in "/\\\0:") and len(name.encode()) < 255
    if not plain:
        return None
    path = root / name
    try:
        if path.resolve().parent != root.resolve():
            return None
    except (OSError, RuntimeError):
        return None
    return RunDir(path)


class Listed:
    """One run as the list shows it. It reads what has grown since, and of a record the epochs alone."""

    def __init__(self, place: RunDir):
        self.place = place
        self.tail = Tail(place.record, only=b'{"kind":"epoch"')
        self.clock, self.stage = Tail(place.clock), "running"
        self.signs: tuple[Any, ...] = ()
        self.losses: list[float] = []
        self.last: dict[str, Any] = {}
        self.result: dict[str, Any] | None = None

    def line(self) -> dict[str, Any]:
        sign = signature(self.place.result)
        if (sign,) != self.signs:
            self.signs, self.result = (sign,), read_object(self.place.result)
        anew, lines = self.tail.read()
        if anew:
            self.losses, self.last = [], {}
        for line in lines:
            self.last = line
            scores = line.get("validation") or line.get("sample")
            self.losses.append(as_number(scores.get("loss")) if isinstance(scores, dict) else math.nan)
        status = facts.status(self.result, self.place.running)
        if status == "running":
            status = self._stage() if self.tail.offset else "starting"
        found = {"name": self.place.path.name, "status": status, "epochs": self.last.get("epoch"), **self._score()}
        return files.finite({**found, "spark": spark(self.losses)})

    def _stage(self) -> str:
        for line in self.clock.read()[1]:
            self.stage = STAGES.get(str(line.get("kind")), "running")
        return self.stage

    def _score(self) -> dict[str, Any]:
        if self.result is not None:
            part = facts.shown_part(self.result)
            metric = str(self.result.get("metric"))
            return {"metric": metric, "part": part, "score": facts.score(self.result, part, metric) if part else None}
        part = "validation" if isinstance(self.last.get("validation"), dict) else "sample"
        scores = self.last.get(part)
        if not isinstance(scores, dict):
            return {"metric": None, "part": None, "score": None}
        metric = next((name for name in scores if name != "loss"), "loss")
        return {"metric": metric, "part": part, "score": as_number(scores.get(metric))}


class Runs:
    """All of them."""

    def __init__(self, root: Path):
        self.root = root
        self._listed: dict[str, Listed] = {}
        self._lines: dict[str, dict[str, Any]] = {}

    def poll(self) -> tuple[list[dict[str, Any]], list[str]]:
        """(the lines of runs that changed since the last call, the names of those that are gone)."""
        names = self._names()
        gone = [name for name in self._lines if name not in names]
        for name in gone:
            del self._lines[name], self._listed[name]
        changed = []
        for name in names:
            if name not in self._listed:
                self._listed[name] = Listed(RunDir(self.root / name))
            line = self._listed[name].line()
            if line != self._lines.get(name):
                self._lines[name] = line
                changed.append(line)
        return changed, gone

    def lines(self) -> list[dict[str, Any]]:
        """Every run, the newest first, as it was at the last `poll`."""
        return [self._lines[name] for name in sorted(self._lines, reverse=True)]

    def going(self) -> bool:
        """Whether a process writes any of them now."""
        return any(RunDir(self.root / name).running for name in self._names())

    def _names(self) -> set[str]:
        try:
            found = sorted((path.name for path in self.root.iterdir()), reverse=True)
        except OSError:
            return set()
        names: set[str] = set()
        for name in found:
            place = find(self.root, name)
            if place is not None and place.exists:
                names.add(name)
                if len(names) == MOST:
                    break
        return names


def spark(values: list[float]) -> list[float]:
    """At most `SPARK` of them, evenly, the last one among them; what is not finite is left out.

    >>> spark([float(n) for n in range(100)])[-3:]
    [94.0, 96.0, 99.0]
    """
    known = [float(f"{v:.4g}") for v in values if math.isfinite(v)]
    if len(known) <= SPARK:
        return known
    return [known[round(i * (len(known) - 1) / (SPARK - 1))] for i in range(SPARK)]
