"""Scores of a network on a part of the data, computed in blocks of one shape: bounded memory, one compilation."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from pellucid.data import Part
from pellucid.network.layer import Layer, nest
from pellucid.network.link import Link
from pellucid.network.network import forward
from pellucid.network.rows import pad_rows, power_of_two
from pellucid.network.trace import block_rows, carried_over
from pellucid.train import mesh as meshes
from pellucid.train.loss import Loss
from pellucid.train.losses import Joint
from pellucid.train.metrics import Metric
from pellucid.train.step import evaluate_block, zeros_like

STREAMS = 32  # places of a text that are read at once; more would begin more often without a past
KEPT = 10_000  # rows; a part of up to so many, which is scored every epoch, stays on the device ...
KEPT_BYTES = 1 << 28  # ... unless it is larger than this


class Scores(NamedTuple):
    """The mean loss per example and the metric."""

    loss: float
    metric: float

    def to_json(self, metric: str) -> dict[str, float]:
        return {"loss": self.loss, metric: self.metric} if metric != "loss" else {"loss": self.loss}


def link_of(loss: Loss) -> Link:
    """What turns raw outputs into probabilities or values, in the form that a network keeps."""
    if isinstance(loss, Joint):
        return tuple((str(link_of(part)), start, stop) for part, start, stop in loss.parts)
    return "identity" if getattr(loss, "from_probabilities", False) else loss.link


class Evaluator:
    """`evaluator(params, state, part) -> Scores`; params flat by path, as the loop holds them. Without a metric, the
    loss stands in its place.

    streams: the part's rows are the pieces of one text in order; it is read in several places at once, and recurrent
    layers carry their state from each piece to the next, as in training.
    """

    def __init__(self, layer: Layer, loss: Loss, metric: Metric | None, *, streams: bool = False, mesh: Any = None):
        self.layer, self.loss, self.metric, self.streams, self.mesh = layer, loss, metric, streams, mesh
        self.streamed = metric if metric is not None and metric.additive else None
        self._kept: dict[int, tuple[Part, list[Any]]] = {}  # by id; the part is held too, so that its id stays its own

    def __call__(self, params: dict[str, Any], state: Any, part: Part) -> Scores:
        if not len(part.y):
            return Scores(float("nan"), float("nan"))
        total: Any = None
        carried: Any = None
        for x, y, weight in self._on_device(part):
            if self.streams and carried is None:
                carried = zeros_like(carried_over(self.layer, jax.ShapeDtypeStruct(x.shape, x.dtype)))
                carried = self._placed(carried)
            with meshes.on(self.mesh):
                sums, carried = evaluate_block(
                    self.layer, self.loss, self.streamed, params, state, x, y, weight, carried if self.streams else None
                )
            sums = jax.tree.map(np.float64, jax.tree.map(meshes.fetch, sums) if self.mesh else jax.device_get(sums))
            total = sums if total is None else jax.tree.map(np.add, total, sums)
        loss, weight, metric = total
        mean = float(loss / weight) if weight > 0 else float("nan")
        if self.metric is None:
            return Scores(mean, mean)
        if self.streamed is not None:
            return Scores(mean, float(self.streamed.result(metric)))
        outputs = self.outputs(params, state, part)
        return Scores(mean, float(self.metric(outputs, part.y, part.weight)))

    def outputs(self, params: dict[str, Any], state: Any, part: Part) -> np.ndarray:
        """Outputs through the link, [n, width]; each row stands alone."""
        nested, link = nest(params), link_of(self.loss)
        blocks = []
        for x, _, weight in self._blocks(part, filler=-1.0):
            with meshes.on(self.mesh):
                y = forward(self.layer, nested, state, self._placed(x), link)
            blocks.append(meshes.fetch(y)[: int((weight >= 0).sum())])
        return np.concatenate(blocks)

    def _placed(self, block: Any) -> Any:
        """A block of rows, divided among the devices of a mesh."""
        mesh = self.mesh
        return block if mesh is None else jax.tree.map(lambda a: meshes.put(meshes.by_rows(mesh), np.asarray(a)), block)

    def _on_device(self, part: Part) -> Any:
        blocks = self._pieces(part) if self.streams else self._blocks(part)
        if self.mesh is not None:
            blocks = map(self._placed, blocks)
        if len(part.y) > KEPT or math.prod(part.x.shape) * np.dtype(part.x.dtype).itemsize > KEPT_BYTES:
            return blocks
        if id(part) not in self._kept:
            self._kept[id(part)] = part, [block if self.mesh else jax.device_put(block) for block in blocks]
        return self._kept[id(part)][1]

    def _size(self, part: Part) -> int:
        example = jax.ShapeDtypeStruct((1, *part.x.shape[1:]), part.x.dtype)
        return self._even(min(block_rows(self.layer, example), power_of_two(len(part.y))))

    def _even(self, size: int) -> int:
        """A size that the devices of a mesh divide."""
        return size if self.mesh is None else -(-size // self.mesh.size) * self.mesh.size

    def _blocks(self, part: Part, filler: float = 0.0):
        n, size = len(part.y), self._size(part)
        for start in range(0, n, size):
            rows = slice(start, start + size)
            x, real = pad_rows(part.x[rows], size)
            y, _ = pad_rows(part.y[rows], size)
            weight = np.full(size, filler, np.float32)
            weight[:real] = 1.0 if part.weight is None else part.weight[rows]
            yield x, y, weight

    def _pieces(self, part: Part):
        """The pieces of a text, read in `size` places at once: row i of each block goes on where it ended before."""
        n, size = len(part.y), min(self._size(part), self._even(STREAMS))
        length = -(-n // size)
        for place in range(length):
            rows = np.arange(size) * length + place
            weight = (rows < n).astype(np.float32)
            rows = np.minimum(rows, n - 1)
            yield part.x[rows], part.y[rows], weight
