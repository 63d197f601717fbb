"""Arrays as pictures, small enough to stand inside a page."""

import base64
import io

import numpy as np
from PIL import Image

GREY, COLOUR = 1, 3


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an encoded example of this shape can be shown: [height, width] or [height, width, 1 or 3].

    >>> is_image((28, 28)), is_image((28, 28, 1)), is_image((8, 3)), is_image((64,))
    (True, True, False, False)
    """
    if len(shape) == 3:
        return shape[2] in (GREY, COLOUR)
    return len(shape) == 2 and min(shape) >= 4


def data_url(pixels: np.ndarray) -> str:
    """uint8 [height, width] or [height, width, 3] as a PNG in an address.

    >>> data_url(np.zeros((2, 2), np.uint8))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    pixels = np.asarray(pixels, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == GREY:
        pixels = pixels[:, :, 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_bytes(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Numbers as uint8, `low` (default: the least) black and `high` (the largest) white; not finite: black.

    >>> as_bytes(np.array([[-1.0, 0.0, 1.0]])).tolist()
    [[0, 128, 255]]
    """
    values = np.asarray(values, np.float64)
    known = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([0.0, 1.0])
    low, high = (float(known.min()) if low is None else low), (float(known.max()) if high is None else high)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return np.clip(np.round(scaled * 255), 0, 255).astype(np.uint8)
