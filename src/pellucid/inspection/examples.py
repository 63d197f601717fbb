"""One example as plain values that a page can show: a picture, a text, a short series, or the row's own columns."""

from typing import Any

import numpy as np

from pellucid.data.dataset import is_table
from pellucid.data.lazy import Rows
from pellucid.data.parts import strided
from pellucid.inspection.picture import as_bytes, data_url, shrunk
from pellucid.inspection.subject import Subject, rounded

MOST_SIDE = 64  # pixels of a picture
MOST_COLUMNS = 12
MOST_CHARACTERS = 240
MOST_STEPS, MOST_SERIES = 60, 3


def example(subject: Subject, row: int) -> dict[str, Any]:
    """{"kind": "image", "picture"} or {"kind": "text", "text"} or {"kind": "series", "series"} or {"kind": "row",
    "columns": [[name, value], ...], "more": how many columns are not told}, and "row", its number in the set."""
    found: dict[str, Any] = {"row": int(subject.part.rows[row])}
    x = np.asarray(subject.part.x[row])
    if subject.grid is not None:
        return {"kind": "image", "picture": data_url(pixels(subject, x)), **found}
    if subject.prepared.features.vocabulary is not None:
        return {"kind": "text", "text": text_of(subject, x), **found}
    if x.ndim == 2:
        return {"kind": "series", "series": _series(x), **found}
    columns = _own_columns(subject, int(subject.part.rows[row])) or _encoded(subject, x)
    return {"kind": "row", "columns": columns[:MOST_COLUMNS], "more": max(len(columns) - MOST_COLUMNS, 0), **found}


def pixels(subject: Subject, x: np.ndarray, most: int = MOST_SIDE) -> np.ndarray:
    """An encoded image as bytes [height, width] or [height, width, 3], at most `most` on each side."""
    assert subject.grid is not None
    x = x.reshape(subject.grid)
    x = x[..., 0] if x.ndim == 3 and x.shape[2] == 1 else x
    return shrunk(x if x.dtype == np.uint8 else as_bytes(x, *_range(subject)), most)


def _range(subject: Subject) -> tuple[float, float]:
    """Of the numbers that pixels are, as a sample of the training rows has them."""
    some = np.asarray(subject.prepared.train.x[strided(len(subject.prepared.train), 200)])
    return float(some.min()), float(some.max())


def text_of(subject: Subject, ids: np.ndarray) -> str:
    """The text of padded ids; of pairs, the source's."""
    encoder: Any = subject.prepared.features.encoder
    ids = ids if encoder.source_steps is None else ids[: encoder.source_steps]
    text = encoder.tokenizer.decode(ids.tolist())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _series(x: np.ndarray) -> list[list[float]]:
    """[steps, d] as a few lines, without what only fills up."""
    x = x[~np.isnan(x).all(1)] if x.dtype.kind == "f" else x
    x = x[strided(len(x), MOST_STEPS)] if len(x) else x
    return [[rounded(v, 3) for v in x[:, i]] for i in range(min(x.shape[1], MOST_SERIES))]


def _own_columns(subject: Subject, row: int) -> list[list[str]]:
    """The columns of the set as it came that the network reads, or nothing where it is not known."""
    raw, features = subject.raw, subject.prepared.features
    if raw is None:
        return []
    if is_table(raw.x):
        names = [name for name in getattr(features.encoder, "inputs", ()) if name in raw.x.columns]
        one = raw.x[row : row + 1]
        return [[name, said(one[name][0])] for name in names]
    if isinstance(raw.x, np.ndarray | Rows) and raw.x.ndim == 2:
        return [[name, said(value)] for name, value in zip(features.names, raw.x[row], strict=False)]
    return []


def _encoded(subject: Subject, x: np.ndarray) -> list[list[str]]:
    names = subject.prepared.features.names or tuple(f"x{i + 1}" for i in range(x.size))
    return [[name, said(value)] for name, value in zip(names, x.reshape(-1), strict=False)]


def said(value: Any) -> str:
    """A value of a table as a person reads it.

    >>> said(0.1 + 0.2), said(None), said("blue")
    ('0.3', 'missing', 'blue')
    """
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "missing"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value)[:80]
