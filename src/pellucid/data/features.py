"""Features: the fitted way from raw rows to the numbers a network takes in; it is saved with the network.

Standardisation is not done here but by the network's input layer, as (x - mean) / scale with the `mean` and `scale`
found here: images so stay `uint8` until they are on the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.array_encoder import ArrayEncoder
from pellucid.data.dataset import frame_like, is_table, is_texts
from pellucid.data.image_files import read_images
from pellucid.data.lazy import OnDisk, Rows
from pellucid.data.moments import moments, row_chunks
from pellucid.data.sequences import Sequences
from pellucid.errors import DataError, PellucidWarning

if TYPE_CHECKING:
    import polars as pl

    from pellucid.data.sequence_encoder import SequenceEncoder
    from pellucid.data.table_encoder import TableEncoder
    from pellucid.data.token_encoder import TokenEncoder


@dataclass(frozen=True, eq=False)
class Features:
    """What arrives at a network: shape and type without the batch axis, names, and standardisation.

    `mean` and `scale` (float64; shape `[d]` for `per` "feature", `[c]` for "channel", `[]` for "all") are those of the
    training rows; columns of 0 and 1 and constant ones have mean 0 or their value, and scale 1.

    >>> f, notes = Features.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> f.shape, f.dtype, f.per, f.mean.tolist(), f.scale.tolist()
    ((2,), 'float32', 'feature', [2.0, 5.0], [1.0, 1.0])
    >>> Features.from_json(f.to_json()).transform(np.array([[2, 4]])).tolist()
    [[2.0, 4.0]]
    """

    encoder: ArrayEncoder | TableEncoder | TokenEncoder | SequenceEncoder
    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...]
    per: str
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(
        cls, x: Any, rows: np.ndarray | None = None, *, names: Any = None, standardize: bool = True, left_out: Any = (),
        context: int | None = None, tokens: str | None = None,
    ) -> tuple[Features, list[str]]:  # fmt: skip
        """Fit on rows `rows` of `x` (all of them by default); gives the features and notes on what was done.

        `left_out` names columns that are not to be features. `context` (how many steps at most) and `tokens` (their
        kind) are for texts, `context` for sequences too. Raises `DataError` where nothing usable is left.
        """
        rows = np.arange(len(x)) if rows is None else rows
        if is_texts(x):
            from pellucid.data.token_encoder import TokenEncoder

            encoder, notes = TokenEncoder.fit(x, rows, column=names and names[0], context=context, tokens=tokens)
            return cls(encoder, (encoder.steps,), encoder.dtype, (), "all", np.zeros(()), np.ones(())), notes
        if isinstance(x, Sequences):
            from pellucid.data.sequence_encoder import SequenceEncoder

            encoder, notes = SequenceEncoder.fit(x, rows, context)
            made = cls(encoder, encoder.shape, "float32", encoder.names, "channel", np.empty(0), np.empty(0))
            mean, scale = encoder.moments(x, rows) if standardize else _identity(made)
            return replace(made, mean=mean, scale=scale), notes
        if is_table(x):
            from pellucid.data.table_encoder import TableEncoder

            encoder, notes = TableEncoder.fit(x, rows)
            made = cls(encoder, (len(encoder.names),), "float32", encoder.names, "feature", np.empty(0), np.empty(0))
            plain = ~np.array(encoder.standardised, dtype=bool)
        else:
            encoder, notes = _fit_array(x, rows, names)
            made = cls(encoder, encoder.shape, encoder.dtype, encoder.names, _per(x), np.empty(0), np.empty(0))
            plain = np.array(encoder.plain, dtype=bool)
        encoded = isinstance(x, OnDisk) and not isinstance(x, Rows)
        x = made.on_disk(x, "training")[0] if encoded else x
        mean, scale = _standardisation(made, x, rows, encoded) if standardize else _identity(made)
        if made.per == "feature":
            mean, scale = np.where(plain, 0.0, mean), np.where(plain, 1.0, scale)
        return replace(made, mean=mean, scale=scale), notes

    @property
    def vocabulary(self) -> int | None:
        """How many token ids there are, where ids arrive."""
        return getattr(self.encoder, "vocabulary", None)

    @property
    def padded(self) -> bool:
        """Whether shorter sequences are filled up, ids with 0 and numbers with NaN."""
        return bool(getattr(self.encoder, "padded", False))

    @property
    def source_steps(self) -> int | None:
        """Of pairs: how many of the steps are the source."""
        return getattr(self.encoder, "source_steps", None)

    def transform(self, x: Any, where: str = "x") -> np.ndarray:
        """Raw rows as `float32 [n, d]` (tables, arrays) or `uint8 [n, ...]` (images), checked against training.

        Tables: columns are found by name, others are ignored; an unseen category takes the unknown slot with a
        `PellucidWarning`. Raises `DataError` for a missing column, a column of another type, a wrong shape or dtype,
        and for array values that are not finite.
        """
        return self.encoder.encode(self._raw(x, where), where, _warn)

    def transform_own(self, x: Any, where: str, say: Callable[[str], None]) -> np.ndarray:
        """`transform` for the set that is being prepared: told to `say` instead of warned or, for gaps, raised."""
        x = self._raw(x, where)
        if isinstance(self.encoder, ArrayEncoder):
            return self.encoder.encode(x, where, say, lenient=True)
        return self.encoder.encode(x, where, say)

    def on_disk(self, x: Any, where: str) -> tuple[Rows, list[str]]:
        """What stays on disk as rows that are encoded when they are read, or were once and for all, and notes.

        Raises `DataError` where it is not what was trained on.
        """
        if not isinstance(x, Rows):
            from pellucid.data.table_cache import encoded
            from pellucid.data.table_encoder import TableEncoder

            if not isinstance(self.encoder, TableEncoder):
                raise _no_array(self, where, f"a table with the columns {', '.join(x.columns[:8])}")
            self.encoder.check(x.columns, where)
            return encoded(x, self.encoder, where)
        first = self.transform_own(x[:1], where, _silent)
        encoder: Any = self.encoder
        if first.dtype == x.dtype and not (encoder.fill or encoder.flagged or encoder.offset):
            return x, []
        return x.through(lambda raw: self.transform_own(raw, where, _silent), self.shape, self.dtype), []

    def _raw(self, x: Any, where: str) -> Any:
        """A table for a table encoder, an array for an array encoder; named columns can stand in for an array."""
        encoder = self.encoder
        inputs: tuple[str, ...] = getattr(encoder, "inputs", ())  # the columns of a table's encoder
        if not inputs and not isinstance(encoder, ArrayEncoder):
            return x  # texts and sequences find their columns themselves
        if isinstance(encoder, ArrayEncoder) and self.dtype == "uint8" and (paths := _paths(x)):
            return read_images(paths, self.shape)
        if frame_like(x) or isinstance(x, dict):
            from pellucid.data.frames import as_table

            table = as_table(x, where)
            if not isinstance(encoder, ArrayEncoder):
                return table
            if encoder.width is None:
                raise _no_array(self, where, f"a table with the columns {', '.join(table.columns[:8])}")
            return _array_from(table, encoder.given_names, encoder.width, where)
        if not isinstance(encoder, ArrayEncoder):
            raise DataError(
                "the network was trained on a table",
                where=where,
                expected=f"a table with the columns {', '.join(inputs[:8])}" + (", ..." if len(inputs) > 8 else ""),
                got=f"an array of shape {np.shape(x)}",
                fix="give a pandas, polars or Arrow table, or a file",
            )
        if is_texts(x):
            raise _no_array(self, where, "text")
        return x

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, exact: `from_json` of it transforms to the same bytes."""
        return {
            "encoder": self.encoder.to_json(),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "names": list(self.names),
            "per": self.per,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Features:
        try:
            encoder: Any
            kind = data["encoder"]["kind"]
            if kind == "array":
                encoder = ArrayEncoder.from_json(data["encoder"])
            elif kind == "tokens":
                from pellucid.data.token_encoder import TokenEncoder

                encoder = TokenEncoder.from_json(data["encoder"])
            elif kind == "sequences":
                from pellucid.data.sequence_encoder import SequenceEncoder

                encoder = SequenceEncoder.from_json(data["encoder"])
            else:
                from pellucid.data.table_encoder import TableEncoder

                encoder = TableEncoder.from_json(data["encoder"])
            mean, scale = np.array(data["mean"], np.float64), np.array(data["scale"], np.float64)
            return cls(encoder, tuple(data["shape"]), data["dtype"], tuple(data["names"]), data["per"], mean, scale)
        except (KeyError, TypeError) as error:
            raise DataError("the saved features cannot be read", where="features", got=repr(error)) from None


def _fit_array(x: Any, rows: np.ndarray, names: Any) -> tuple[ArrayEncoder, list[str]]:
    if not isinstance(x, Rows):
        return ArrayEncoder.fit(x, rows, names)
    from pellucid.data.array_stream import fit_streamed

    return fit_streamed(x, rows, tuple(names) if names is not None and x.ndim == 2 else ())


def _no_array(features: Features, where: str, got: str) -> DataError:
    """What was trained on arrays or images meets something else."""
    images = features.dtype == "uint8" and len(features.shape) > 1
    return DataError(
        f"the network was trained on {'images' if images else 'arrays of numbers'}", where=where, got=got,
        expected=f"{'images, or ' if images else ''}an array of shape (rows, {', '.join(map(str, features.shape))})",
        fix="give an .npz file" + (", an image, or a folder of images" if images else " or a NumPy array"),
    )  # fmt: skip


def _paths(x: Any) -> list[Path]:
    """The files of images that x names: one path, or a list of them; none where it names no files."""
    found = [x] if isinstance(x, str | Path) else x if isinstance(x, list | tuple) else []
    return [Path(p) for p in found] if found and all(isinstance(p, str | Path) for p in found) else []


def _warn(message: str) -> None:
    warnings.warn(message, PellucidWarning, stacklevel=5)


def _silent(message: str) -> None:
    """The training rows were described when the encoder was fitted."""


def _per(x: np.ndarray) -> str:
    """Images share one mean (or one for each channel); columns of measurements have each its own, and so have the
    features [n, steps, d] of sequences: what has three axes and is no bytes, which are grey images."""
    if x.ndim == 2:
        return "all" if x.dtype == np.uint8 and x.shape[1] >= 64 else "feature"
    if x.ndim == 3 and x.dtype != np.uint8:
        return "channel"
    return "channel" if x.ndim == 4 and x.shape[-1] > 1 else "all"


def _identity(f: Features) -> tuple[np.ndarray, np.ndarray]:
    shape = {"feature": f.shape, "channel": f.shape[-1:], "all": ()}[f.per]
    return np.zeros(shape), np.ones(shape)


def _standardisation(f: Features, x: Any, rows: np.ndarray, encoded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the encoded training rows; what is constant but for rounding has scale 1."""
    chunks = (x[part] for part in row_chunks(rows, f.shape))
    if not encoded:
        chunks = (f.transform_own(chunk, "training", _silent) for chunk in chunks)
    if f.padded:
        chunks = (chunk[~np.isnan(chunk).all(axis=-1)] for chunk in chunks)  # [n, steps, d] -> [real steps, d]
    mean, spread = moments(chunks, f.per)
    return mean, np.where(spread <= 1e-12 * np.abs(mean), 1.0, spread)


def _array_from(table: pl.DataFrame, names: tuple[str, ...], width: int | None, where: str) -> np.ndarray:
    """A table of numbers as an array: by the trained names if it has them, else by position."""
    if names and set(names) <= set(table.columns):
        table = table.select(names)
    text = [s.name for s in table.get_columns() if not (s.dtype.is_numeric() or str(s.dtype) == "Boolean")]
    missing = [name for name in names if name not in table.columns]
    if text or (width is not None and table.width != width):
        raise DataError(
            f"column {missing[0]!r} is missing" if missing else "the table does not fit what was trained",
            where=where,
            expected=f"{width} columns of numbers" + (f": {', '.join(names[:8])}" if names else ""),
            got=f"text in {text[0]!r}" if text and not missing else f"the columns {', '.join(table.columns[:8])}",
        )
    return table.to_numpy()
