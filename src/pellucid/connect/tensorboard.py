"""A run for TensorBoard: losses, metrics, the learning rate, and what every layer does, as event files.

    pc.fit(net, data, callbacks=[pc.connect.tensorboard.TensorBoard()])
    tensorboard --logdir runs

The command line's `train --tensorboard` does the same. No TensorBoard is needed to write them. They say nothing that
the record does not, and nothing of the training depends on them: so they are an option of a run, and no recipe's.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pellucid.errors import SettingError
from pellucid.session import Callback, Session
from pellucid.signals.event_writer import EventWriter
from pellucid.train.loop import ChunkEnded, EpochEnded

FOLDER = "tensorboard"  # in the run's own


class TensorBoard(Callback):
    """Writes event files while a run goes on. folder: where to; default: `tensorboard` in the run's own folder.

    Tags: `loss/train`, `loss/validation` and the metric likewise, at each epoch's end; `learning_rate`; at the measured
    steps `batch/loss`, the root mean squares of what leaves each layer and of the gradient that reaches it
    (`activation/LAYER`, `gradient/LAYER`), and of each weight the norm of its gradient and of its update
    (`gradient_norm/WEIGHT`, `update_norm/WEIGHT`). The x axis counts updates. A resumed run appends a file.

    Raises `SettingError` for a run that is kept in memory, where no folder is given.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = None if folder is None else Path(folder)
        self.writer: EventWriter | None = None

    def started(self, session: Session) -> None:
        place = session.place
        if self.folder is None and place is None:
            raise SettingError(
                "a run in memory has no folder for TensorBoard's files", where="TensorBoard()",
                expected="a folder", fix='TensorBoard("logs"), or a run of its own folder: fit(..., out="runs")',
            )  # fmt: skip
        folder = self.folder or place.path / FOLDER if place is not None else self.folder
        assert folder is not None
        self.layers = list(session.loop.kinds)
        self.sizes = {name: value.size for name, value in session.loop.carry.params.items()}
        self.metric = session.settings.metric.name if session.settings.metric is not None else "loss"
        # what is measured at this very step is written anew, alike; its epoch's end may not be
        step = session.loop.step
        self.writer = EventWriter(folder, step + 1 if step else None)

    def chunk_ended(self, event: ChunkEnded) -> None:
        self._measured(event.measured)

    def epoch_ended(self, event: EpochEnded) -> None:
        self._measured(event.measured)
        values = [("loss/learning", event.loss), ("learning_rate", event.learning_rate)]
        for part, scores in (("train", event.sample), ("validation", event.validation)):
            if scores is not None:
                values += [(f"{name}/{part}", float(v)) for name, v in scores.to_json(self.metric).items()]
        if self.writer is not None:
            self.writer.scalars(event.step, values)

    def _measured(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["kind"] == "step" and self.writer is not None:
                self.writer.scalars(line["step"], self._step(line))

    def _step(self, line: dict[str, Any]) -> Iterator[tuple[str, float]]:
        if "loss" in line:
            yield "batch/loss", float(line["loss"])
        for group in ("activation", "gradient"):
            for name, value in zip(self.layers, line[group]["rms"], strict=True):
                yield f"{group}/{name}", float(value)
        for key in ("gradient", "update"):
            for (name, size), value in zip(self.sizes.items(), line["weight"][key], strict=True):
                yield f"{key}_norm/{name}", float(value) * math.sqrt(size)
