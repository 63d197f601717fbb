"""Generated cases, continued: faults of the data. See `families.py`.

Not planted: nonfinite_data, for Pellucid fills gaps of tables itself (and says so) and refuses them elsewhere, so that
the fault cannot reach a network.
"""

from dataclasses import replace

from bases import BASES, changed, mlp
from families import TABLES, Cases, family, planted

CLASSES = ("iris", "wine", "breast-cancer", "digits", "moons", "circles", "xor", "blobs", "spirals", "mnist")


@family
def unscaled_inputs() -> Cases:
    """Raw columns on unlike scales, or all on a large one, or far from zero."""
    for name in (*TABLES, "diabetes"):
        raw = {"unlike": {"scale": [1, 2000, 50, 8000]}, "large": {"scale": 3000}, "far": {"shift": 500.0}}
        for label, data in raw.items():
            fault = changed(BASES[name], data=data, standardize=False)
            if label != "far":  # Adam's steps do not care for the gradient's size, and hide half of the harm
                fault = changed(fault, optimizer={"type": "momentum", "learning_rate": 0.02})
            yield planted("unscaled_inputs", f"{name}-{label}", fault, changed(fault, standardize=True))


@family
def scaled_twice() -> Cases:
    """Pixels divided by 255 and by 255 again; tables divided by 3000 and more."""
    tiny = {"unscaled_inputs": "inputs that are far too small look the same, whoever divided them"}
    images = ("mnist", "digits-image", "digits", "digits-rows")
    for name in (*images, "moons", "circles", "xor", "blobs", "iris", "friedman"):
        sizes = {"mnist": 255.0**2, "digits": 16.0 * 255}
        for factor in (1.0, 10.0):
            by = sizes.get(name, 255.0 if name in images else 3000.0) * factor
            fault = changed(BASES[name], data={"divided": by}, standardize=False)
            yield planted("scaled_twice", f"{name}-{by:g}", fault, changed(fault, standardize=True), accepted=tiny)


@family
def unscaled_targets() -> Cases:
    """Numbers in their own units, far from zero and large beside the first outputs."""
    for name in ("diabetes", "sine", "friedman", "adding"):
        for factor, offset in ((100.0, 500.0), (1000.0, 5000.0), (1.0, 3000.0), (1e4, 0.0), (50.0, -2000.0)):
            data = {"target_scale": [factor, offset]}
            base = changed(BASES[name], data=data)
            fault = replace(base, raw_targets=True)
            yield planted("unscaled_targets", f"{name}-{factor:g}+{offset:g}", fault, base)


@family
def random_labels() -> Cases:
    """Every label belongs to another row."""
    for name in CLASSES:
        for widths in ((32, 32), (128,)):
            base = changed(BASES[name], mlp(*widths))
            fault = changed(base, data={"permuted": True})
            yield planted("random_labels", f"{name}-{'-'.join(map(str, widths))}", fault, base)


@family
def label_noise() -> Cases:
    """Wrong labels in the training part alone; the rest is clean."""
    for name in CLASSES:
        for share in (0.25, 0.4):
            base = changed(BASES[name], mlp(64, 64), {"noise": 0.0})
            fault = changed(base, data={"noise": share})
            yield planted("label_noise", f"{name}-{share:g}", fault, base, measure="loss")


@family
def class_imbalance() -> Cases:
    """All classes but one cut to a few rows, in the training part alone; scored by balanced accuracy."""
    for name in CLASSES:
        for share in (0.06, 0.03):
            base = changed(BASES[name], data={"imbalance": share}, metric="balanced_accuracy", steps=300)
            fix = changed(base, class_weights="balanced")
            yield planted("class_imbalance", f"{name}-{share:g}", base, fix)


@family
def sorted_data() -> Cases:
    """Sorted by target and split in that order."""
    shift = {"distribution_shift": "the parts then hold different classes"}
    for name in (*CLASSES, "sine", "friedman", "diabetes"):
        for widths in ((16, 16), (64,)):
            base = changed(BASES[name], mlp(*widths))
            fault = changed(base, data={"sorted": True})
            yield planted("sorted_data", f"{name}-{'-'.join(map(str, widths))}", fault, base, accepted=shift)


@family
def leakage() -> Cases:
    """Validation rows among the training rows: their score tells nothing about new ones. What harms is the difference
    between validation and test."""
    twice = {"duplicate_rows": "the same rows, counted twice"}
    for name in (*TABLES[:6], "blobs", "spirals", "friedman", "diabetes"):
        for share in (0.6, 1.0):
            base = changed(BASES[name], mlp(128, 128), {"rows": 60, "noise": 0.2})
            fault = changed(base, data={"leak": share})
            yield planted("leakage", f"{name}-{share:g}", fault, base, accepted=twice)
