"""What the first layer looks for: the kernels of a convolution, or the weights of each unit of a dense layer laid out
as the image that they are multiplied with. Zeiler & Fergus 2014; Krizhevsky et al. 2012, figure 3.
"""

from typing import Any

import numpy as np

from pellucid.inspection.picture import as_bytes, data_url, shrunk
from pellucid.inspection.subject import Subject, rounded
from pellucid.network.layer import Leaf, flatten

MOST_FILTERS, MOST_UNITS = 64, 32
MOST_SIDE = 48
BEFORE = ("input", "flatten", "grey", "dropout", "identity")  # what may stand before the layer that sees the image


def filters(subject: Subject) -> dict[str, Any] | None:
    """{"layer", "kind", "height", "width", "scale", "pictures": [{"unit", "picture"}], "more"}.

    Middle grey is 0, white `scale` (the largest weight of all), black -scale; of three channels each in its colour.
    """
    leaf = None if subject.grid is None else _first(subject)
    if leaf is None or subject.grid is None:
        return None
    w = np.asarray(flatten(subject.network.params or {})[f"{leaf.path}/w" if leaf.path else "w"], np.float64)
    if leaf.layer.name == "conv":
        images = np.moveaxis(w, -1, 0)  # [h, w, c, units] -> [units, h, w, c]
    else:
        images = w.T.reshape(-1, *subject.grid)  # [h * w * c, units] -> [units, h, w, c]
    most = MOST_FILTERS if leaf.layer.name == "conv" else MOST_UNITS
    sizes = np.square(images).reshape(len(images), -1).sum(1)
    units = np.sort(np.argsort(-sizes, kind="stable")[:most])  # the largest, in their order
    scale = float(np.abs(images[units]).max()) or 1.0
    return {
        "layer": leaf.path, "kind": leaf.layer.name, "height": images.shape[1], "width": images.shape[2],
        "scale": rounded(scale), "more": len(images) - len(units),
        "pictures": [{"unit": int(i), "picture": data_url(picture_of(images[i], scale))} for i in units],
    }  # fmt: skip


def picture_of(weights: np.ndarray, scale: float) -> np.ndarray:
    """[h, w] or [h, w, 1 or 3] as bytes, -scale black and scale white.

    >>> picture_of(np.array([[-2.0, 0.0, 2.0]]), 2.0).tolist()
    [[0, 128, 255]]
    """
    weights = weights[..., 0] if weights.ndim == 3 and weights.shape[2] == 1 else weights
    return shrunk(as_bytes(weights, -scale, scale), MOST_SIDE)


def _first(subject: Subject) -> Leaf | None:
    """The first layer with weights, where it is a convolution of 1 or 3 channels or a dense layer that sees pixels."""
    assert subject.grid is not None
    for leaf in subject.traced.leaves:
        if leaf.layer.name in BEFORE:
            continue
        shape = getattr(leaf.x, "shape", ())
        if leaf.layer.name == "conv" and len(shape) == 4 and shape[-1] in (1, 3) and leaf.layer.groups == 1:  # type: ignore[attr-defined]
            return leaf
        if leaf.layer.name in ("dense", "output") and shape[1:] == (int(np.prod(subject.grid)),):
            return leaf
        return None
    return None
