"""Arrays as pictures, small enough to stand inside a page."""

import base64
import io

import numpy as np
from PIL import Image

GREY, COLOUR = 1, 3
PHOTO = 1500  # numbers of a colour picture, beyond which it is kept as JPEG: a third of a PNG's size


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an encoded example of this shape can be shown: [height, width] or [height, width, 1 or 3].

    >>> is_image((28, 28)), is_image((28, 28, 1)), is_image((8, 3)), is_image((64,))
    (True, True, False, False)
    """
    if len(shape) == 3:
        return shape[2] in (GREY, COLOUR)
    return len(shape) == 2 and min(shape) >= 4


def data_url(pixels: np.ndarray) -> str:
    """uint8 [height, width] or [height, width, 3] as a PNG in an address; a larger one in colour as a JPEG.

    >>> data_url(np.zeros((2, 2), np.uint8))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    pixels = np.asarray(pixels, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == GREY:
        pixels = pixels[:, :, 0]
    buffer = io.BytesIO()
    photo = pixels.ndim == 3 and pixels.size > PHOTO
    if photo:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    else:
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/{'jpeg' if photo else 'png'};base64," + base64.b64encode(buffer.getvalue()).decode()


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


def shrunk(pixels: np.ndarray, most: int) -> np.ndarray:
    """The picture with neither side longer than `most`, by means over what falls together.

    >>> shrunk(np.zeros((100, 50), np.uint8), 20).shape
    (20, 10)
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= most:
        return pixels
    scale = most / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def enlarged(pixels: np.ndarray, least: int) -> np.ndarray:
    """The picture with every pixel repeated, so that the shorter side has `least` places or more.

    >>> enlarged(np.array([[1, 2]], np.uint8), 2).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    times = -(-least // min(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else pixels


def strip(tiles: list[np.ndarray], gap: int = 1) -> np.ndarray:
    """Pictures of one size side by side, `gap` grey places between them.

    >>> strip([np.zeros((2, 2), np.uint8)] * 3).shape
    (2, 8)
    """
    between = np.full((tiles[0].shape[0], gap, *tiles[0].shape[2:]), 128, np.uint8)
    parts = [part for tile in tiles for part in (between, tile)][1:]
    return np.concatenate(parts, axis=1)
