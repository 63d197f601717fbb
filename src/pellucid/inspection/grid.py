"""Which sets hold images: arrays of pixels, and rows of numbers whose names say where each pixel lies."""

import re

from pellucid.data import Features
from pellucid.inspection.picture import is_image

LEAST = 16  # pixels


def grid_of(features: Features) -> tuple[int, ...] | None:
    """(height, width) or (height, width, channels), where an encoded example can be shown as a picture; else None."""
    shape = tuple(features.shape)
    if features.vocabulary is not None:
        return None
    if len(shape) == 3:
        return shape if is_image(shape) else None
    if len(shape) == 2:
        return shape if features.dtype == "uint8" and is_image(shape) else None
    if features.dtype == "uint8" and features.per == "all":  # rows of bytes, 64 or more: a square, if they are one
        return _square(shape[0])
    return grid_of_names(features.names)


def grid_of_names(names: tuple[str, ...]) -> tuple[int, int] | None:
    """(height, width) where names count through the places of a picture row by row: pixel_0_0, pixel_0_1, ... or 1x1,
    1x2, ... or pixel0, pixel1, ... of a square.

    >>> grid_of_names(tuple(f"pixel_{i}_{j}" for i in range(4) for j in range(5)))
    (4, 5)
    >>> grid_of_names(("a", "b"))
    """
    places = [re.fullmatch(r"\D*?(\d+)[_x,](\d+)", name) for name in names]
    if len(names) >= LEAST and all(places):
        at = [(int(m.group(1)), int(m.group(2))) for m in places if m]
        (top, left), (bottom, right) = at[0], at[-1]
        wanted = [(i, j) for i in range(top, bottom + 1) for j in range(left, right + 1)]
        return (bottom - top + 1, right - left + 1) if at == wanted and bottom > top and right > left else None
    counted = [re.fullmatch(r"(?:pixel|px|p)_?(\d+)", name) for name in names]
    if len(names) >= LEAST and all(counted):
        numbers = [int(m.group(1)) for m in counted if m]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return _square(len(names))
    return None


def _square(n: int) -> tuple[int, int] | None:
    side = round(n**0.5)
    return (side, side) if side * side == n and n >= LEAST else None
