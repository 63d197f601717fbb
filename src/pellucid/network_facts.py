"""The facts of a network, its loss and one batch, as plain numbers for the doctor's checks (see `preflight.py`)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Prepared
from pellucid.data.parts import runs
from pellucid.doctor.loss_checks import LossFacts
from pellucid.doctor.network_checks import HeartFacts, Joint, LayerFacts, NetworkFacts, StepFacts
from pellucid.doctor.row_checks import row_keys
from pellucid.glance import Arrays, Glance, Looked, agreement, batch_size, by_heart, dot, norm, walked
from pellucid.network.activations import Activation
from pellucid.network.composite import Sequential
from pellucid.network.layer import Layer
from pellucid.network.network import Network
from pellucid.network.recurrent import Recurrent
from pellucid.network.trace import trace
from pellucid.train.loss import CustomLoss
from pellucid.train.losses import Joint as JointLoss
from pellucid.train.optimizer import RawOptimizer

LINEAR = ("dense", "output", "conv", "conv_transpose")
PLAIN = ("input", "flatten", "dropout", "identity", "grey", "upsample", "batch_norm", "steps")
POOLS = ("max_pool", "average_pool", "mean_pool", "global_pool")
NORMS = ("batch_norm", "layer_norm", "rms_norm")
HEART_ROWS = 16
HEART_OPERATIONS, HEART_STEPS = 2e11, (40, 200)  # a few seconds at most


def batch_of(layer: Layer, prepared: Prepared, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of training rows drawn with the seed (runs of neighbours, where they stay on disk); different rows first,
    and classes in turn."""
    train = prepared.train
    rows = batch_size(layer, jax.ShapeDtypeStruct((1, *train.x.shape[1:]), train.x.dtype), len(train))
    pool = min(len(train), 16 * rows)
    if isinstance(train.x, np.ndarray):
        some = np.random.Generator(np.random.Philox(seed)).permutation(len(train))[:pool]
    else:
        some = runs(len(train), pool)
    x, y = np.asarray(train.x[some]), np.asarray(train.y[some])
    turn = _turns(row_keys(x))
    if y.ndim == 1 and prepared.targets.task == "classification":
        turn = turn * len(y) + np.where(turn == 0, _turns(np.where(turn == 0, y, -1 - np.arange(len(y)))), 0)
    order = np.argsort(turn, kind="stable")[:rows]
    return x[order], y[order]


def _turns(values: np.ndarray) -> np.ndarray:
    """How often each value has come before.

    >>> _turns(np.array([5, 5, 7, 5])).tolist()
    [0, 1, 0, 2]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    begin = np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0))
    out = np.empty(len(values), np.int64)
    out[order] = np.arange(len(values)) - begin
    return out


# -- structure ----------------------------------------------------------------------------------------------------


def chain(layer: Layer, path: str = "") -> list[tuple[str, Layer]]:
    """The layers that follow each other, sequentials within sequentials laid open; any other composite is one part."""
    if not isinstance(layer, Sequential):
        return [(path, layer)]
    return [pair for name, part in layer.layers for pair in chain(part, f"{path}/{name}" if path else name)]


def standing_before(network: Network, x: Any) -> set[str]:
    """What stands before the first layer with weights: "norm" where one normalises, "opaque" where it is not known."""
    found: set[str] = set()
    for leaf in trace(network.layer, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)).leaves:
        if leaf.layer.name in NORMS:
            found.add("norm")
        if leaf.layer.name == "foreign" or type(leaf.layer).__module__.partition(".")[0] != "pellucid":
            found.add("opaque")
        if any(len(p.shape) > 1 and p.trained for p in leaf.layer.declare(leaf.x).values()):
            break
    return found


def _role(part: Layer) -> Any:
    return "linear" if part.name in LINEAR else "plain" if part.name in PLAIN else "bend"


def joints(glance: Glance) -> tuple[Joint, ...]:
    widths = {leaf.path: (leaf.x, leaf.y) for leaf in glance.traced.leaves}
    made = []
    for path, part in chain(glance.network.layer):
        x, y = widths.get(path, (None, None))
        sizes = [int(a.shape[-1]) if hasattr(a, "shape") and a.ndim > 1 else 0 for a in (x, y)]
        made.append(Joint(path, _role(part), *sizes))
    return tuple(made)


def signals(glance: Glance, looked: Looked) -> tuple[tuple[tuple[str, float], ...], ...]:
    """See `NetworkFacts`. Activations, pools and what has no weights leave a stretch as it is; all else ends it."""
    x = glance.x.astype(np.float32) if glance.x.dtype.kind in "fu" else None
    size = math.nan if x is None else float(np.sqrt(np.nanmean(np.var(x, axis=0))))
    ways: list[list[tuple[str, float]]] = [[("the input", size)]]
    for path, part in chain(glance.network.layer):
        signal = float(looked.layers[path][1]) if path in looked.layers else math.nan
        if part.name in LINEAR:
            ways[-1].append((path, signal))
        elif part.name == "input" and len(ways[-1]) == 1:
            ways[-1][0] = ("the input", signal)
        elif not (isinstance(part, Activation) or part.name in POOLS or part.name in PLAIN) or part.name in NORMS:
            ways.append([(path, signal)])
    return tuple(tuple(way) for way in ways if len(way) > 1)


# -- loss ---------------------------------------------------------------------------------------------------------


def loss_facts(glance: Glance, prepared: Prepared) -> LossFacts:
    loss, targets = glance.loss, prepared.targets
    parts = [(path, part) for path, part in chain(glance.network.layer) if part.name not in ("dropout", "identity")]
    path, last = parts[-1] if parts else ("", glance.network.layer)
    narrow = [
        leaf.path or "softmax"
        for leaf in glance.traced.leaves
        if leaf.layer.name == "softmax" and leaf.y.shape[-1] == 1
    ]
    kind: Any = next(iter(targets.kinds)) if len(targets.kinds) == 1 else "mixed"
    return LossFacts(
        name=loss.name, link="joint" if isinstance(loss, JointLoss) else loss.link, last=last.name,
        path=path or last.name, outputs=glance.outputs, kind=kind,
        classes=len(targets.classes), y=np.asarray(prepared.train.y[:2000]),
        from_probabilities=bool(getattr(loss, "from_probabilities", False)), custom=isinstance(loss, CustomLoss),
        batch=_reduction(glance) if isinstance(loss, CustomLoss) else "", narrow=narrow[0] if narrow else None,
        usual="" if targets.loss == "joint" else targets.loss,
    )  # fmt: skip


def _reduction(glance: Glance) -> Any:
    """How the loss of a batch follows from its rows' (see `LossFacts.batch`): from four rows, together and in pairs."""
    n = min(4, glance.rows)
    shape = (n, *glance.traced.y.shape[1:])
    outputs = np.random.Generator(np.random.Philox(1)).normal(size=shape).astype(np.float32)
    y = glance.y[:n]
    loss = lambda i, j: float(jnp.mean(glance.loss.per_example(jnp.asarray(outputs[i]), jnp.asarray(y[j]))))  # noqa: E731
    whole, each = loss(slice(None), slice(None)), np.empty((n, n))
    for i in range(n):
        for j in range(n):
            each[i, j] = loss(slice(i, i + 1), slice(j, j + 1))
    own = float(np.trace(each)) / n
    for name, expected in (("mean", own), ("sum", own * n), ("pairs", float(each.mean()))):
        if math.isclose(whole, expected, rel_tol=1e-4, abs_tol=1e-6):
            return name
    return ""


def trivial_loss(name: str, y: np.ndarray, outputs: int) -> float:
    """The loss of the best constant answer to these targets; NaN where that is not known.

    >>> round(trivial_loss("cross_entropy", np.array([0, 1, 1, 0]), 2), 4)
    0.6931
    """
    if not len(y):
        return math.nan
    if y.dtype.kind in "iu":
        known = y[y >= 0]
        if not known.size:
            return math.nan
        p = np.bincount(known.reshape(-1).astype(np.int64), minlength=2) / known.size
    else:
        p = y.mean(axis=0)
    q = p[(p > 0) & (p < 1)] if name in ("cross_entropy", "binary_cross_entropy") else p
    if name == "cross_entropy" and y.dtype.kind in "iu":
        return float(-(q * np.log(q)).sum())
    if name == "binary_cross_entropy":
        h = -(q * np.log(q) + (1 - q) * np.log(1 - q))
        return float(h[-1] if outputs == 1 and y.dtype.kind in "iu" and len(h) else h.sum() / max(np.size(p), 1))
    if name == "mean_squared_error":
        return float((p * (1 - p)).mean()) if y.dtype.kind in "iu" else float(y.var(axis=0).mean())
    return math.nan


# -- network ------------------------------------------------------------------------------------------------------


def network_facts(glance: Glance, first: Looked) -> NetworkFacts:
    trained, later = walked(glance, first)
    weights = sum(w.size for w in glance.trained.values())
    return NetworkFacts(
        layers=layer_facts(glance, first, later), chain=joints(glance), weights=weights, loss=float(first.loss),
        trivial=trivial_loss(glance.loss.name, glance.y, glance.outputs), signals=signals(glance, first),
        differs=max(differs(glance, glance.trained, first), differs(glance, trained, later)),
        step=step_facts(glance, first), rows=glance.rows,
    )  # fmt: skip


def differs(glance: Glance, trained: Arrays, looked: Looked) -> float:
    """How far the outputs of different examples lie apart: each example's against those of the one before it."""
    if glance.rows < 2 or not np.isfinite(looked.outputs).all():
        return 1.0
    other = glance.look(trained, x=np.roll(glance.x, 1, axis=0)).outputs
    size = float(np.sqrt(np.square(looked.outputs.astype(np.float64)).mean()))
    return float(np.abs(other - looked.outputs).max()) / max(size, 1e-30)


def layer_facts(glance: Glance, first: Looked, later: Looked) -> tuple[LayerFacts, ...]:
    """Every leaf in order, then what has weights and is none."""
    owned: dict[str, list[str]] = {}
    for path in (*glance.trained, *glance.fixed):
        owned.setdefault(path.rpartition("/")[0], []).append(path)
    leaves = {leaf.path: leaf.layer for leaf in glance.traced.leaves}
    made = []
    for path in dict.fromkeys((*leaves, *owned)):
        layer = leaves.get(path)
        rms, signal, silent = (float(v) for v in first.layers.get(path, (math.nan, math.nan, 0.0)))
        free = [p for p in owned.get(path, []) if p in glance.trained]
        units, different, blocks = _units(layer, [(glance.trained[p], first.gradient[p]) for p in free])
        made.append(LayerFacts(
            path=path, kind=layer.name if layer is not None else "", rms=rms, signal=signal, silent=bool(silent),
            gradient=_rms(first.gradient, free), later=_rms(later.gradient, free), units=units, different=different,
            blocks=blocks, frozen=path in owned and not free,
        ))  # fmt: skip
    return tuple(made)


def _rms(gradient: Arrays, paths: list[str]) -> float:
    if not paths:
        return math.nan
    return norm({p: gradient[p] for p in paths}) / math.sqrt(sum(gradient[p].size for p in paths))


def _units(layer: Layer | None, weights: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, int, int]:
    """(units, how many differ from the first of their gate, gates): a unit is a place on the last axis of all the
    layer's weights. Its gradient is compared within rounding."""
    matrices = [w for w, _ in weights if w.ndim > 1]
    if not matrices:
        return 0, 0, 1
    width = matrices[0].shape[-1]
    blocks = layer.gates if isinstance(layer, Recurrent) else 1
    unlike = np.zeros(width // blocks * blocks, bool)
    for w, g in weights:
        if w.shape[-1:] != (width,):
            continue
        for values, slack in ((w, 1e-6), (g, 1e-4)):
            rows = values.reshape(-1, blocks, width // blocks)
            rows = rows[:: max(len(rows) // 256, 1)] if slack == 1e-6 else rows  # random ones differ at once
            limit = slack * np.abs(rows).max(initial=0.0) if rows.size else 0.0
            unlike |= (np.abs(rows - rows[..., :1]) > limit).any(axis=0).reshape(-1)
            if unlike.sum() == width - blocks:
                return width, width, blocks
    return width, int(unlike.sum()) + blocks, blocks


def step_facts(glance: Glance, first: Looked) -> StepFacts:
    gradient, update = first.gradient, first.update
    size, loss = norm(gradient), float(first.loss)
    optimizer = glance.settings.optimizer
    rate, raw = optimizer.learning_rate, isinstance(optimizer, RawOptimizer)
    length = norm(update)
    if not (math.isfinite(size) and size > 0 and math.isfinite(loss) and math.isfinite(length)):
        return StepFacts(learning_rate=rate, moves=raw or rate is None or rate > 0)
    if length == 0:  # one of optax's own may begin at a rate of 0, or gather batches
        cosine, risen = -1.0, False
    else:
        slope = dot(gradient, update)
        cosine, risen = slope / (size * length), False
        if cosine > 0:
            risen = agreement(glance, update, slope, loss) > 0
    agrees = agreement(glance, gradient, size**2, loss)
    layer = None
    if agrees < 0.9:
        worst = min(
            ((_alone(glance, gradient, path, loss), path) for path in _groups(gradient)), default=(1.0, ""),
            key=lambda pair: pair[0] if math.isfinite(pair[0]) else 1.0,
        )  # fmt: skip
        if math.isfinite(worst[0]) and worst[0] < -0.3:
            agrees, layer = worst
    return StepFacts(
        cosine=cosine, risen=risen, agreement=agrees if math.isfinite(agrees) else 1.0, layer=layer,
        moves=length > 0 or raw, learning_rate=rate,
    )  # fmt: skip


def _groups(gradient: Arrays) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[0] for path in gradient))[:32]


def _alone(glance: Glance, gradient: Arrays, group: str, loss: float) -> float:
    """The agreement of a step of one layer's weights alone."""
    own = {p: g if p.rpartition("/")[0] == group else np.zeros_like(g) for p, g in gradient.items()}
    square = dot(own, own)
    return agreement(glance, own, square, loss) if square > 0 else math.nan


def heart_facts(glance: Glance) -> HeartFacts | None:
    """Learn the first rows of the batch by heart."""
    rows = min(HEART_ROWS, glance.rows)
    y = glance.y[:rows]
    before = trivial_loss(glance.loss.name, y, glance.outputs)
    weight = (np.arange(glance.rows) < rows).astype(np.float32)
    if not math.isfinite(before):
        before = float(glance.look(weight=weight).loss)
    if not before > 0 or not math.isfinite(before):
        return None
    low, high = HEART_STEPS
    steps = int(min(max(HEART_OPERATIONS / max(glance.cost, 1), low), high))
    return HeartFacts(rows, before, by_heart(glance, weight, steps))
