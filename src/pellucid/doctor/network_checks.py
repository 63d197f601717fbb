"""Preflight of the network: structure, initial weights, and whether a first small step does what its gradient says.

The facts are plain numbers of one batch, taken before any training. Where one cause explains several of them, it alone
is a finding, and what it explains its symptoms.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pellucid.doctor.checks import counted, listed
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.remedies import SUITED

COMPOUNDED = 1e3  # growth or decay of the signal from the first layer to the last
POOR_START = 5.0  # initial loss, beside that of the best constant answer
SAME = 1e-6  # relative difference of outputs that is rounding
AGAINST = 0.1  # cosine of an update with the gradient, from which on it goes uphill
BY_HEART = 0.9  # of the first loss: what is left of it where hardly anything was learned
USUAL_OPTIMIZER = Remedy({"optimizer": "adam", "learning_rate": 0.001}, "an optimizer that is known to go downhill")
NONE = (1.0, 1, "")  # of `_compounded`


class Joint(NamedTuple):
    """A layer in a chain. role: "linear" (weights, and nothing else), "plain" (no weights, or only a scale), "bend"."""

    path: str
    role: Literal["linear", "plain", "bend"]
    arriving: int = 0
    width: int = 0


@dataclass(frozen=True)
class LayerFacts:
    """One leaf, in forward order, at the start.

    rms: of its outputs.   signal: the same of their differences between examples (NaN for a single one).
    silent: whether all its outputs are 0, for all examples looked at.   gradient, later: rms over all its weights, at
    the start and after a few steps; NaN without weights.   units, different: how many units its weights make, and how
    many of them differ in weights or gradient; 0 where not known.   blocks: gates, each with all the units.
    """

    path: str
    kind: str
    rms: float = math.nan
    signal: float = math.nan
    silent: bool = False
    gradient: float = math.nan
    later: float = math.nan
    units: int = 0
    different: int = 0
    blocks: int = 1
    frozen: bool = False  # as the user wants it


@dataclass(frozen=True)
class StepFacts:
    """A small step. cosine: of the optimizer's update with the gradient (-1: straight down). risen: whether the loss
    really rose along it. agreement: the change along -gradient, measured / foretold (1: as it should be; below 0 the
    loss rises where it should fall). layer: where the agreement is poorest, if it is poor."""

    cosine: float = -1.0
    risen: bool = False
    agreement: float = 1.0
    layer: str | None = None
    moves: bool = True  # whether any weight moves at all
    learning_rate: float | None = None


@dataclass(frozen=True)
class HeartFacts:
    """Learning a few rows by heart: the loss before, after, and that of the best constant answer to them."""

    rows: int
    before: float
    after: float


@dataclass(frozen=True)
class NetworkFacts:
    """All that is told. differs: how far the outputs of different examples lie apart, beside their size, at the start
    or after a few steps, whichever is more. signals: of each stretch of layers without normalisation, (path, signal)
    of what arrives and then of each layer with weights."""

    layers: tuple[LayerFacts, ...] = ()
    chain: tuple[Joint, ...] = ()
    unknown: bool = False  # the network could not be run
    weights: int = 1  # trained numbers, but for those that the user froze
    loss: float = math.nan
    trivial: float = math.nan
    signals: tuple[tuple[tuple[str, float], ...], ...] = ()
    differs: float = 1.0
    step: StepFacts = StepFacts()
    heart: HeartFacts | None = None
    rows: int = 64


def nonfinite_loss(n: NetworkFacts) -> list[Finding]:
    if math.isfinite(n.loss) or n.unknown:
        return []
    first = next((layer for layer in n.layers if not math.isfinite(layer.rms)), None)
    where = f"; the first layer that gives such numbers is {first.path!r} ({first.kind})" if first else ""
    return [Finding(
        "nonfinite_loss", "error", f"the loss is {n.loss} before any training{where}",
        layer=first.path if first else None, step=0, evidence={"loss": str(n.loss)}, confidence=1.0,
        remedies=(Remedy({}, "look for a logarithm or a division in this layer or in the loss, or for huge inputs"),),
    )]  # fmt: skip


def no_nonlinearity(n: NetworkFacts) -> list[Finding]:
    """A warning where most joints of layers with weights lack a bend: the depth is then for nothing. One or two
    straight joints among bends do little harm (a note), and a narrow layer between two is a product of low rank, which
    may be meant (nothing)."""
    joints, straight, last, bent = 0, [], None, True
    for part in n.chain:
        if part.role == "bend":
            bent = True
        elif part.role == "linear":
            if last is not None:
                joints += 1
                if not bent and last.width >= min(last.arriving, part.width):
                    straight.append((last, part))
            last, bent = part, False
    if not straight:
        return []
    names = [f"{a.path} and {b.path}" for a, b in straight]
    most = 2 * len(straight) > joints
    whole = len(straight) == joints
    said = f"no activation stands between {listed(names, 3)}" + (
        ": the whole network is one linear layer" if whole else ": they are one linear layer"
    )
    return [Finding(
        "no_nonlinearity", "warning" if most else "note", said, layer=straight[0][0].path,
        evidence={"straight": len(straight), "joints": joints, "pairs": names}, confidence=0.95 if most else 0.7,
        remedies=(Remedy({"activation": "relu"}, "put an activation behind each hidden layer"),
                  Remedy({}, "or take the layers out, if a linear model is what you want")),
    )]  # fmt: skip


def frozen_layer(n: NetworkFacts) -> list[Finding]:
    """Not those that the user froze: what gets a gradient of exactly 0, at the start and after a few steps."""
    if n.weights == 0:
        return [Finding(
            "frozen_layer", "error", "the network has no weight that is trained", evidence={"weights": 0},
            confidence=1.0, remedies=(Remedy({}, "give it a layer with weights, such as Dense(16), or freeze less"),),
        )]  # fmt: skip
    if not n.step.moves:
        rate = n.step.learning_rate
        said = "the optimizer moves no weight" + (f" (learning rate {rate:g})" if rate is not None else "")
        return [Finding(
            "frozen_layer", "error", said, evidence={"learning_rate": rate}, confidence=0.95,
            remedies=(Remedy({"learning_rate": 0.001}, "a rate above 0"),),
        )]  # fmt: skip
    still = [layer for layer in n.layers if layer.gradient == 0 and layer.later == 0 and not layer.frozen]
    if not still:
        return []
    everything = all(not layer.gradient > 0 and not layer.later > 0 for layer in n.layers)
    which = "no layer gets" if everything else f"{listed(layer.path for layer in still)} get{'s' * (len(still) == 1)}"
    any_ = "any" if everything else "no"
    return [Finding(
        "frozen_layer", "warning", f"{which} {any_} gradient from {counted(n.rows, 'example')}, at the start or later",
        layer=still[0].path, evidence={"layers": [layer.path for layer in still]},
        remedies=(Remedy({}, "look for stop_gradient, rounding or argmax behind these layers, or for units at 0"),),
    )]  # fmt: skip


def bad_initial_weights(n: NetworkFacts) -> list[Finding]:
    """A warning where the signal has grown or faded a thousandfold on its way. A first loss far from that of knowing
    nothing, or a single layer that is off, is mended by the first updates: a note."""
    evidence: dict[str, Any] = {"loss": n.loss, "trivial_loss": n.trivial}
    ratio, depth, path = max((_compounded(way) for way in n.signals), key=lambda r: abs(math.log(r[0])), default=NONE)
    if not 1 / COMPOUNDED <= ratio <= COMPOUNDED:
        per_layer = ratio ** (1 / depth)
        grown = f"grows {ratio:,.0f} times" if ratio > 1 else f"fades to {ratio:.1g} of its size"
        return [Finding(
            "bad_initial_weights", "warning",
            f"before any training the signal {grown} on its way to {path!r}, through {counted(depth, 'layer')} with "
            f"weights: {per_layer:.2g} times a layer", layer=path, confidence=0.9,
            evidence={**evidence, "ratio": ratio, "per_layer": per_layer, "layers": depth},
            remedies=(Remedy({"initial": "auto"}, SUITED),),
        )]  # fmt: skip
    if n.loss > POOR_START * n.trivial and n.loss - n.trivial > 1:
        return [Finding(
            "bad_initial_weights", "note",
            f"the first loss is {n.loss:.3g}, where knowing nothing gives {n.trivial:.3g}: the outputs begin too large",
            evidence=evidence, confidence=0.7,
            remedies=(Remedy({"initial": "auto"}, SUITED + ", and a small output"),),
        )]  # fmt: skip
    return []


def _compounded(way: tuple[tuple[str, float], ...]) -> tuple[float, int, str]:
    """(ratio to what arrives, layers until there, path) where the ratio is most extreme. A last output may begin small:
    that is how one begins at the loss of knowing nothing."""
    arriving, sizes = way[0][1], way[1:]
    found = [
        (size / arriving, depth, path)
        for depth, (path, size) in enumerate(sizes, 1)
        if arriving > 0 and size > 0 and math.isfinite(size / arriving) and (depth < len(sizes) or size > arriving)
    ]
    return max(found, key=lambda r: abs(math.log(r[0])), default=NONE)


def _last_weights(n: NetworkFacts) -> str | None:
    return next((layer.path for layer in reversed(n.layers) if layer.units), None)


def symmetric_units(n: NetworkFacts) -> list[Finding]:
    """Units with the same weights and the same gradient stay the same. Zeros in a last layer are no such thing: there
    the targets tell the units apart."""
    twins = [layer for layer in n.layers if layer.units > 1 and layer.different <= layer.blocks and not layer.frozen]
    twins = [layer for layer in twins if layer.path != _last_weights(n) or layer.gradient > 0]
    if not twins:
        return []
    first = twins[0]
    more = f", and so do those of {listed(t.path for t in twins[1:])}" if len(twins) > 1 else ""
    return [Finding(
        "symmetric_units", "warning",
        f"all {first.units:,} units of {first.path!r} begin with the same weights and get the same gradient{more}: "
        "they count as one", layer=first.path, confidence=0.98,
        evidence={"units": first.units, "different": first.different, "layers": [t.path for t in twins]},
        remedies=(Remedy({"initial": "auto"}, "draw the weights at random"),),
    )]  # fmt: skip


def dead_units(n: NetworkFacts) -> list[Finding]:
    """A layer that is silent for every example. A warning where nothing passes by it either."""
    silent = [layer for layer in n.layers if layer.silent and layer.kind == "relu"]
    if not silent:
        return []
    cut = n.differs < SAME
    return [Finding(
        "dead_units", "warning" if cut else "note",
        f"{silent[0].path!r} gives 0 for all of {counted(n.rows, 'example')}"
        + (": nothing passes it, and no gradient comes back" if cut else ""),
        layer=silent[0].path, evidence={"layers": [layer.path for layer in silent], "rows": n.rows}, confidence=0.85,
        remedies=(Remedy({"initial": "auto"}, SUITED),
                  Remedy({"activation": "leaky_relu"}, "an activation that cannot die"),
                  Remedy({"seed": 1}, "other initial weights, or a wider layer")),
    )]  # fmt: skip


def ignores_input(n: NetworkFacts) -> list[Finding]:
    if not n.differs < SAME:
        return []
    return [Finding(
        "ignores_input", "warning",
        f"the outputs of {counted(n.rows, 'example')} are the same whatever comes in (they differ by {n.differs:.1g} "
        "of their size), before and after a few steps",
        evidence={"difference": n.differs, "rows": n.rows}, confidence=0.9,
        remedies=(Remedy({}, "follow the input through the layers: which is the first whose outputs are all alike?"),),
    )]  # fmt: skip


def wrong_update(n: NetworkFacts) -> list[Finding]:
    s = n.step
    if s.cosine > AGAINST and s.risen:
        return [Finding(
            "wrong_update", "error",
            f"the optimizer's update goes uphill (its cosine with the gradient is {s.cosine:.2f}): a small step along "
            "it raises the loss", evidence={"cosine": s.cosine}, confidence=0.95,
            remedies=(Remedy({}, "check its sign: an optax chain ends in scale(-learning_rate)"), USUAL_OPTIMIZER),
        )]  # fmt: skip
    if s.agreement < -0.3:
        where = f" of {s.layer!r}" if s.layer else ""
        return [Finding(
            "wrong_update", "warning",
            f"a small step against the gradient{where} raises the loss where it should fall ({s.agreement:.2g} of what "
            "was foretold)", layer=s.layer, evidence={"agreement": s.agreement}, confidence=0.9,
            remedies=(Remedy({}, "check custom gradients (custom_vjp, stop_gradient) and their signs"),),
        )]  # fmt: skip
    return []


def cannot_overfit(n: NetworkFacts) -> list[Finding]:
    h = n.heart
    if h is None or not h.before > 0:
        return []
    left = h.after / h.before
    if left <= BY_HEART:
        return []
    return [Finding(
        "cannot_overfit", "warning",
        f"it cannot learn {counted(h.rows, 'row')} by heart: the loss goes from {h.before:.3g} to {h.after:.3g} only",
        evidence={"rows": h.rows, "before": h.before, "after": h.after}, confidence=0.8,
        remedies=(Remedy({"network": "mlp:64,64"}, "more units, with an activation"),),
    )]  # fmt: skip


CHECKS = (
    nonfinite_loss, no_nonlinearity, frozen_layer, bad_initial_weights, symmetric_units, dead_units, ignores_input,
    wrong_update, cannot_overfit,
)  # fmt: skip
