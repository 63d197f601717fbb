"""Which networks the native library answers by itself (`native.line`): those whose layers stand in a line and are of
the kinds below. All others are answered by JAX, and so are these where an array is not one of float32 on the CPU."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from pellucid.errors import NetworkError
from pellucid.native import native, on_cpu
from pellucid.native.calls import KINDS, Sliding, Then
from pellucid.native.library import in_plain_jax
from pellucid.native.line import Line, Room, Stage
from pellucid.network.activations import Identity, native_bend
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv, Grey
from pellucid.network.convolve import Window, sliding
from pellucid.network.dense import Dense, Dropout, Flatten, Input, Output
from pellucid.network.joined import followers
from pellucid.network.layer import Layer
from pellucid.network.norm import BatchNorm
from pellucid.network.pool import GlobalPool, MaxPool
from pellucid.network.recurrent import GRU, LSTM, RNN, Recurrent, Steps

if TYPE_CHECKING:
    from pellucid.network.network import Network

Shape = tuple[int, ...]
Arrays = dict[str, np.ndarray]
FLOAT32 = np.dtype(np.float32)
SMALL, KEPT = 1 << 14, 8  # numbers of a small batch, and shapes of such that rooms are kept for
END = (object(),)  # behind all that a network holds, so that neither more nor less of it goes unnoticed
NUMBERS = "fiub"  # kinds of numbers that become float32 here as they would in JAX: floats, whole numbers, truths


class Unfit(Exception):
    """The library cannot answer this network."""


@dataclass
class Place:
    """Where a walk through the layers stands: the shape of an example, and what lies behind."""

    shape: Shape
    behind: list[tuple[Layer, Arrays]]
    taken: int = 0  # of the layers behind: the stage computes them too

    @property
    def image(self) -> jax.ShapeDtypeStruct:
        """What arrives, as a batch of one for the layers' own sums; a sequence is an image of height 1."""
        if len(self.shape) not in (2, 3):
            raise Unfit
        return jax.ShapeDtypeStruct((1, *((1, *self.shape) if len(self.shape) == 2 else self.shape)), np.float32)

    def restored(self, out: Shape) -> Shape:
        """The shape of an example after a window went over `image`."""
        return out[1:] if len(self.shape) == 2 else out


def _input(layer: Input, p: Arrays, at: Place) -> Stage:
    if layer.padded or layer.shape not in (None, at.shape):
        raise Unfit
    return _scaled(at, p["mean"], 1 / p["scale"], None)


def _check(p: Arrays, **shapes: Shape) -> None:
    """The library reads as many numbers as the shapes say, and nothing there would stop it."""
    if any(name in p and p[name].shape != shape for name, shape in shapes.items()):
        raise Unfit


def _scaled(at: Place, mean: np.ndarray, factor: np.ndarray, bias: np.ndarray | None) -> Stage:
    if mean.shape not in ((), at.shape[-1:], at.shape) or factor.shape != mean.shape:
        raise Unfit
    bias = None if bias is None else _dense(bias)
    return Stage("scale", at.shape, at.shape, w=_dense(mean), u=_dense(factor), b=bias)


def _weighted(layer: Dense | Output, p: Arrays, at: Place) -> Stage:
    _check(p, w=(at.shape[-1], int(layer.width or 0)), b=(int(layer.width or 0),))
    return Stage("dense", at.shape, (*at.shape[:-1], p["w"].shape[1]), w=p["w"], b=p.get("b"))


def _convolved(layer: Conv, p: Arrays, at: Place) -> Stage:
    if layer.groups != 1:
        raise Unfit
    image = at.image
    window = layer._window(jax.ShapeDtypeStruct((1, *at.shape), np.float32), None)
    found = sliding(window, image)  # type: ignore[arg-type]
    _check(p, w=(*window.size[2 - len(at.shape[:-1]) :], at.shape[-1], layer.width), b=(layer.width,))
    kernel, b, behind = p["w"].reshape(*window.size, *p["w"].shape[-2:]), p.get("b"), at.behind
    if behind and type(behind[0][0]) is BatchNorm:  # a factor and a sum for each channel, which the weights take in
        mean, factor, bias = _normalisation(*behind[0], layer.width)
        kernel, b = kernel * factor, bias - (mean if b is None else mean - b) * factor
        at.taken = 1
    out = at.restored((*found.out, layer.width))
    then = followers([layer for layer, _ in behind[at.taken :]], (1, *out)) or Then()
    at.taken += then.layers
    final = at.restored((*then.out(found.out), layer.width))
    return Stage("convolve", image.shape[1:], final, w=kernel, b=b, size=window.size, how=found, then=then)


def _largest(layer: MaxPool, p: Arrays, at: Place) -> Stage:
    window: Window = layer.window(jax.ShapeDtypeStruct((1, *at.shape), np.float32), None)
    how: Sliding = sliding(window, at.image)  # type: ignore[arg-type]
    out = at.restored((*how.out, at.shape[-1]))
    return Stage("largest", at.image.shape[1:], out, size=window.size, how=how)


def _mean(layer: GlobalPool, p: Arrays, at: Place) -> Stage:
    if layer.kind != "mean" or len(at.shape) < 2:
        raise Unfit
    return Stage("mean", at.shape, at.shape[-1:])


def _normalised(layer: BatchNorm, p: Arrays, at: Place) -> Stage:
    return _scaled(at, *_normalisation(layer, p, at.shape[-1]))


def _normalisation(layer: Any, p: Arrays, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - the first) * the second + the third is what a `BatchNorm` gives that does not learn. Each: [n]."""
    _check(p, mean=(n,), var=(n,), scale=(n,), bias=(n,))
    return p["mean"], p["scale"] / np.sqrt(p["var"] + np.float32(layer.epsilon)), p["bias"]


def _recurrent(layer: Recurrent, p: Arrays, at: Place) -> Stage:
    kind = layer.kernel()
    if kind is None or len(at.shape) != 2 or KINDS[kind].fed != ("v" in p):
        raise Unfit
    width, wide = layer.width, layer.gates * layer.width
    _check(p, w=(at.shape[-1], wide), b=(wide,), u=(width, wide), v=(width,))
    out = (at.shape[0], width) if layer.each_step else (width,)
    how = {"kind": kind, "backwards": layer.backwards, "each_step": layer.each_step}
    return Stage("recur", at.shape, out, w=p["w"], b=p["b"], u=p["u"], v=p.get("v"), **how)


STAGES: dict[type[Layer], Callable[[Any, Arrays, Place], Stage]] = {
    Input: _input, Dense: _weighted, Output: _weighted, Conv: _convolved, MaxPool: _largest, GlobalPool: _mean,
    BatchNorm: _normalised, RNN: _recurrent, LSTM: _recurrent, GRU: _recurrent,
}  # fmt: skip
NOTHING: tuple[type[Layer], ...] = (Dropout, Identity)  # when a network answers
SHAPES: dict[type[Layer], Callable[[Shape], Shape]] = {
    Flatten: lambda shape: (int(np.prod(shape)),),
    Grey: lambda shape: (*shape, 1) if len(shape) == 2 else (),
    Steps: lambda shape: (shape[0], int(np.prod(shape[1:]))) if len(shape) > 1 else (),
}


def stages_of(
    layer: Layer, params: Mapping[str, Any], state: Mapping[str, Any], shape: Shape
) -> tuple[list[Stage], Shape]:
    """A network as stages for examples of this shape, and the shape that it gives (what flattens has no stage). Raises
    `Unfit` where it is none.

    >>> from pellucid.network.activations import Tanh
    >>> w = {"w": np.ones((4, 2), "float32"), "b": np.zeros(2, "float32")}
    >>> stages, shape = stages_of(Sequential(Dense(2), Tanh()), {"dense1": w}, {}, (4,))
    >>> [(stage.act, stage.out, stage.bend) for stage in stages], shape
    ([('dense', (2,), 'tanh')], (2,))
    """
    parts, found = list(_in_line(layer, params, state)), list[Stage]()
    while parts:
        (part, p), *parts = parts
        kind = type(part)
        if kind in SHAPES:
            shape = SHAPES[kind](shape)
        elif kind not in NOTHING and (bend := native_bend(part)) is not None:
            last = found[-1] if found else None
            if last is not None and last.act in ("dense", "scale", "bend") and last.bend == "identity":
                found[-1] = replace(last, bend=bend)
            else:
                found.append(Stage("bend", shape, shape, bend))
        elif kind in STAGES:
            at = Place(shape, parts)
            found.append(STAGES[kind](part, p, at))
            shape, parts = found[-1].out, parts[at.taken :]
        elif kind not in NOTHING:
            raise Unfit
        if not shape or not all(shape):
            raise Unfit
    if not found:
        raise Unfit
    return found, shape


def _in_line(layer: Layer, params: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[tuple[Layer, Arrays]]:
    if type(layer) is Sequential:
        for name, part in layer.layers:
            yield from _in_line(part, params.get(name, {}), state.get(name, {}))
    else:
        yield layer, {name: _dense(a) for name, a in {**params, **state}.items()}


def _dense(a: Any) -> np.ndarray:
    """The numbers where they are, if they are float32 in the CPU's memory. `Unfit` for all else, such as what is only
    traced."""
    if isinstance(a, Tracer) or getattr(a, "dtype", None) != np.float32:
        raise Unfit
    if isinstance(a, jax.Array) and {device.platform for device in a.devices()} != {"cpu"}:
        raise Unfit
    return np.asarray(a, order="C")


class Answers:
    """What the library makes of a network's calls. It holds the line that was made for the last shape of examples, as
    long as the network has the same arrays."""

    def __init__(self) -> None:
        self._shape: Shape | None = None
        self._line: Line | None = None
        self._rooms: dict[Shape, Room] = {}  # of the line, by the shapes of small batches
        self._tops: tuple[Any, Any] = (None, None)  # weights and running state, which are nested dicts:
        self._views: list[Iterable[Any]] = []  # what each of these holds now,
        self._held: list[Any] = []  # and held then, one after the other

    def __reduce__(self) -> Any:  # a copy of a network finds its own
        return Answers, ()

    def __call__(self, network: "Network", x: np.ndarray) -> np.ndarray | None:
        """The outputs for x [batch, ...], or None where JAX is to give them."""
        room = self._rooms.get(x.shape)
        if room is None or x.dtype is not FLOAT32:
            return self._any(network, x)
        if not self._unchanged(network) or in_plain_jax():
            return self._any(network, x)
        return self._line.within(room, x)  # type: ignore[union-attr]  # whose room it is

    def _any(self, network: "Network", x: np.ndarray) -> np.ndarray | None:
        if x.shape[1:] != self._shape or not self._unchanged(network):
            self._renew(network, x.shape[1:])
        if self._line is None or x.dtype.kind not in NUMBERS or in_plain_jax():
            return None
        if x.dtype.itemsize > 4 and jax.config.read("jax_enable_x64"):  # which JAX would not make float32 of
            return None
        if 0 < x.size <= SMALL and len(self._rooms) < KEPT:
            self._rooms[x.shape] = self._line.room(x.shape)
        return self._line(x)

    def _unchanged(self, network: "Network") -> bool:
        params, state = self._tops
        if params is not network.params or state is not network.state:
            return False
        return all(map(operator.is_, chain.from_iterable(self._views), self._held))

    def _renew(self, network: "Network", shape: Shape) -> None:
        params, state = self._tops = network.params, network.state
        self._shape, self._line, self._rooms = shape, None, {}
        self._views = [*(d.values() for top in (params, state) for d in _dicts(top)), END]
        self._held = [*chain.from_iterable(self._views)]
        if native().isa is None or not on_cpu() or not shape:
            return
        try:
            self._line = Line(*stages_of(network.layer, params or {}, state or {}, shape))
        except (Unfit, NetworkError, KeyError):  # JAX's way says what is wrong, where something is
            return


def _dicts(top: Any) -> Iterator[dict[str, Any]]:
    if isinstance(top, dict):
        yield top
        for value in top.values():
            yield from _dicts(value)
