"""Preflight of whole rows and of parts: copies, leakage, contradictions, sorted files, parts that are unlike."""

import numpy as np

from pellucid.doctor.checks import counted, listed
from pellucid.doctor.data_checks import FEW_ROWS, MOST_COLUMNS, MOST_ROWS, DataFacts, Sample
from pellucid.doctor.finding import Finding, Remedy

LEAKED, LEAST_LEAKED = 0.05, 5  # share of a held-out part, and rows
CONTRADICTED = 0.10  # of the training rows
ABSENT = 0.10  # of a part: rows whose class training does not have
APART = 0.5  # total variation between the parts' classes; also the least distance (KS) that is called a shift
OTHER_SCALE = 5.0  # ratio of two parts' standard deviations
ALPHA = 0.001  # of the Kolmogorov-Smirnov tests, all columns together
GROUP = Remedy({}, "split by what the rows have in common: --group COLUMN")


def row_keys(x: np.ndarray) -> np.ndarray:
    """[n, ...] -> [n] int64: equal for equal rows (and, but for a chance of 1 in 10^19, only for them).

    >>> a, b, c = row_keys(np.array([[0.0, 1.0], [0.0, 2.0], [-0.0, 1.0]])).tolist()
    >>> a == c != b
    True
    """
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    flat = flat + 0 if flat.dtype.kind == "f" else flat  # -0.0 becomes 0.0
    if not flat.shape[1]:
        return np.zeros(len(x), np.int64)
    rows = flat.view(np.dtype((np.void, flat.shape[1] * flat.dtype.itemsize))).reshape(-1).tolist()
    return np.fromiter((hash(row) for row in rows), np.int64, len(rows))  # bytes; compared in this process only


def discrete(d: DataFacts) -> bool:
    """Whether equal rows are to be expected: a truth table, a questionnaire. Each column has few values, and there are
    fewer different rows than half of them."""
    if d.kind != "columns" or d.train.x.ndim != 2:
        return False
    x = d.train.x[:MOST_ROWS, :MOST_COLUMNS]
    few = all(len(np.unique(x[:, i])) <= 20 for i in range(x.shape[1]))
    return few and len(np.unique(d.train.keys)) < max(len(d.train.keys) / 2, 17)


def duplicate_rows(d: DataFacts) -> list[Finding]:
    """A note: copies weigh more, which may be meant. Where rows have few possible values, they have to repeat."""
    if d.task == "language" or discrete(d):
        return []
    keys = d.train.keys
    copies = len(keys) - len(np.unique(keys))
    if not copies:
        return []
    share = copies / len(keys)
    return [Finding(
        "duplicate_rows", "note",
        f"{copies:,} of {len(keys):,} training rows ({share:.1%}) "
        + ("is a copy of another" if copies == 1 else "are copies of others"),
        evidence={"copies": copies, "rows": len(keys), "share": share}, confidence=1.0,
        remedies=(Remedy({}, "drop the copies, unless the rows really occurred so often"),),
    )]  # fmt: skip


def leakage(d: DataFacts) -> list[Finding]:
    """Rows of a held-out part that training has too. Up to a few of them a note (real sets have twins), and where rows
    have to repeat: those of few possible values, and short texts that are to be rewritten."""
    if d.task == "language":
        return []
    found, expected = [], discrete(d) or d.task == "pairs"
    for part, sample in d.parts.items():
        if part == "training" or not len(sample.keys):
            continue
        known = np.isin(sample.keys, d.train.keys)
        count, share = int(known.sum()), float(known.mean())
        if not count:
            continue
        harm = share > LEAKED and count >= LEAST_LEAKED and not expected
        because = "; where rows have few possible values, that is to be expected" if expected else ""
        found.append(Finding(
            "leakage", "warning" if harm else "note",
            f"{count:,} of {len(known):,} {part} rows ({share:.1%}) {'is' if count == 1 else 'are'} in the training "
            f"part as well{because}",
            evidence={"part": part, "count": count, "rows": len(known), "share": share}, confidence=0.95,
            remedies=(Remedy({}, "drop the copies before the split"), GROUP),
        ))  # fmt: skip
    return found


def contradictory_labels(d: DataFacts) -> list[Finding]:
    """Equal inputs, different classes. A warning where they are many though rows hardly repeat by chance, or where all
    inputs are the same; else a note: noise."""
    y = d.train.labels
    if d.task not in ("classification", "mixed") or y.ndim != 1 or len(y) < 2:
        return []
    _, inverse = np.unique(d.train.keys, return_inverse=True)
    pairs = np.unique(np.stack([inverse.reshape(-1), y.astype(np.int64)], axis=1), axis=0)
    groups, labels = np.unique(pairs[:, 0], return_counts=True)
    torn = np.isin(inverse, groups[labels > 1])
    count, share = int(torn.sum()), float(torn.mean())
    if not count:
        return []
    same = len(groups) == 1
    severity = "warning" if same or (share > CONTRADICTED and not discrete(d)) else "note"
    said = (
        f"all {len(y):,} training rows are the same, with {int(labels[0])} different labels" if same else
        f"{count:,} of {len(y):,} training rows ({share:.1%}) have the inputs of another row and a different label"
    )  # fmt: skip
    return [Finding(
        "contradictory_labels", severity, said, confidence=0.95,
        evidence={"count": count, "rows": len(y), "share": share, "different_inputs": len(groups)},
        remedies=(Remedy({}, "look at these rows: are inputs lost on the way, or labels joined to the wrong rows?"),),
    )]  # fmt: skip


def sorted_data(d: DataFacts) -> list[Finding]:
    """The order of the file reaching the parts or the batches. A file that is sorted and then shuffled is fine."""
    if d.task == "language" or d.train.y.ndim > 2:
        return []
    sorted_by = _sorted(d.train)
    asked = d.split in ("time", "group")
    found = []
    for part, sample in d.parts.items():
        if part == "training" or len(sample.y) < 5:
            continue
        said, numbers = _unlike_targets(d, sample)
        if said:
            found.append(Finding(
                "sorted_data" if sorted_by else "distribution_shift", "note" if asked else "warning",
                f"the {part} part has other targets than the training part: {said}"
                + (", for the file is sorted by its target" if sorted_by else ""),
                evidence={"part": part, "sorted": sorted_by, **numbers}, confidence=0.95 if sorted_by else 0.8,
                remedies=(Remedy({}, "shuffle the rows before they are divided"),),
            ))  # fmt: skip
    if not found and sorted_by and not d.shuffled:
        found.append(Finding(
            "sorted_data", "warning",
            "the rows come sorted by their target and batches are not shuffled: each holds one kind of target",
            evidence={"sorted": True},
            remedies=(Remedy({}, "shuffle the rows in every epoch"),),
        ))  # fmt: skip
    return found


def _sorted(sample: Sample) -> bool:
    """Whether the targets come in a few runs (Wald & Wolfowitz 1940), in the order of the file."""
    y = sample.y.reshape(len(sample.y), -1)[:, 0]
    if len(y) < FEW_ROWS or len(y) != len(sample.rows):
        return False
    y = y[np.argsort(sample.rows, kind="stable")]
    values = np.unique(y)
    if len(values) < 2:
        return False
    above = y > np.median(y) if len(values) > 20 else y
    runs = 1 + int((np.diff(above.astype(np.float64)) != 0).sum())
    return runs <= 2 * min(len(values), 5 if len(values) > 20 else len(values))


def _unlike_targets(d: DataFacts, sample: Sample) -> tuple[str, dict[str, float]]:
    """What is unlike in the targets of a part, in words and numbers; "" where nothing is."""
    ours, theirs = (s.y.reshape(len(s.y), -1)[:, 0] for s in (d.train, sample))
    target = d.targets[0]
    if target.kind == "number":
        spread = float(ours.std()) or 1.0
        apart = abs(float(theirs.mean() - ours.mean())) / spread
        noise = float(np.sqrt(1 / len(ours) + 1 / len(theirs)))
        if apart < max(1.5, 8 * noise):
            return "", {}
        return f"the means lie {apart:.2g} standard deviations apart", {"means_apart": apart}
    if target.kind == "token":
        return "", {}
    top = int(max(ours.max(), theirs.max())) + 1
    a, b = (np.bincount(v.astype(np.int64), minlength=top) for v in (ours, theirs))
    absent = float(b[a == 0].sum() / b.sum())
    distance = float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)
    numbers = {"absent": absent, "distance": distance}
    if absent > ABSENT:
        named = [target.classes[i] if i < len(target.classes) else i for i in np.flatnonzero((a == 0) & (b > 0))]
        return f"{absent:.0%} of its rows are of a class that training does not have ({listed(named)})", numbers
    chance = float(np.sqrt(top / len(theirs)))  # about what drawing at random gives
    if distance > max(APART, 2 * chance):
        return f"{distance:.0%} of its rows would have to change their class to be distributed alike", numbers
    return "", {}


def distribution_shift(d: DataFacts) -> list[Finding]:
    """Inputs of a held-out part that are distributed otherwise: a warning where they look scaled in another way; where
    columns have moved (Kolmogorov-Smirnov), a note, for a network may still know what to do."""
    if d.kind == "tokens":
        return []
    found = []
    for part, sample in d.parts.items():
        if part == "training" or len(sample.x) < FEW_ROWS or len(d.train.x) < FEW_ROWS:
            continue
        ours, theirs = _columns(d, d.train), _columns(d, sample)
        scaled = _scaled_otherwise(part, ours, theirs)
        found += scaled or _moved(d, part, ours, theirs)
    return found


def _columns(d: DataFacts, sample: Sample) -> np.ndarray:
    """[n, d] for columns; of images and sequences, each row's mean and spread."""
    x = sample.x[:MOST_ROWS].astype(np.float64)
    if d.kind == "columns" and x.ndim == 2:
        return x[:, :MOST_COLUMNS]
    flat = x.reshape(len(x), -1)
    with np.errstate(all="ignore"):
        return np.stack([np.nanmean(flat, axis=1), np.nanstd(flat, axis=1)], axis=1)


def _scaled_otherwise(part: str, ours: np.ndarray, theirs: np.ndarray) -> list[Finding]:
    with np.errstate(all="ignore"):
        ratio = theirs.std(axis=0) / ours.std(axis=0)
        shift = np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) / np.maximum(ours.std(axis=0), theirs.std(axis=0))
    known = np.isfinite(ratio) & (ratio > 0)
    if not known.any():
        return []
    typical, factor = float(np.median(ratio[known])), 0.0
    if not (typical > OTHER_SCALE or typical < 1 / OTHER_SCALE):
        return []
    factor = max(typical, 1 / typical)
    twice = 200 < factor < 320
    said = (
        f"the {part} inputs are {factor:.3g} times {'larger' if typical > 1 else 'smaller'} than the training inputs"
        + (", as if one of them had been divided by 255 once more" if twice else ": are both scaled in the same way?")
    )  # fmt: skip
    return [Finding(
        "scaled_twice" if twice else "distribution_shift", "warning", said, confidence=0.9,
        evidence={"part": part, "ratio": typical, "shift": float(np.nanmedian(shift[known]))},
        remedies=(Remedy({}, "fit one scaler on the training part, and use it for all"),),
    )]  # fmt: skip


def _moved(d: DataFacts, part: str, ours: np.ndarray, theirs: np.ndarray) -> list[Finding]:
    columns = ours.shape[1]
    distance = np.array([_ks(ours[:, i], theirs[:, i]) for i in range(columns)])
    limit = np.sqrt(-np.log(ALPHA / (2 * columns)) / 2 * (1 / len(ours) + 1 / len(theirs)))
    moved = np.flatnonzero(distance > max(limit, APART))
    if not len(moved):
        return []
    worst = int(distance.argmax())
    table = d.kind == "columns"
    said = (
        f"{counted(len(moved), 'column')} of the {part} part {'is' if len(moved) == 1 else 'are'} distributed "
        f"otherwise than in training, most of all {d.name(worst)!r}" if table else
        f"the {part} inputs are distributed otherwise than the training inputs"
    )  # fmt: skip
    names = [d.name(int(i)) for i in moved[:50]] if table else []
    return [Finding(
        "distribution_shift", "note", f"{said} (KS distance {distance[worst]:.2f})", confidence=0.8,
        evidence={"part": part, "columns": names, "count": len(moved), "distance": float(distance[worst])},
        remedies=(Remedy({}, "draw the parts from the same rows, or collect training data like those of use"),),
    )]  # fmt: skip


def _ks(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance between two empirical distribution functions."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    above = np.searchsorted(a, both, side="right") / len(a) - np.searchsorted(b, both, side="right") / len(b)
    return float(np.abs(above).max())


CHECKS = (duplicate_rows, leakage, contradictory_labels, sorted_data, distribution_shift)
