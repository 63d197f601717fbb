"""Which pixels a decision hangs on: the size of the derivative of a class's score by each pixel of the input.

Simonyan, Vedaldi & Zisserman 2014: |d score / d pixel|, of the score before softmax, the largest of a pixel's channels.
Where pixels are columns of a table, each with a scale of its own, it is times the column's standard deviation: a pixel
that is hardly ever anything but 0 would outshine all others.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data.parts import strided
from pellucid.inspection.classified import classified
from pellucid.inspection.examples import pixels
from pellucid.inspection.picture import as_bytes, data_url, shrunk
from pellucid.inspection.subject import Subject, rounded
from pellucid.network.layer import Context, Layer

RIGHT, WRONG = 4, 4
MOST_SIDE = 48
MOST_WORK = 5_000_000_000  # operations of a forward pass for all of them; dearer networks are left out


def saliency(subject: Subject) -> dict[str, Any] | None:
    """{"examples": [{"true", "predicted", "right", "probability", "picture", "saliency"}]}: both pictures as data
    URLs, the saliency from black (0) to white (the largest of its picture)."""
    found = None if subject.grid is None else classified(subject)
    if found is None or subject.targets.steps or subject.operations * (RIGHT + WRONG) > MOST_WORK:
        return None
    wrong = np.flatnonzero(found.predicted != found.y)
    wrong = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:WRONG]
    right = np.flatnonzero(found.predicted == found.y)
    right = right[strided(len(right), RIGHT)] if len(right) else right
    picked = np.concatenate([right, wrong])
    if not len(picked):
        return None
    full = np.resize(picked, RIGHT + WRONG)  # one shape, one compilation
    x = np.asarray(subject.part.x[found.places[full]])
    params, state = subject.network._weights()
    sizes = np.asarray(gradient_sizes(subject.network.layer, params, state, x, found.predicted[full]))
    if x.ndim == 2:  # columns, each standardised by itself: as a usual change of each pixel would change the score
        sizes = sizes * np.asarray(subject.part.x, np.float32).std(axis=0)
    sizes = sizes.reshape(len(sizes), *subject.grid)  # type: ignore[misc]
    sizes = sizes.max(-1) if sizes.ndim == 4 else sizes  # [n, h, w, c] -> [n, h, w]
    return {"examples": [_shown(subject, found, int(i), sizes[k]) for k, i in enumerate(picked)], "part": subject.name}


def _shown(subject: Subject, found: Any, i: int, size: np.ndarray) -> dict[str, Any]:
    image = pixels(subject, np.asarray(subject.part.x[found.places[i]]), MOST_SIDE)
    shown = {
        "true": subject.labels[found.y[i]], "predicted": subject.labels[found.predicted[i]],
        "right": bool(found.predicted[i] == found.y[i]), "row": int(subject.part.rows[found.places[i]]),
        "picture": data_url(image), "saliency": data_url(shrunk(as_bytes(size, 0.0), MOST_SIDE)),
    }  # fmt: skip
    return {**shown, "probability": rounded(found.confidence[i])} if found.certain else shown


@partial(jax.jit, static_argnums=0)
def gradient_sizes(layer: Layer, params: Any, state: Any, x: Any, classes: Any) -> jax.Array:
    """|d score_c / d x| for each example: x [n, ...], classes [n] -> the shape of x. The score is the raw output of the
    class; of a single output, which is the second class's, the negative for the first."""
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)

    def score(x: jax.Array) -> jax.Array:
        outputs = Context(state=state).run(layer, params, x)
        outputs = outputs.reshape(outputs.shape[0], -1)
        if outputs.shape[1] == 1:
            return (outputs[:, 0] * jnp.where(classes == 1, 1.0, -1.0)).sum()
        return jnp.take_along_axis(outputs, classes[:, None], 1).sum()

    return jnp.abs(jax.grad(score)(x))
