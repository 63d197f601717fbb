"""Preflight of the inputs: what the checks of data are told, values that are not finite, and scales.

The facts are arrays as the first layer with weights gets them, so that what the input layer standardises is not blamed.
Columns have their checks in `column_checks.py`, rows and parts in `row_checks.py`, targets in `target_checks.py`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pellucid.doctor.checks import counted, listed
from pellucid.doctor.finding import Finding, Remedy

LARGE = 30.0  # an input's size (rms) at which a step that suits the bias is far too long for its weight
UNLIKE = 100.0  # a column's std beside the median one: two decades (LeCun et al. 1998 want them alike)
OFFSET = 3.0  # |mean| / std
SMALL = 0.01  # an rms of inputs that hardly reach the first sums
FEW_ROWS = 20  # below it nothing is concluded from how columns or rows are alike
MOST_COLUMNS, MOST_ROWS = 512, 2_000  # looked at where every column is compared with every other
STANDARDIZE = Remedy({"standardize": True}, "standardise the inputs, with the training part's mean and scale")
INPUT_LAYER = Remedy({}, "begin the network with Input(), which standardises what arrives")


@dataclass(frozen=True, eq=False)
class Target:
    """One target. kind: "class", "number", "binary" or "token". y · scale + mean is the value in its own unit."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of one part.

    x: [n, ...] as the first layer with weights gets them; token ids are whole numbers.   y: as the loss gets them.
    rows: [n], their places in the file.   keys: [m], a number for each row of the part, the same for equal inputs;
    labels: [m, ...], the targets of these rows (m >= n: hashing is cheap, so more rows are compared than looked at).
    """

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    keys: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class DataFacts:
    """All that the checks of data are told. parts: "training", and perhaps "validation" and "test"."""

    parts: dict[str, Sample]
    kind: Literal["columns", "images", "sequences", "tokens"]
    task: str  # "classification", "regression", "mixed", "language", "pairs"
    targets: tuple[Target, ...]
    columns: tuple[str, ...] = ()
    padded: bool = False  # steps of NaN only fill up shorter sequences
    normalised: bool = False  # a layer that normalises stands before the first with weights
    input_layer: bool = True  # there is one that can standardise
    opaque: bool = False  # what the network does first is not known (a module of another library)
    split: Literal["shuffled", "group", "time", "own"] = "shuffled"
    shuffled: bool = True  # batches are drawn at random
    weighted: bool = False  # rows or classes count differently already
    grouped: tuple[int, ...] = field(default=())  # columns that came out of one column have one number

    @property
    def train(self) -> Sample:
        return self.parts["training"]

    @property
    def table(self) -> np.ndarray | None:
        """The training inputs as columns [n, d] of at most so many rows and columns; None for what is no table."""
        if self.kind != "columns" or self.train.x.ndim != 2:
            return None
        return self.train.x[:MOST_ROWS, :MOST_COLUMNS].astype(np.float64)

    def name(self, column: int) -> str:
        return self.columns[column] if column < len(self.columns) else f"x{column + 1}"

    def apart(self, one: int, other: int) -> bool:
        """Whether two columns come from different columns of the file."""
        return len(self.grouped) <= max(one, other) or self.grouped[one] != self.grouped[other]


def real(d: DataFacts, x: np.ndarray) -> np.ndarray:
    """Without the steps that only fill up."""
    return x[~np.isnan(x).all(axis=-1)] if d.padded and x.dtype.kind == "f" else x


def nonfinite_data(d: DataFacts) -> list[Finding]:
    found = []
    for part, sample in d.parts.items():
        for what, values in (("inputs", real(d, sample.x)), ("targets", sample.y)):
            bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(0, bool)
            if not bad.any():
                continue
            where = ""
            if what == "inputs" and values.ndim == 2:
                where = f", in {listed(d.name(int(i)) for i in np.flatnonzero(bad.any(axis=0)))}"
            first = int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
            count, share = int(bad.sum()), float(bad.mean())
            found.append(Finding(
                "nonfinite_data", "error" if part == "training" else "warning",
                f"{counted(count, 'value')} of the {part} {what} {'is' if count == 1 else 'are'} not finite "
                f"({share:.2g} of them{where}), the first in row {first + 1:,} of those looked at",
                evidence={"part": part, "what": what, "count": count, "share": share, "row": first}, confidence=1.0,
                remedies=(Remedy({}, "drop these rows, or fill the gaps with a median before training"),),
            ))  # fmt: skip
    return found


def unscaled_inputs(d: DataFacts) -> list[Finding]:
    """Warned of where a step suits one input and not another: sizes far above 1, or one far above what is typical;
    and where all of them are next to nothing.

    An offset is a note, for a bias makes up for it, slowly; and so is a column far below the others, which is only
    heard less. Columns of 0 and 1 are left out, and so are those that are nearly always 0, as a picture's margin is.
    """
    if d.kind == "tokens" or d.normalised:
        return []
    x = real(d, d.train.x)
    x = x.reshape(-1, x.shape[-1]) if d.kind in ("columns", "sequences") else x.reshape(-1, 1)
    x = x[:: max(len(x) // 200_000, 1)].astype(np.float64)
    mean, std = x.mean(axis=0), x.std(axis=0)
    judged = np.flatnonzero(np.isfinite(std) & (std > 1e-6 * np.abs(mean)) & ~((x == 0) | (x == 1)).all(axis=0))
    if not len(judged):
        return []
    mean, std, filled = mean[judged], std[judged], (x[:, judged] != 0).mean(axis=0) > 0.5
    rms, offset = np.sqrt(mean**2 + std**2), np.abs(mean) / std
    typical = int(np.argsort(std)[(len(std) - 1) // 2])
    large, widest, far = int(rms.argmax()), int(std.argmax()), int(offset.argmax())
    narrow = int(np.where(filled, std, np.inf).argmin())
    name = lambda place: repr(d.name(int(judged[place])))  # noqa: E731
    ratio = float(std[widest] / std[typical])
    said, severity = "", "note" if d.opaque else "warning"
    if rms[large] > LARGE and x.shape[1] == 1:
        said = f"the inputs reach the first layer as numbers from {x.min():.3g} to {x.max():.3g}, rms {rms[0]:.3g}"
    elif ratio > UNLIKE:
        said = (
            f"the scales of the inputs lie a factor of {ratio:,.0f} apart where they reach the first layer: "
            f"std {std[widest]:.3g} of {name(widest)}, {std[typical]:.3g} of {name(typical)}"
        )
    elif rms[large] > LARGE:
        said = f"{name(large)} reaches the first layer with an rms of {rms[large]:.3g}; about 1 is what suits"
    elif rms[large] < SMALL and x.shape[1] > 1:  # of pictures `scaled_twice` tells
        said = f"no input reaches the first layer with an rms above {rms[large]:.2g}; about 1 is what suits"
    elif offset[far] > OFFSET:
        what, severity = name(far) if x.shape[1] > 1 else "the input", "note"
        said = f"{what} reaches the first layer with a mean {offset[far]:.3g} times its spread away from 0"
    elif filled[narrow] and std[typical] > UNLIKE * std[narrow]:
        severity = "note"
        said = f"{name(narrow)} is hardly heard: std {std[narrow]:.3g}, where {std[typical]:.3g} is typical"
    if not said:
        return []
    return [Finding(
        "unscaled_inputs", severity, said, confidence=0.9 if severity == "warning" else 0.7,
        evidence={"largest_rms": float(rms[large]), "ratio_of_scales": ratio, "largest_offset": float(offset[far]),
                  "columns": len(judged)},
        remedies=(STANDARDIZE if d.input_layer else INPUT_LAYER,),
    )]  # fmt: skip


def scaled_twice(d: DataFacts) -> list[Finding]:
    """Of images, and of many columns in one unit: nothing below 0 or above 1/255, the mark of a second division."""
    x = d.train.x
    if d.normalised or d.kind == "tokens" or x.dtype.kind != "f" or (d.kind == "columns" and x.shape[-1] < 64):
        return []
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    if not (low >= 0 and 0 < high <= 1.01 / 255):
        return []
    return [Finding(
        "scaled_twice", "warning",
        f"the inputs reach the first layer as numbers from {low:.3g} to {high:.3g}: pixels that were divided by 255 "
        f"twice lie between 0 and {1 / 255:.3g}",
        evidence={"lowest": low, "largest": high}, confidence=0.95,
        remedies=(Remedy({}, "divide by 255 once; or leave the images as uint8, which the input layer scales"),),
    )]  # fmt: skip


CHECKS = (nonfinite_data, unscaled_inputs, scaled_twice)
