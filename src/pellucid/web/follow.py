"""One run, followed from its folder alone, whether its process goes on or ended long ago.

    run = Followed(RunDir(path))
    run.poll()         # what is new, as a plain dict; {"again": True} where all of it has to be fetched anew; or None
    run.snapshot()     # all of it, curves thinned out

Numbers go into tables (`table.py`); the doctor reads the same lines as beside the run itself (`examine.py`). A record
of any length costs the same to examine and to show: of more than `MOST_LINES` of a kind every second is left out.
"""

import shlex
import time
from contextlib import suppress
from typing import Any

from pellucid import files
from pellucid.examine import Examination
from pellucid.history import kept_epochs
from pellucid.rundir import RunDir
from pellucid.signals.sampling import is_measured
from pellucid.views import facts
from pellucid.web.pace import Pace
from pellucid.web.read import read_list, read_object, read_recipe, signature
from pellucid.web.table import MOST, Table, as_number
from pellucid.web.tail import Tail
from pellucid.web.told import about, told

MOST_LINES = 2_000  # of each kind that the doctor looks at
LONG = 80  # lines that come at once, of a record that was there before
LOOKS = 12  # moments of such a record that the doctor looks at: the last ones at which it looked in the run itself
REST = 20  # times as long as a look took, at least until the next one


class Followed:
    """The state of one run. Not for two threads at once."""

    def __init__(self, place: RunDir):
        self.place = place
        self.record, self.clock = Tail(place.record), Tail(place.clock)
        self.seq = int(time.time() * 1000)  # so that it never goes back, even where a run is followed anew
        self._signs: dict[str, Any] = {}
        self._snapshot: tuple[int, dict[str, Any]] | None = None
        self._look_after = 0.0
        self.status, self.result, self.findings, self.kept, self.recipe = "", None, [], [], {}
        self._begin()

    def _begin(self) -> None:
        self.examination = Examination(self._silenced())
        self.every, self.alarms, self._due = 1, [], False
        self.tables = {name: Table(groups) for name, groups in groups_of([], []).items()}
        self.pace = Pace()
        self.best: int | None = None

    def _silenced(self) -> tuple[str, ...]:
        given = self._train.get("silence")
        return tuple(str(name) for name in given) if isinstance(given, list) else ()

    @property
    def _train(self) -> dict[str, Any]:
        return part if isinstance(part := self.recipe.get("train"), dict) else {}

    @property
    def how(self) -> str:
        """ "off", "hint" or "full": what the doctor may say of this run."""
        return str(self._train.get("doctor") or "full")

    # -- looking ------------------------------------------------------------------------------------------------

    def poll(self) -> dict[str, Any] | None:
        """What is new since the last call."""
        changed = self._look_at_files()
        before = {name: table.rows for name, table in self.tables.items()}
        anew, lines = read_on(self.record)
        if anew:
            self._begin()
            self.clock = Tail(self.place.clock)
        clock_anew, ticks = read_on(self.clock)
        if clock_anew:
            self.pace = Pace()
            self.tables["clock"] = Table(groups_of([], [])["clock"])
        header = self._take(lines)
        for tick in ticks:
            self.pace.add(tick, self.examination.record.setup, self.tables["clock"])
        found = self._examine(any(line.get("kind") == "epoch" for line in lines))
        status = self._status()
        if not (changed or lines or ticks or anew or clock_anew or found or status != self.status):
            return None
        self.status = status
        self.seq += 1
        if anew or clock_anew or header or changed:
            return {"again": True, "seq": self.seq}
        more = {name: t.shown(before[name]) for name, t in self.tables.items() if t.rows > before[name]}
        if any(len(table["step"]) > MOST for table in more.values()):
            return {"again": True, "seq": self.seq}
        return {"seq": self.seq, "tables": more, **self._now(), **({"findings": self.findings} if found else {})}

    def snapshot(self) -> dict[str, Any]:
        """Everything that a page shows, as plain JSON."""
        if self._snapshot is None or self._snapshot[0] != self.seq:
            record = self.examination.record
            setup = {key: value for key, value in record.setup.items() if key != "preflight"}
            whole = {
                "seq": self.seq, "name": self.place.path.name, "about": about(self.recipe), "setup": setup,
                "layers": record.layers, "kinds": record.kinds, "weights": record.weights, "shapes": record.shapes,
                "tables": {name: table.shown(most=MOST) for name, table in self.tables.items()},
                "findings": self.findings, "result": scores_of(self.result), **self._now(),
                "resume": f"pellucid train --resume {shlex.quote(str(self.place.path))}",
            }  # fmt: skip
            self._snapshot = self.seq, files.finite(whole)
        return self._snapshot[1]

    def _now(self) -> dict[str, Any]:
        best = (self.result or {}).get("best_epoch", self.best)
        setup = self.examination.record.setup
        return {
            "status": self.status, "best": best, "kept": self.kept,
            "progress": files.finite(self.pace.now(setup, finished=self.result)),
        }  # fmt: skip

    # -- the parts ----------------------------------------------------------------------------------------------

    def _look_at_files(self) -> bool:
        """Read what is written anew as a whole; whether anything of it changed."""
        changed = False
        for name, path in (
            ("recipe", self.place.recipe),
            ("result", self.place.result),
            ("found", self.place.findings),
        ):
            sign = signature(path)
            if sign != self._signs.get(name):
                self._signs[name] = sign
                changed = True
                if name == "recipe":
                    self.recipe = read_recipe(path)
                    self.examination.silence = self._silenced()
                elif name == "result":
                    self.result = read_object(path)
        sign = signature(self.place.history)
        if sign != self._signs.get("history"):
            self._signs["history"] = sign
            inside = sign is not None and files.confined(self.place.history, self.place.path)
            self.kept = kept_epochs(self.place.history) if inside else []
        return changed

    def _status(self) -> str:
        if not self.place.exists:
            return "missing" if self.status not in ("waiting", "") else "waiting"
        running = self.place.running
        if self.result is None and running:
            return self.pace.stage if self.examination.record.layers else "starting"
        return facts.status(self.result, running)

    def _take(self, lines: list[dict[str, Any]]) -> bool:
        """Put the lines where they belong; whether a header was among them."""
        header = False
        long = len(lines) > LONG
        looks = set(looked_at(lines)[-LOOKS:]) if long and self.result is None else set()
        for place, line in enumerate(lines):
            kind = line.get("kind")
            if kind == "header":
                header = True
                self.examination.add(line)
                record = self.examination.record
                fresh = groups_of(record.layers, record.weights)
                self.tables |= {name: Table(groups) for name, groups in fresh.items() if name != "clock"}
            elif (row := row_of(line, str(self.examination.record.setup.get("metric") or "loss"))) is not None:
                name, step, values = row
                self.tables[name].add(step, values)
                if name == "epochs" and line.get("improved") is True:
                    self.best = int(as_number(line.get("epoch")))
                self._hand_on(line)
            self._due = (self._due or kind == "units") and not (long and kind == "epoch")
            if place in looks:
                self._look()
        return header

    def _hand_on(self, line: dict[str, Any]) -> None:
        """The line to the doctor, thinned out as `signals.journal` does it."""
        record = self.examination.record
        if line["kind"] != "step" or is_measured(int(as_number(line["step"])), self.every):
            self.examination.add(line)
        while len(record.steps) > MOST_LINES:
            self.every = 2 * max(self.every, int(as_number(record.setup.get("every", 1))))
            record.steps[:] = [one for one in record.steps if is_measured(int(as_number(one["step"])), self.every)]
        if len(record.chunks) > MOST_LINES:
            record.chunks[:] = record.chunks[1::2]

    # -- the doctor ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Let the doctor look, and keep what it has to say that is new."""
        began = time.perf_counter()
        with suppress(Exception):  # a damaged record is no reason to show nothing
            self.alarms += [finding.to_json() for finding in self.examination.look()]
        self._look_after = time.perf_counter() + REST * (time.perf_counter() - began)

    def _examine(self, epoch: bool) -> bool:
        """Bring the findings up to date; whether they changed. The doctor looks when it does in the run itself: at the
        end of an epoch at which single units were looked at."""
        if self.how == "off":
            return False
        if self._due and epoch and time.perf_counter() >= self._look_after:
            self._due = False
            self._look()
        given = self.alarms
        if self.result is not None and self.place.findings.is_file():
            given = read_list(self.place.findings)
        else:
            with suppress(Exception):
                given = [f.to_json() for f in self.examination.given] + given
        found = told(given, self.how)
        changed, self.findings = found != self.findings, found
        return changed


def read_on(tail: Tail) -> tuple[bool, list[dict[str, Any]]]:
    """Everything up to the log's end."""
    anew, lines = tail.read()
    while tail.behind:
        again, more = tail.read()
        anew, lines = anew or again, more if again else lines + more
    return anew, lines


def looked_at(lines: list[dict[str, Any]]) -> list[int]:
    """The places of the epochs that follow upon a look at single units."""
    found, units = [], False
    for place, line in enumerate(lines):
        units = units or line.get("kind") == "units"
        if units and line.get("kind") == "epoch":
            found.append(place)
            units = False
    return found


def groups_of(layers: list[str], weights: list[str]) -> dict[str, dict[str, int | None]]:
    """The tables and their columns."""
    n, w = len(layers), len(weights)
    scores = ("epoch", "train", "sample", "validation", "sample_metric", "validation_metric")
    return {
        "epochs": dict.fromkeys(scores),
        "chunks": {"loss": None, "low": None, "high": None},
        "steps": {"loss": None, "rate": None, "activation": n, "gradient": n, "zero": n, "update": w},
        "units": {"dead": n, "saturated": n},
        "clock": {"elapsed": None, "speed": None},
    }


def row_of(line: dict[str, Any], metric: str) -> tuple[str, int, dict[str, Any]] | None:
    """(table, step, values) of a line of the record; None where it is of no table, or has no step."""
    step = as_number(line.get("step"))
    if not abs(step) < 2**53:
        return None

    def of(group: str, name: str) -> Any:
        found = line.get(group)
        return found.get(name) if isinstance(found, dict) else None

    kind, values = line.get("kind"), {}
    if kind == "epoch":
        values = {"epoch": line.get("epoch"), "train": of("train", "loss")}
        for part in ("sample", "validation"):
            values[part] = of(part, "loss")
            values[f"{part}_metric"] = of(part, metric) if metric != "loss" else None
    elif kind == "chunk":
        values = {"loss": of("loss", "mean"), "low": of("loss", "min"), "high": of("loss", "max")}
    elif kind == "step":
        values = {
            "loss": line.get("loss"), "rate": line.get("learning_rate"), "activation": of("activation", "rms"),
            "gradient": of("gradient", "rms"), "zero": of("activation", "zero"),
            "update": ratios(of("weight", "update"), of("weight", "rms")),
        }  # fmt: skip
    elif kind == "units":
        values = {"dead": line.get("dead"), "saturated": line.get("saturated")}
    else:
        return None
    return ("units" if kind == "units" else f"{kind}s"), int(step), values


def ratios(updates: Any, sizes: Any) -> list[float] | None:
    """How far an update moves each weight, as a share of its size."""
    if not isinstance(updates, list) or not isinstance(sizes, list) or len(updates) != len(sizes):
        return None
    pairs = zip(map(as_number, updates), map(as_number, sizes), strict=True)
    return [float(f"{u / s:.4g}") if s > 0 else float("nan") for u, s in pairs]


def scores_of(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the page shows of result.json."""
    if result is None:
        return None
    kept = ("task", "metric", "train", "validation", "test", "best_epoch", "epochs", "steps", "seconds", "stopped")
    return {key: result.get(key) for key in kept}
