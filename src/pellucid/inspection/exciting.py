"""What excites the units of deeper layers most: the pieces of real images at which they answer strongest.

Of a convolution, the piece is as large as what the unit can see (its receptive field), where it answered; of a dense
layer it is the whole image. The units are those whose answers differ most from example to example. Zeiler & Fergus
2014; Girshick et al. 2014.
"""

from typing import Any

import numpy as np

from pellucid.inspection.examples import pixels
from pellucid.inspection.picture import data_url, strip
from pellucid.inspection.subject import Subject, rounded

UNITS, TOP = 8, 6
MOST_SIDE = 40  # pixels of a picture
WHOLE = 0.8  # of the image: a larger field is shown as the whole of it


def exciting(subject: Subject) -> dict[str, Any] | None:
    """{"layers": [{"layer", "field" (pixels, or None: the whole image), "units": [{"unit", "picture", "responses"}]}]};
    a picture holds the `TOP` pieces side by side, the strongest first."""
    if subject.grid is None or not subject.looked.peaks:
        return None
    layers = []
    for path, (value, at) in subject.looked.peaks.items():
        spread = np.nan_to_num(value).std(0)
        units = [int(u) for u in np.argsort(-spread, kind="stable")[:UNITS] if spread[u] > 0]
        field = _field(subject, path)
        shown = [_unit(subject, path, unit, value[:, unit], at[:, unit], field) for unit in units]
        if shown:
            layers.append({"layer": path, "field": field, "of": value.shape[1], "units": shown})
    return {"examples": len(subject.looked.x), "top": TOP, "layers": layers} if layers else None


def _unit(subject: Subject, path: str, unit: int, value: np.ndarray, at: np.ndarray, field: int | None) -> dict:
    best = np.argsort(-value, kind="stable")[:TOP]
    height, width = subject.looked.places[path]
    tiles = []
    for i in best:
        image = pixels(subject, np.asarray(subject.looked.x[i]), 10_000 if field else MOST_SIDE)
        if field:
            row, column = divmod(int(at[i]), width)
            image = piece(image, ((row + 0.5) / height, (column + 0.5) / width), field)
        tiles.append(image)
    return {
        "unit": unit, "picture": data_url(strip(tiles)), "responses": [rounded(value[i], 3) for i in best],
    }  # fmt: skip


def piece(image: np.ndarray, centre: tuple[float, float], field: int) -> np.ndarray:
    """[field, field, ...] around a place (shares of height and width), moved inward where it would leave the image.

    >>> piece(np.arange(16).reshape(4, 4), (0.0, 1.0), 2).tolist()
    [[2, 3], [6, 7]]
    """
    starts = []
    for share, side in zip(centre, image.shape[:2], strict=True):
        starts.append(min(max(round(share * side - field / 2), 0), max(side - field, 0)))
    return image[starts[0] : starts[0] + field, starts[1] : starts[1] + field]


def _field(subject: Subject, path: str) -> int | None:
    """How many pixels of the input on each side a unit of this layer sees; None where that is most of the image.

    Each window of `size` places adds (size - 1) * dilation places, as far apart in the input as the layer's places are.
    Of branches that run side by side, each counts, so that it may be told too large.
    """
    assert subject.grid is not None
    if subject.looked.places[path] == (1, 1):
        return None
    field, side = 1.0, max(subject.grid[:2])
    for leaf in subject.traced.leaves:
        size: Any = getattr(leaf.layer, "size", None)
        shape = getattr(leaf.x, "shape", ())
        if size is not None and len(shape) == 4:
            dilation: Any = getattr(leaf.layer, "dilation", 1)
            window = (np.max(size) - 1) * np.max(dilation)
            field += float(window) * side / max(shape[1:3])
        if leaf.path == path:
            break
    found = int(np.ceil(field))
    return found if found < WHOLE * min(subject.grid[:2]) else None
