"""Preflight of the targets: one class only, rare classes, scales, and codes that are not what they look like."""

import numpy as np

from pellucid.doctor.data_checks import DataFacts, Target
from pellucid.doctor.finding import Finding, Remedy

RATIO, EVENNESS = 10.0, 0.5  # commonest class : rarest; entropy / ln C (a proposal of DOCTOR.md)
FAR = 10.0  # std or |mean| of the targets, in the units that the loss gets


def column(d: DataFacts, place: int) -> np.ndarray:
    """The values of one target, as the loss gets them."""
    y = d.train.y
    return y if y.ndim == 1 else y.reshape(len(y), -1)[:, place] if len(d.targets) > 1 else y.reshape(-1)


def single_class(d: DataFacts) -> list[Finding]:
    """An error where there is nothing else to learn; beside other targets a note."""
    flat: list[tuple[Target, float]] = []
    for place, target in enumerate(d.targets):
        y = column(d, place)
        y = y[y >= 0] if target.kind in ("class", "token") else y[np.isfinite(y)]
        if len(y) and bool((y == y[0]).all()):
            flat.append((target, float(y[0])))
    if not flat:
        return []
    target, value = flat[0]
    if target.kind in ("class", "binary") and int(value) < len(target.classes):
        shown = f"class {target.classes[int(value)]!r}"
    else:
        shown = f"value {value * target.scale + target.mean:g}"
    alone = len(flat) == len(d.targets)
    return [Finding(
        "single_class", "error" if alone else "note",
        f"all {len(d.train.y):,} training rows have the same target {target.name!r}, {shown}", confidence=1.0,
        evidence={"target": target.name, "rows": len(d.train.y), "constant_targets": len(flat)},
        remedies=(Remedy({}, "check the column and the split; there must be something to tell apart"),),
    )]  # fmt: skip


def class_imbalance(d: DataFacts) -> list[Finding]:
    """Always a note: cross-entropy learns rare classes where the inputs tell them, and whether this network does not
    can only be seen once it has learned. It is the accuracy that misleads, so its trivial value is said."""
    if len(d.targets) != 1 or d.targets[0].kind != "class" or d.weighted:
        return []
    target, y = d.targets[0], column(d, 0).astype(np.int64)
    counts = np.bincount(y[y >= 0], minlength=len(target.classes))
    present = counts[counts > 0]
    if len(present) < 2:
        return []
    share = present / present.sum()
    evenness = float(-(share * np.log(share)).sum() / np.log(len(present)))
    ratio = float(present.max() / present.min())
    if ratio <= RATIO or (evenness >= EVENNESS and ratio <= 10 * RATIO):
        return []
    rare = int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    name = target.classes[rare] if rare < len(target.classes) else str(rare)
    return [Finding(
        "class_imbalance", "note",
        f"class {name!r} has {counts[rare]:,} of {len(y):,} training rows; always naming the commonest class is right "
        f"in {share.max():.1%}, so accuracy says little",
        evidence={"rarest": name, "rows": int(counts[rare]), "ratio": ratio, "evenness": evenness,
                  "majority": float(share.max())},
        remedies=(Remedy({"class_weights": "balanced"}, "let each class weigh the same"),
                  Remedy({"metric": "balanced_accuracy"}, "score each class alike")),
    )]  # fmt: skip


def unscaled_targets(d: DataFacts) -> list[Finding]:
    """In the units that the loss gets, which Pellucid standardises: other loops may not."""
    for place, target in enumerate(d.targets):
        if target.kind != "number":
            continue
        y = column(d, place).astype(np.float64)
        mean, std = float(y.mean()), float(y.std())
        if not (np.isfinite(mean) and (std > FAR or abs(mean) > FAR * max(std, 1.0))):
            continue
        return [Finding(
            "unscaled_targets", "warning" if max(std, abs(mean)) > 3 * FAR else "note",
            f"the target {target.name!r} has mean {mean:.3g} and standard deviation {std:.3g} where the loss meets it; "
            "a network begins near 0, with outputs of about 1",
            evidence={"target": target.name, "mean": mean, "std": std},
            remedies=(Remedy({}, "standardise the targets: (y - mean) / std"),),
        )]  # fmt: skip
    return []


def label_coding(d: DataFacts) -> list[Finding]:
    """Class numbers that were divided by 255 along with the pixels: all values are k / 255, k = 0, 1, 2, ..."""
    for place, target in enumerate(d.targets):
        if target.kind != "number":
            continue
        y = column(d, place).astype(np.float64) * target.scale + target.mean
        values = np.unique(np.round(y * 255, 3))
        if not (2 <= len(values) <= 100 and len(values) < len(y) / 2 and values[0] >= -0.01 and values[-1] < 128):
            continue
        whole = np.round(values)
        if np.abs(values - whole).max() > 0.02 or whole[-1] - whole[0] > 2 * len(values) or whole[0] > 1:
            continue
        return [Finding(
            "label_coding", "warning",
            f"the {len(values)} values of the target {target.name!r} are 0/255, 1/255, ... {whole[-1]:.0f}/255:"
            " class numbers that were scaled like pixels",
            evidence={"target": target.name, "values": len(values), "largest": float(y.max())}, confidence=0.95,
            remedies=(Remedy({"task": "classification"}, "divide the images by 255, and not the class numbers"),),
        )]  # fmt: skip
    return []


CHECKS = (single_class, class_imbalance, unscaled_targets, label_coding)
