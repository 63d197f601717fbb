"""One pass over some training rows and some held-out ones that keeps what is needed of every layer's output.

Of each layer: at most `FEATURES` numbers an example. A larger output is folded: its numbers, each times a random sign
of its own (fixed), are summed into `FEATURES` places. That is a linear map that keeps inner products in the mean
(Charikar et al. 2002; Weinberger et al. 2009), so a linear probe may read it in place of the output. Of images, each
unit's largest response too, and where it was.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Part, Prepared
from pellucid.data.parts import strided
from pellucid.network.layer import Context, Layer
from pellucid.network.network import Network
from pellucid.network.probes import Probes
from pellucid.network.rows import pad_rows, power_of_two
from pellucid.network.trace import block_rows, trace

FEATURES = 512
TRAINING, HELD_OUT = 1_024, 512  # rows, where the network is cheap; twice as many, where each step of one counts
LEAST = 8  # rows of either, or nothing is said
WORK = 20_000_000_000  # operations that the pass may take; of a dearer network fewer rows are read
NUMBERS = 60_000_000  # that may leave the layers in all
MOST_LAYERS = 24
MOST_PEAKS = 4
# they pass on what they got, or, when they do not learn, a multiple of it for each channel, which a linear probe reads
# alike
SILENT = ("flatten", "dropout", "identity", "input", "grey", "batch_norm")


@dataclass(frozen=True, eq=False)
class Looked:
    """x: [m, ...], encoded, the first `training` of them training rows.   y: the targets [k], one a row of `features`.
    features: {layer: [k, at most FEATURES]}, "input" first.   split: how many of the k are for training.
    peaks: {layer: (largest response [m, units], where [m, units] as a place in `places[layer]`)}.
    each: what a row of the features is: an example, or a step of one.
    """

    x: np.ndarray
    y: np.ndarray
    training: int
    split: int
    features: dict[str, np.ndarray]
    sizes: dict[str, int]
    peaks: dict[str, tuple[np.ndarray, np.ndarray]]
    places: dict[str, tuple[int, int]]
    each: str


class _Taps(Probes):
    """Keeps a small form of what leaves each watched layer."""

    def __init__(self, watched: tuple[str, ...], peaks: tuple[str, ...], steps: bool, sequence: bool):
        super().__init__({})
        self.watched, self.peaks, self.steps, self.sequence = watched, peaks, steps, sequence
        self.ctx: Context | None = None
        self.found: dict[str, Any] = {}
        self.largest: dict[str, Any] = {}

    def tap(self, path: str, y: Any) -> Any:
        if path in self.watched:
            self.found[path] = small(y, self.steps, self.sequence, self.ctx.valid if self.ctx is not None else None)
        if path in self.peaks:
            self.largest[path] = _peak(y)
        return y


def small(y: jax.Array, steps: bool = False, sequence: bool = False, valid: jax.Array | None = None) -> jax.Array:
    """[n, ...] -> [n, at most FEATURES]. Of sequences [n, steps, d] the mean over the (real) steps; or, where each step
    is an example of its own, [n * steps, ...].

    >>> small(jnp.ones((2, 3, 4))).shape, small(jnp.ones((2, 3, 4)), steps=True).shape
    ((2, 12), (6, 4))
    """
    y = y.astype(jnp.float32)
    if steps:
        return folded(y.reshape(-1, y.shape[-1]))
    if sequence and y.ndim == 3:
        if valid is None or valid.shape != y.shape[:2]:
            return folded(y.mean(1))
        real = valid[..., None]
        return folded(jnp.where(real, y, 0.0).sum(1) / jnp.maximum(real.sum(1), 1))
    return folded(y.reshape(y.shape[0], -1))


def folded(y: Any, xp: Any = jnp) -> Any:
    """[n, d] -> [n, min(d, FEATURES)], see the top of the file; by jax.numpy or numpy."""
    d = y.shape[1]
    if d <= FEATURES:
        return y
    signs = np.random.default_rng(d).integers(0, 2, d).astype(np.float32) * 2 - 1
    rest = -d % FEATURES
    return xp.pad(y * signs, ((0, 0), (0, rest))).reshape(y.shape[0], -1, FEATURES).sum(1)


def _peak(y: jax.Array) -> tuple[jax.Array, jax.Array]:
    if y.ndim == 2:
        return y, jnp.zeros(y.shape, jnp.int32)
    flat = y.reshape(y.shape[0], -1, y.shape[-1])  # [n, h, w, c] -> [n, h * w, c]
    return flat.max(1), flat.argmax(1).astype(jnp.int32)


@partial(jax.jit, static_argnums=(0, 4, 5, 6, 7))
def _pass(layer: Layer, params: Any, state: Any, x: Any, watched: Any, peaks: Any, steps: bool, sequence: bool) -> Any:
    taps = _Taps(watched, peaks, steps, sequence)
    taps.ctx = Context(state=state, probes=taps)
    taps.ctx.run(layer, params, x)
    return taps.found, taps.largest


def look(network: Network, prepared: Prepared, held_out: str, images: bool, operations: int) -> Looked:
    """Read some rows of the training part and some of part `held_out`."""
    steps, sequence = prepared.targets.each_step, not images and len(network.example().shape) != 2
    sequence = sequence or prepared.features.vocabulary is not None
    each = network.example().shape[1] if steps else 1
    wanted = (TRAINING + HELD_OUT) // (each if each == 1 else max(each // 2, 1))
    afford = min(WORK // operations, NUMBERS // max(_numbers(network), 1), wanted)
    count = max(afford, 3 if steps else 3 * LEAST)
    some = [_some(prepared.train, count * 2 // 3), _some(getattr(prepared, held_out), count - count * 2 // 3)]
    x = np.concatenate([part.x[rows] for part, rows in some])
    y = np.concatenate([part.y[rows] for part, rows in some])
    watched, peaks, places = _layers(network, steps, images)
    found, largest = _read(network, x, watched, peaks, steps, sequence)
    training = len(some[0][1])
    features = {"input": _of_input(x, prepared, steps), **found}
    split = training
    if steps:
        y = y.reshape(-1)
        real = ~np.isnan(y) if y.dtype.kind == "f" else y >= 0
        split = int(real[: training * each].sum())
        y, features = y[real], {path: values[real] for path, values in features.items()}
    sizes = {leaf.path: int(np.prod(leaf.y.shape[2 if steps else 1 :])) for leaf in _leaves(network)}
    sizes["input"] = int(np.prod(x.shape[1:]))
    return Looked(x, y, training, split, features, sizes, largest, places, "step" if steps else "example")


def _some(part: Part, most: int) -> tuple[Part, np.ndarray]:
    return part, strided(len(part), max(most, 1))


def _leaves(network: Network) -> list[Any]:
    """The leaves that give one array of numbers, in forward order, each path once."""
    leaves = {
        leaf.path: leaf
        for leaf in trace(network.layer, network.example()).leaves
        if hasattr(leaf.y, "dtype") and jnp.issubdtype(leaf.y.dtype, jnp.floating)
    }
    return list(leaves.values())


def _numbers(network: Network) -> int:
    return sum(int(np.prod(leaf.y.shape)) for leaf in _leaves(network))


def _layers(network: Network, steps: bool, images: bool) -> tuple[tuple[str, ...], tuple[str, ...], dict]:
    """(the layers to read, those of them whose units' peaks are kept, and the latter's places)."""
    leaves = [leaf for leaf in _leaves(network) if leaf.layer.name not in SILENT]
    leaves = [leaf for leaf in leaves if len(leaf.y.shape) == 3] if steps else leaves
    watched = [leaf.path for leaf in leaves]
    if len(watched) > MOST_LAYERS:
        watched = [watched[i] for i in np.linspace(0, len(watched) - 1, MOST_LAYERS).round().astype(int)]
    if not images:
        return tuple(watched), (), {}
    bent = [leaf for leaf in leaves[:-1] if is_activation(leaf.layer)] or [
        leaf for leaf in leaves[:-1] if leaf.layer.name in ("conv", "dense")
    ]
    bent = [leaf for leaf in bent if len(leaf.y.shape) in (2, 4)]
    picked = strided(len(bent), MOST_PEAKS) if bent else []
    peaks = [bent[i] for i in picked]
    places = {leaf.path: tuple(leaf.y.shape[1:3]) if len(leaf.y.shape) == 4 else (1, 1) for leaf in peaks}
    return tuple(watched), tuple(leaf.path for leaf in peaks), places


def is_activation(layer: Layer) -> bool:
    """Whether a layer bends each number by itself."""
    return type(layer).__module__ == "pellucid.network.activations" and layer.name != "identity"


def _read(network: Network, x: np.ndarray, watched: Any, peaks: Any, steps: bool, sequence: bool) -> tuple[dict, dict]:
    params, state = network._weights()
    size = min(block_rows(network.layer, network.example()), power_of_two(len(x)))
    found: list[Any] = []
    largest: list[Any] = []
    each = x.shape[1] if steps else 1
    for start in range(0, len(x), size):
        block, n = pad_rows(x[start : start + size], size)
        one, other = jax.device_get(_pass(network.layer, params, state, block, watched, peaks, steps, sequence))
        found.append({path: value[: n * each] for path, value in one.items()})
        largest.append({path: (v[:n], at[:n]) for path, (v, at) in other.items()})
    features = {path: np.concatenate([block[path] for block in found]) for path in watched if path in found[0]}
    tops = {
        path: tuple(np.concatenate([block[path][i] for block in largest]) for i in (0, 1))
        for path in peaks
        if path in largest[0]
    }
    return features, tops


def _of_input(x: np.ndarray, prepared: Prepared, steps: bool) -> np.ndarray:
    """What arrives, as numbers a linear model could read: pixels and columns as they are, tokens counted."""
    vocabulary = prepared.features.vocabulary
    if vocabulary is None:
        values = np.nan_to_num(x.astype(np.float32))
        return folded(values.reshape(-1, x.shape[-1]) if steps else values.reshape(len(x), -1), np)
    flat = np.eye(vocabulary, dtype=np.float32)[x.reshape(-1)] if steps else _counts(x, vocabulary)
    return folded(flat, np)


def _counts(x: np.ndarray, vocabulary: int) -> np.ndarray:
    """How often each token is in each text: ids [n, steps] -> [n, vocabulary]; padding, 0, counted as nothing."""
    out = np.zeros((len(x), vocabulary), np.float32)
    np.add.at(out, (np.arange(len(x))[:, None], x), 1.0)
    out[:, 0] = 0.0
    return out
