"""Layers made of layers. A composite owns no weights; it runs its parts by `ctx.call(name, part, p, x)`.

A part's name is its place in the tree of weights, so names are unique among siblings and hold no slash.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

import jax.numpy as jnp

from pellucid.errors import NetworkError, SettingError
from pellucid.network.layer import Context, Layer, join, layer, show_shape

Named = tuple[tuple[str, Layer], ...]
Part = Layer | type[Layer] | str | tuple[str, Layer]


def named(parts: Iterable[Any]) -> Named:
    """(name, layer) pairs of layers with or without names; those without get their kind and a running number.

    >>> from pellucid.network.activations import ReLU, Tanh
    >>> [name for name, _ in named([ReLU(), ("bend", Tanh()), ReLU()])]
    ['relu1', 'bend', 'relu2']
    """
    pairs = [tuple(part) if _is_pair(part) else (None, _single(part)) for part in parts]
    taken = {name for name, _ in pairs}
    count: Counter[str] = Counter()
    out = []
    for name, part in pairs:
        part = Layer.of(part)
        if name is None:  # a number that a name given by hand has taken is passed over
            count[part.name] = next(n for n in itertools.count(count[part.name] + 1) if f"{part.name}{n}" not in taken)
            name = f"{part.name}{count[part.name]}"
        out.append((name, part))
    return tuple(out)


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2 and isinstance(part[0], str)


def _single(part: Any) -> Any:
    if isinstance(part, tuple | list):
        raise SettingError(
            "a list stands where a layer belongs", expected="layers one by one, or (name, layer)", got=repr(part),
            fix="write Sequential(*layers)",
        )  # fmt: skip
    return part


def _check_names(kind: str, parts: Named) -> None:
    for name, times in Counter(name for name, _ in parts).items():
        if times > 1:
            raise SettingError(f"two parts are both named {name!r}", where=kind, fix="give each a name of its own")
        if not name or "/" in name:
            raise SettingError(
                "a part's name cannot stand in a path", where=kind, expected="a text without '/'", got=name
            )


@layer
class Sequential(Layer):
    """One layer after the other: y = f_n(... f_2(f_1(x))). Without layers, the identity.

    Takes layers, or (name, layer) pairs; unnamed ones are called by kind and number.

    >>> from pellucid.network.activations import ReLU, Softmax
    >>> net = Sequential(ReLU(), ("out", Softmax()))
    >>> [name for name, _ in net.layers]
    ['relu1', 'out']
    >>> net.apply({}, jnp.array([[-5.0, 0.0]]), None).tolist()
    [[0.5, 0.5]]
    >>> Layer.from_json(net.to_json()) == net
    True
    """

    layers: Named = ()

    def __init__(self, *parts: Part, layers: Iterable[Any] = ()):
        object.__setattr__(self, "layers", named((*parts, *layers)))
        self.__post_init__()

    def check(self):
        _check_names("Sequential", self.layers)

    def apply(self, p, x, ctx):
        return (ctx or Context()).chain(self.layers, p, x)


@layer
class Residual(Layer):
    """y = shortcut(x) + body(x), the shortcut being x itself unless a layer is given (to change the width).

    x: [batch, ..., n] -> y: what `body` gives. He et al. 2016. A shape that differs raises a `NetworkError`.

    >>> from pellucid.network.activations import ReLU
    >>> Residual(ReLU()).apply({}, jnp.array([[-1.0, 2.0]]), None).tolist()
    [[-1.0, 4.0]]
    """

    body: Layer
    shortcut: Layer | None = None

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        y = ctx.call("body", self.body, p, x)
        x = x if self.shortcut is None else ctx.call("shortcut", self.shortcut, p, x)
        if jnp.shape(x) != jnp.shape(y):
            raise NetworkError(
                "a residual's body and shortcut differ in shape, and cannot be added",
                where=ctx.path or "Residual",
                expected=f"shape {show_shape(x)}, as the shortcut gives",
                got=f"shape {show_shape(y)} from the body",
                fix="let the body end in the width that it began with, or give shortcut=Dense(width)",
            )
        return x + y


@layer
class Parallel(Layer):
    """The same x through several branches, whose outputs are joined.

    combine: "concatenate" along the last axis, "add", or "mean". x: [batch, ..., n] -> y: [batch, ..., sum of widths],
    or the branches' common shape. Szegedy et al. 2015 (inception).

    >>> from pellucid.network.activations import Identity, ReLU
    >>> Parallel(Identity(), ReLU()).apply({}, jnp.array([[-1.0, 2.0]]), None).tolist()
    [[-1.0, 2.0, 0.0, 2.0]]
    """

    branches: Named = ()
    combine: Literal["concatenate", "add", "mean"] = "concatenate"

    def __init__(self, *parts: Part, branches: Iterable[Any] = (), combine: str = "concatenate"):
        object.__setattr__(self, "branches", named((*parts, *branches)))
        object.__setattr__(self, "combine", combine)
        self.__post_init__()

    def check(self):
        _check_names("Parallel", self.branches)
        if not self.branches:
            self.refuse("branches", "at least one branch")

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        outputs = {name: ctx.call(name, part, p, x) for name, part in self.branches}
        self._check_shapes(outputs, ctx.path)
        if self.combine == "concatenate":
            return jnp.concatenate(list(outputs.values()), axis=-1)
        total = sum(outputs.values())
        return total / len(outputs) if self.combine == "mean" else total

    def _check_shapes(self, outputs: dict[str, Any], path: str) -> None:
        """Adding [n, 1] to [n, 3] would broadcast, and nobody means that."""
        kept = slice(None, -1) if self.combine == "concatenate" else slice(None)
        first, *others = [(name, jnp.shape(y)) for name, y in outputs.items()]
        for name, shape in others:
            if shape[kept] != first[1][kept] or len(shape) != len(first[1]):
                raise NetworkError(
                    f"the branches {first[0]!r} and {name!r} differ in shape",
                    where=path or "Parallel",
                    expected=f"shape {list(first[1])}" + (" but for the last axis" if kept.stop else ""),
                    got=f"shape {list(shape)}",
                    fix="give the branches the same width" if not kept.stop else "give the branches the same length",
                )


def walk(top: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """(path, layer) of `top` (path "") and all that it is made of, outside in, paths as the weights have them.

    >>> from pellucid.network.activations import ReLU
    >>> [path for path, _ in walk(Sequential(("block", Residual(ReLU()))))]
    ['', 'block', 'block/body']
    """
    yield path, top
    for name, part in _parts(top):
        yield from walk(part, join(path, name))


def _parts(top: Layer) -> Iterator[tuple[str, Layer]]:
    for field in dataclasses.fields(cast(Any, top)):
        value = getattr(top, field.name)
        if isinstance(value, Layer):
            yield field.name, value
        elif isinstance(value, tuple):
            for place, item in enumerate(value):
                if _is_pair(item) and isinstance(item[1], Layer):
                    yield item[0], item[1]
                elif isinstance(item, Layer):
                    yield f"{field.name}{place}", item


def replace_layers(top: Layer, f: Callable[[Layer], Layer]) -> Layer:
    """`top` with `f` applied to every layer in it, inside out; `f` gives back what it does not change.

    >>> from pellucid.network.activations import ReLU, Tanh
    >>> replace_layers(Sequential(ReLU()), lambda l: Tanh() if isinstance(l, ReLU) else l)
    Sequential(layers=(('relu1', Tanh()),))
    """

    def inside(value: Any) -> Any:
        if isinstance(value, Layer):
            return replace_layers(value, f)
        return tuple(inside(v) for v in value) if isinstance(value, tuple) else value

    fields = {field.name: getattr(top, field.name) for field in dataclasses.fields(cast(Any, top))}
    made = {name: inside(value) for name, value in fields.items()}
    changed = {name: value for name, value in made.items() if value != fields[name]}
    return f(dataclasses.replace(cast(Any, top), **changed) if changed else top)
