"""What excites the units of deeper layers most: the pieces of real images at which they answer strongest.

Of a convolution, the piece is as large as what the unit can see (its receptive field), where it answered; of a dense
layer it is the whole image. The units are those whose answers differ most from example to example. Zeiler & Fergus
2014; Girshick et al. 2014.
"""

from typing import Any

import numpy as np

from pellucid.inspection.examples import pixels
from pellucid.inspection.picture import data_url, enlarged, shrunk, strip
from pellucid.inspection.receptive import Field, receptive_field
from pellucid.inspection.subject import Subject, rounded

UNITS, TOP = 8, 6
LEAST_SIDE, MOST_SIDE = 16, 40  # pixels of a picture
WHOLE = 0.8  # of the image: a larger field is shown as the whole of it


def exciting(subject: Subject) -> dict[str, Any] | None:
    """{"layers": [{"layer", "field" ([height, width] in pixels, or None: the whole image), "units": [{"unit",
    "picture", "responses"}]}]}; a picture holds the `TOP` pieces side by side, the strongest first."""
    if subject.grid is None or not subject.looked.peaks:
        return None
    layers = []
    for path, (value, at) in subject.looked.peaks.items():
        spread = np.nan_to_num(value).std(0)
        units = [int(u) for u in np.argsort(-spread, kind="stable")[:UNITS] if spread[u] > 0]
        field = _field(subject, path)
        width = subject.looked.places[path][1]
        shown = [_unit(subject, unit, value[:, unit], at[:, unit], field, width) for unit in units]
        if shown:
            layers.append(
                {"layer": path, "field": list(field.size) if field else None, "of": value.shape[1], "units": shown}
            )
    return {"examples": len(subject.looked.x), "top": TOP, "layers": layers} if layers else None


def _unit(
    subject: Subject, unit: int, value: np.ndarray, at: np.ndarray, field: Field | None, width: int
) -> dict[str, Any]:
    best = np.argsort(-value, kind="stable")[:TOP]
    tiles = []
    for i in best:
        image = pixels(subject, np.asarray(subject.looked.x[i]), 10_000 if field else MOST_SIDE)
        if field:
            row, column = divmod(int(at[i]), width)
            image = shrunk(piece(image, field.start((row, column)), field.size), MOST_SIDE)
        tiles.append(enlarged(image, LEAST_SIDE))
    return {
        "unit": unit, "picture": data_url(strip(tiles)), "responses": [rounded(value[i], 3) for i in best],
    }  # fmt: skip


def piece(image: np.ndarray, start: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """[*size, ...] from a place on, moved inward where it would leave the image.

    >>> piece(np.arange(16).reshape(4, 4), (-1, 3), (2, 2)).tolist()
    [[2, 3], [6, 7]]
    """
    top, left = (min(max(s, 0), max(side - n, 0)) for s, side, n in zip(start, image.shape, size, strict=False))
    return image[top : top + size[0], left : left + size[1]]


def _field(subject: Subject, path: str) -> Field | None:
    """None where a unit sees most of the image, or all of it."""
    assert subject.grid is not None
    if subject.looked.places[path] == (1, 1):
        return None
    field = receptive_field(subject.traced.leaves, path)
    shares = [n / side for n, side in zip(field.size, subject.grid, strict=False)] if field else []
    return field if shares and max(shares) <= WHOLE else None
