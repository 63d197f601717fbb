"""What a training in the playground leaves behind: the doctor's record and the curves, thinned so that neither grows
without end however long a learner plays."""

from typing import Any

import numpy as np

from pellucid import files, outcome
from pellucid.data import baselines
from pellucid.doctor.diagnose import diagnose
from pellucid.preflight import preflight
from pellucid.session import Session, epoch_line
from pellucid.train.evaluate import Scores
from pellucid.train.loop import ChunkEnded, Event

POINTS = 400  # of a curve, about
EARLY = 30  # updates, before which nothing is said of how the training goes
UNSURE = ("stopped_too_early",)  # what is true of every training that still goes on ...
LONG = 1_000  # ... until it had this many updates
# a learner trains for as long as they please, and on few rows: of these nothing is to be said
NEVER = ("small_data",)
FIELDS = ("step", "train", "validation", "train_metric", "validation_metric")


class Notes:
    """`hear` each event, `point` the curves, ask for `findings`."""

    def __init__(self, session: Session, header: dict[str, Any]):
        self.session, self.examination = session, session.examination
        self.curves: dict[str, list[float]] = {name: [] for name in FIELDS}
        self.last = {"chunk": -1, "epoch": -1, "units": -1}
        self.metric = outcome.metric_name(session.settings.metric)
        self._preflight: list[Any] | None = None
        self._baselines: list[dict[str, Any]] | None = None
        del header  # the examination has it

    @property
    def _record(self) -> Any:
        return self.examination.record

    def told(self, **setup: Any) -> None:
        """What the doctor has to know of the run has changed."""
        self._record.setup.update(setup)

    def hear(self, event: Event) -> None:
        """Measured steps are kept all, for they become rarer by themselves; ends of chunks and epochs by the way."""
        for line in event.measured:
            if line["kind"] != "chunk" or self._due("chunk", event.step):
                self.examination.add(line)
        if not isinstance(event, ChunkEnded) and self._due("epoch", event.step):
            self.examination.add({"kind": "epoch", **files.finite(epoch_line(event, self.metric))})

    def _due(self, kind: str, step: int) -> bool:
        """Whether so much has gone by since the last line of the kind."""
        if step - self.last[kind] < max(1, step // POINTS):
            return False
        self.last[kind] = step
        return True

    def point(self, step: int, train: Scores, validation: Scores) -> None:
        """A point of the curves; of every two neighbours one goes, once there are too many."""
        curves = self.curves
        if curves["step"] and curves["step"][-1] == step:
            return
        values = (step, train.loss, validation.loss, train.metric, validation.metric)
        for name, value in zip(FIELDS, values, strict=True):
            curves[name].append(value)
        if len(curves["step"]) > 2 * POINTS:
            for name in FIELDS:
                curves[name] = curves[name][::2]

    def findings(self, scores: tuple[Scores, Scores], preflight_too: bool = True) -> list[dict[str, Any]]:
        """What the doctor would say if the training ended now."""
        if preflight_too and self._preflight is None:
            s = self.session
            found = preflight(s.network, s.prepared, s.settings, s.dataset)
            self._preflight = [f for f in found if f.problem not in NEVER]
        loop = self.session.loop
        if loop.units is not None and loop.step > 1.2 * self.last["units"]:
            self.last["units"] = loop.step
            line = {"kind": "units", "step": loop.step, **loop.units(loop.carry.params, loop.carry.state)}
            self.examination.add(line)
        given = self._preflight or []
        self.told(updates=max(loop.step, 1))
        if loop.step < EARLY and not loop.stopped:
            return [f.to_json() for f in given if f.alarm]
        silence = (*NEVER, *(UNSURE if loop.step < LONG else ()))
        result = self._result(scores) if preflight_too and loop.step >= LONG and not loop.stopped else {}
        with np.errstate(all="ignore"):
            return [f.to_json() for f in diagnose(self._record, result, given, silence)]

    def _result(self, scores: tuple[Scores, Scores]) -> dict[str, Any]:
        """The scores beside those of simple models on the same rows: without them nobody knows what can be reached."""
        s = self.session
        if self._baselines is None:
            self._baselines = baselines(s.prepared, s.settings.seed)
        parts = {"train": scores[0], "validation": scores[1]}
        return {
            "metric": self.metric, "baselines": self._baselines, "test": None,
            "rows": {name: len(getattr(s.prepared, name)) for name in parts},
            **{name: {"loss": one.loss, self.metric: one.metric} for name, one in parts.items()},
        }  # fmt: skip
