"""How fast a run goes, from its clock log: time spent, examples a second, time left, and what it is at."""

from collections import deque
from typing import Any

from pellucid.web.table import Table, as_number

STAGES = {"paused": "paused", "continued": "running", "scoring": "scoring"}  # by the line that tells of it
RECENT = 10.0  # seconds of training that the speed is taken from


class Pace:
    """`add` each line of clock.jsonl."""

    def __init__(self) -> None:
        self.elapsed, self.step, self.at, self.lines = 0.0, 0, 0.0, 0
        self.stage = "running"
        self._recent: deque[tuple[int, float]] = deque()  # (updates, seconds) of the last lines, and their sums:
        self._steps, self._seconds = 0, 0.0

    def add(self, line: dict[str, Any], setup: dict[str, Any], table: Table) -> None:
        kind, step, seconds = line.get("kind"), as_number(line.get("step")), as_number(line.get("seconds"))
        self.at = max(self.at, as_number(line.get("time")) if "time" in line else 0.0)
        self.stage = STAGES.get(str(kind), self.stage)
        if kind not in ("chunk", "epoch") or not (seconds >= 0 and 0 <= step < 2**53):
            return
        self.stage, self.step = "running", int(step)
        self.elapsed += seconds
        steps = as_number(line.get("steps")) if kind == "chunk" else 0.0
        steps = int(steps) if 0 <= steps < 2**53 else 0
        self.lines += 1
        if self.lines > 2:  # in the first chunk, and at the first epoch's end, XLA compiles
            self._recent.append((steps, seconds))
            self._steps, self._seconds = self._steps + steps, self._seconds + seconds
            while len(self._recent) > 2 and self._seconds > RECENT:
                old = self._recent.popleft()
                self._steps, self._seconds = self._steps - old[0], self._seconds - old[1]
        if kind == "chunk":
            speed = self.speed(setup)
            table.add(self.step, {"elapsed": round(self.elapsed, 3), "speed": speed})

    @property
    def updates_a_second(self) -> float | None:
        """Updates a second lately, with what comes between them."""
        return self._steps / self._seconds if self._steps and self._seconds > 0 else None

    def speed(self, setup: dict[str, Any]) -> float | None:
        """Examples a second."""
        updates, batch = self.updates_a_second, as_number(setup.get("batch"))
        return None if updates is None or not batch > 0 else round(updates * batch, 1)

    def now(self, setup: dict[str, Any], finished: dict[str, Any] | None) -> dict[str, Any]:
        """left: seconds until the budget of updates is used up; a run may well end before."""
        total, updates = as_number(setup.get("updates")), self.updates_a_second
        total = int(total) if 0 < total < 2**53 else None
        left = None
        if total is not None and updates and finished is None and self.stage != "scoring":
            left = round(max(total - self.step, 0) / updates, 1)
        return {
            "step": self.step, "total": total, "elapsed": round(self.elapsed, 2), "left": left,
            "speed": self.speed(setup), "at": self.at or None,
        }  # fmt: skip
