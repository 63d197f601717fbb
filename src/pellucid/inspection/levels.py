"""Matrices of numbers as bytes, for a page that colours them itself."""

import base64
import math
from typing import Any

import numpy as np

MOST_ROWS, MOST_COLUMNS = 48, 96  # of one picture


def levels(values: np.ndarray, low: float, high: float) -> dict[str, Any]:
    """[h, w] as {"w", "h", "levels": base64 of bytes row by row}: `low` is 0 and `high` 255; not finite: 255.

    >>> levels(np.array([[-1.0, 1.0]]), -1, 1)
    {'w': 2, 'h': 1, 'levels': 'AP8='}
    """
    span = (high - low) or 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.nan_to_num((np.asarray(values, np.float64) - low) / span * 255, nan=255, posinf=255, neginf=0)
    data = np.clip(np.round(scaled), 0, 255).astype(np.uint8)
    return {"w": data.shape[1], "h": data.shape[0], "levels": packed(data)}


def packed(data: Any) -> str:
    """Bytes, or what fits into them, as base64."""
    return base64.b64encode(np.asarray(data, np.uint8).tobytes()).decode()


def bounds(values: np.ndarray) -> tuple[float, float]:
    """(low, high) of a scale: as far below zero as above where both are met, else from zero on.

    >>> bounds(np.array([-1.0, 3.0])), bounds(np.array([0.0, 3.0]))
    ((-3.0, 3.0), (0.0, 3.0))
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    most = float(np.abs(known).max()) if known.size else 0.0
    return (-most if known.size and known.min() < 0 else 0.0), most


def shrunk(values: np.ndarray, rows: int = MOST_ROWS, columns: int = MOST_COLUMNS) -> np.ndarray:
    """At most so many rows and columns of a matrix, evenly chosen."""
    for axis, most in enumerate((rows, columns)):
        if values.shape[axis] > most:
            chosen = np.linspace(0, values.shape[axis] - 1, most).round().astype(int)
            values = values.take(chosen, axis)
    return values


def folded(values: np.ndarray, width: int = 32) -> np.ndarray:
    """[n] as rows of `width`, NaN where the last one is not full.

    >>> folded(np.arange(3.0), 2).tolist()
    [[0.0, 1.0], [2.0, nan]]
    """
    width = min(width, max(len(values), 1))
    out = np.full(math.ceil(max(len(values), 1) / width) * width, np.nan)
    out[: len(values)] = values
    return out.reshape(-1, width)
