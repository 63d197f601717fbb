"""What float32 can hold, and how to bring a column into its reach."""

from __future__ import annotations

import numpy as np

LARGEST_FLOAT32 = 3.4e38  # a little less than the largest, so that rounding to float32 cannot overflow


def float32_frame(known: np.ndarray) -> tuple[float, float]:
    """(offset, unit) to take off in float64 so that float32 keeps the column's spread; (0, 1) for ordinary columns.

    float32 has 24 bits: where the mean is more than 1,000 times the spread, fewer than 14 would be left for the latter.

    >>> float32_frame(np.array([1.0, 2.0, 4.0]))
    (0.0, 1.0)
    >>> float32_frame(np.array([1e9, 1e9 + 1.0]))
    (1000000000.5, 1.0)
    """
    if not len(known):
        return 0.0, 1.0
    largest = float(np.abs(known).max())
    down = known / largest if largest > 0 else known  # so that nothing overflows on the way
    mean = float(down.mean())
    spread = float((down - mean).std()) * largest
    mean *= largest
    offset = mean if spread > 0 and abs(mean) > 1000 * spread else 0.0
    unit = 1.0
    if largest > 1e30 or 0 < spread < 1e-30:
        unit = spread if spread > 0 else largest
    return offset, unit


def in_frame(values: np.ndarray, offset: float | np.ndarray, unit: float | np.ndarray) -> np.ndarray:
    """(values - offset) / unit in float64; what even that cannot hold becomes infinite, which counts as missing."""
    with np.errstate(over="ignore"):
        return (values.astype(np.float64) - offset) / unit
