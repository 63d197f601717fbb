"""What a layer is. The whole contract:

    @layer                                        # a frozen dataclass of settings, registered under its name
    class Scale(Layer):
        '''y = g * x.   x: [batch, ..., n] -> y: the same'''
        def declare(self, x):                     # x: shape and dtype that arrives -> the weights this layer owns
            return {"g": Param((x.shape[-1],), "ones")}
        def apply(self, p, x, ctx):               # arithmetic only; ctx is None when called by hand
            return p["g"] * x

Leaves declare; composites wire: a composite's `apply` runs its parts by `ctx.call("name", part, p, x)`, and that name
is the part's place in the tree of weights (`body/dense1/w`). Initialising traces `apply` abstractly, so that each
layer's `declare` sees the shape that really arrives; nobody writes shape formulas. There is one leading batch axis,
always; `x` may be any pytree of arrays.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

try:
    from jax.extend.core import get_opaque_trace_state  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:  # JAX before 0.10
    from jax.core import get_opaque_trace_state  # pyright: ignore[reportAttributeAccessIssue]

from pellucid.errors import NetworkError, PellucidError
from pellucid.network.initial import Initializer
from pellucid.network.precision import as_were, lowered
from pellucid.network.probes import Probes
from pellucid.network.recompute import recomputed
from pellucid.spec import Spec, register

Params = dict[str, Any]
layer = register


@dataclass(frozen=True)
class Param:
    """One array that a layer owns. `trained=False`: running state (a moving mean, a rate) that no gradient moves."""

    shape: tuple[int, ...]
    initial: Initializer | str = "zeros"
    trained: bool = True
    dtype: str = "float32"


class Layer(Spec, family="layer"):
    """Settings only; see the top of this file for the contract."""

    reproducible: ClassVar[bool] = True
    carries: ClassVar[bool] = False  # it has a state that goes on from one piece of a sequence to the next
    sums_up: ClassVar[bool] = False  # it makes one answer of all steps; left out where each step has a target
    caches: ClassVar[bool] = False  # it keeps all that came before, up to its context
    full_precision: ClassVar[bool] = False  # its weights and its input come as they are, whatever the run's precision

    def declare(self, x: Any) -> dict[str, Param]:
        """The weights that this layer itself owns, given what arrives. A composite owns none, as a rule.

        A name may be a path (`layers/0/weight`); `apply` then finds the array in dicts within dicts.
        """
        return {}

    def operations(self, x: Any, y: Any) -> int:
        """Multiplications and additions of one example's forward pass, shapes with a batch axis of 1. By default two
        for each weight of a matrix at each place of the output, and one for each output of a layer without any."""
        weights = sum(math.prod(p.shape) for p in self.declare(x).values() if p.trained and len(p.shape) > 1)
        outputs = [math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(y)]
        places = [math.prod(leaf.shape[1:-1]) for leaf in jax.tree.leaves(y)]
        return 2 * weights * max(places, default=1) if weights else sum(outputs)

    def apply(self, p: Params, x: Any, ctx: "Context | None") -> Any:
        """The output for input `x`; `p` holds this layer's weights and running state (and its parts', by name)."""
        raise NotImplementedError  # abstract

    def join(self, p: Params, x: Any, ctx: "Context", behind: Sequence["Layer"]) -> tuple[Any, int] | None:
        """(the output of this layer and the first n of those `behind` it, n), where to compute them as one is quicker;
        None: each by itself. Asked for only where nobody looks at what lies between."""
        return None


class Leaf(NamedTuple):
    """What one leaf met while a network was traced: its place, itself, and the shapes around it."""

    path: str
    layer: Layer
    x: Any
    y: Any


@dataclass
class Context:
    """What one forward pass may read or write besides weights. Made and drained inside one pure function.

    train: the pass is for training (dropout on, batch statistics).   key: randomness, folded by path.
    state: running state, nested like the weights.   mask: [batch] bool, False for rows that only fill up a batch.
    valid: [batch, steps] bool, False where a step only fills up a shorter sequence; None where every step counts.
    carried: what layers kept of the piece of the sequences before this one, by path; None: every piece stands alone.
    reverse_only: gradients will be asked for in reverse and nothing else, so that layers may use rules of their own
    that are quicker and have no forward mode. The training step sets it.
    probes: where activation and gradient statistics go; None inserts nothing at all.
    precision: the type of 16 bits that layers compute in (see `network.precision`); None rounds nothing.
    """

    train: bool = False
    key: jax.Array | None = None
    state: Params = field(default_factory=dict)
    mask: jax.Array | None = None
    valid: jax.Array | None = None
    carried: Mapping[str, Any] | None = None
    reverse_only: bool = False
    probes: Probes | None = None
    precision: str | None = None
    declared: dict[str, Param] | None = None  # set while initialising: every Param met, by path
    leaves: list[Leaf] | None = None  # set while tracing for shapes: every leaf met, in order
    updates: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)  # for the next piece of the same sequences, by path
    parts: tuple[str, ...] = ()
    previous: tuple[str, Any] = ("the input", None)
    calls: int = 0
    trace: Any = field(default_factory=get_opaque_trace_state)

    @property
    def path(self) -> str:
        return "/".join(self.parts)

    def call(self, name: str, part: Layer, p: Params, x: Any) -> Any:
        """Run a part of a composite under its name. `p` is the composite's own dict."""
        self.parts += (name,)
        try:
            return self.run(part, p.get(name, {}), x)
        finally:
            self.parts = self.parts[:-1]

    def chain(self, parts: Sequence[tuple[str, Layer]], p: Params, x: Any) -> Any:
        """Run parts of a composite one after the other; some as one, where a layer can (`Layer.join`)."""
        at = 0
        while at < len(parts):
            name, part = parts[at]
            done = self._joined(parts[at:], p, x)
            x, behind = (self.call(name, part, p, x), 0) if done is None else done
            at += 1 + behind
        return x

    def _joined(self, parts: Sequence[tuple[str, Layer]], p: Params, x: Any) -> tuple[Any, int] | None:
        name, part = parts[0]
        # what lies between layers is asked for by probes, by whoever traces shapes, and by contexts of another kind
        looked_at = self.probes is not None or self.leaves is not None or type(self) is not Context
        if looked_at or self.precision is not None or type(part).join is Layer.join or len(parts) < 2:
            return None
        self.parts += (name,)
        try:
            with self._located(part, x):
                own = self._weights(part, p.get(name, {}), x)
                done = part.join(own, x, self, [behind for _, behind in parts[1:]])
        finally:
            self.parts = self.parts[:-1]
        if done is not None:
            last = parts[done[1]][0]
            self.calls += 1 + done[1]
            self.previous = ("/".join((*self.parts, last)), show_shape(done[0]))
        return done

    def run(self, part: Layer, own: Params, x: Any) -> Any:
        """Run a layer at the present path: gather its weights, apply it, tap what leaves a leaf."""
        self.calls += 1
        before = self.calls
        with self._located(part, x):
            own = self._weights(part, own, x)
            y = part.apply(own, x if self.precision is None else self._received(part, x), self)
        if self.calls == before:  # nothing was called inside: a leaf
            y = self._tap(part, x, lowered(y, self.precision))
        return y

    def random(self) -> jax.Array:
        """A key of this path's own. The path is folded by crc32, for Python's `hash` differs between processes."""
        if self.key is None:
            raise NetworkError("this pass needs a random key", where=self.path, fix="pass key=jax.random.key(seed)")
        return jax.random.fold_in(self.key, zlib.crc32(self.path.encode()))

    def update(self, **values: Any) -> None:
        """Set running state of the present layer (its `Param`s with `trained=False`)."""
        self._refuse_foreign_trace("running state was set")
        self.updates.setdefault(self.path, {}).update(values)

    @property
    def streaming(self) -> bool:
        """Whether sequences come in pieces, so that layers keep what the next piece needs."""
        return self.carried is not None

    def recall(self, initial: Any) -> Any:
        """What the present layer kept of the piece before, or `initial` where this is the first, or the only one."""
        return initial if self.carried is None else as_were(self.carried.get(self.path, initial), initial)

    def remember(self, value: Any) -> None:
        """Keep a pytree for the next piece: a recurrent layer's state, attention's keys and values."""
        if self.streaming:
            self._refuse_foreign_trace("a state was kept")
            self.kept[self.path] = value

    def _refuse_foreign_trace(self, what: str) -> None:
        if self.trace != get_opaque_trace_state():
            raise NetworkError(
                f"{what} inside a raw JAX transformation, where the value would be lost",
                where=self.path,
                fix="use ctx.scan or ctx.remat in place of lax.scan or jax.checkpoint around layers",
            )

    def scan(self, body: Callable[["Context", Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
        """`lax.scan` over layers: `body(ctx, carry, x) -> (carry, y)`, each step with a key of its own.

        Activation statistics add up over the steps. Running state may not be set inside.
        """
        length = jax.tree.leaves(xs)[0].shape[0]

        def step(carry, part):
            index, x = part
            inner = self._inner(None if self.key is None else jax.random.fold_in(self.key, index))
            out = body(inner, *(carry, x))
            inner._refuse_updates("ctx.scan")
            inner._refuse_kept("ctx.scan")
            self.previous = inner.previous
            return out[0], (out[1], inner.probes.taken if inner.probes else {})

        carry, (ys, taken) = jax.lax.scan(step, carry, (jnp.arange(length), xs))
        if self.probes is not None:
            self.probes.add({path: values.sum(0) for path, values in taken.items()})
        self.calls += 1
        return carry, ys

    def remat(self, body: Callable[["Context", Any], Any], x: Any) -> Any:
        """`body(ctx, x) -> y`, layers that are computed again in the backward pass to save memory."""

        def run(given):
            inner = self._inner(self.key)
            x, inner.valid = given  # what another block made is handed in, not taken from around
            y = body(inner, x)
            self.previous = inner.previous
            return y, inner.updates, inner.kept, inner.probes.taken if inner.probes else {}, inner.valid

        y, updates, kept, taken, self.valid = recomputed(run, (x, self.valid), self.reverse_only)
        if updates or kept:
            self._refuse_foreign_trace("running state was set")
        self.kept.update(kept)
        for path, values in updates.items():
            self.updates.setdefault(path, {}).update(values)
        if self.probes is not None:
            self.probes.add(taken)
        self.calls += 1
        return y

    def _inner(self, key: jax.Array | None) -> "Context":
        probes = None if self.probes is None else Probes(self.probes.slots)
        return Context(
            train=self.train, key=key, state=self.state, mask=self.mask, valid=self.valid, carried=self.carried,
            reverse_only=self.reverse_only, probes=probes, precision=self.precision, declared=self.declared,
            leaves=self.leaves, parts=self.parts, previous=self.previous,
        )  # fmt: skip

    def _refuse_updates(self, where: str) -> None:
        if self.updates:
            path, values = next(iter(self.updates.items()))
            raise NetworkError(
                f"running state cannot be set inside {where}: one step would overwrite the other",
                where=f"{path}/{next(iter(values))}",
                fix="normalise outside the loop, or use a layer without running state (LayerNorm)",
            )

    def _refuse_kept(self, where: str) -> None:
        if self.kept:
            raise NetworkError(
                f"a state cannot be kept inside {where}", where=next(iter(self.kept)),
                fix="put the recurrent layer outside the loop; it runs over the steps by itself",
            )  # fmt: skip

    def _weights(self, part: Layer, own: Params, x: Any) -> Params:
        declared = part.declare(jax.tree.map(_shape_of, x))
        if self.declared is not None:
            for name, param in declared.items():
                path = join(self.path, name)
                if self.declared.setdefault(path, param) != param:
                    raise NetworkError("two layers share one path and differ", where=path, fix="give each its own name")
            return nest({name: jnp.zeros(param.shape, param.dtype) for name, param in declared.items()})
        if not declared:
            return own
        kept = self.state
        for step in self.parts:
            kept = kept.get(step, {})
        found = {**flatten(own), **flatten(kept)}
        for name, param in declared.items():
            self._check_weight(name, param, found)
        low = None if part.full_precision else self.precision
        taken = {name: lowered(found[name], low) if param.trained else found[name] for name, param in declared.items()}
        return {**own, **nest(taken)}

    def _received(self, part: Layer, x: Any) -> Any:
        """What reaches a layer with weights has their type. An Input, which is the first, reads numbers as they are."""
        owns = not part.full_precision and bool(part.declare(jax.tree.map(_shape_of, x)))
        return self.low(x) if owns else x

    def low(self, x: Any) -> Any:
        """`x` in the type that the layers compute in: for a composite that has computed something by itself."""
        return lowered(x, self.precision)

    def _check_weight(self, name: str, param: Param, own: Params) -> None:
        path = join(self.path, name)
        if name not in own:
            raise NetworkError("a weight is missing", where=path, expected=f"shape {list(param.shape)}", got="nothing")
        if tuple(own[name].shape) != tuple(param.shape):
            before, x = self.previous
            raise NetworkError(
                "a weight does not fit what arrives",
                where=f"{path}, fed by {before}" + (f" with shape {x}" if x is not None else ""),
                expected=f"shape {list(param.shape)}",
                got=f"shape {list(own[name].shape)}",
                fix="give the input the shape that the network was made for, or make the network anew for this input",
            )

    def _tap(self, part: Layer, x: Any, y: Any) -> Any:
        shapes = show_shape(y)
        self.previous = (self.path or type(part).__name__, shapes)
        if self.leaves is not None:
            self.leaves.append(Leaf(self.path, part, jax.tree.map(_shape_of, x), jax.tree.map(_shape_of, y)))
        if self.probes is not None and isinstance(y, jax.Array) and jnp.issubdtype(y.dtype, jnp.floating):
            if self.path in self.probes.slots:
                self._refuse_foreign_trace("a layer was measured")
            y = self.probes.tap(self.path, y)
        return y

    @contextmanager
    def _located(self, part: Layer, x: Any) -> Iterator[None]:
        """Turn what JAX says of shapes into an error that names the layer, what fed it, and both shapes."""
        try:
            yield
        except PellucidError as error:
            error.parts["where"] = error.parts["where"] or self.path or None  # the innermost layer, which has it first
            raise
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
            raise  # these tell of Python control flow on traced values, and tell it well
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError) as error:
            before, _ = self.previous
            raise NetworkError(
                f"layer {self.path or type(part).__name__!r} does not fit what arrives",
                where=f"{self.path or 'the network'} = {part}, fed by {before}",
                expected="an input that this layer can work on",
                got=f"shape {show_shape(x)}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                fix="change the layer's settings, or the layer before it, so that the shapes meet",
            ) from error


def width_of(x: Any) -> int:
    """The length of the last axis, which must not be the batch axis itself."""
    if len(x.shape) < 2:
        raise ValueError("there is no axis beside the batch axis; shape [batch, ..., n] is needed")
    return int(x.shape[-1])


def join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _shape_of(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x) if not hasattr(x, "dtype") else x.dtype)


def show_shape(x: Any) -> Any:
    """The shape of an array, or of each in a pytree, as a person reads it."""
    shapes = [list(jnp.shape(leaf)) for leaf in jax.tree.leaves(x)]
    return shapes[0] if len(shapes) == 1 else shapes


def nest(flat: dict[str, Any]) -> Params:
    """{"hidden1/w": W} -> {"hidden1": {"w": W}}"""
    out: Params = {}
    for path, value in flat.items():
        *parts, last = path.split("/")
        at = out
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = value
    return out


def flatten(nested: Params, prefix: str = "") -> dict[str, Any]:
    """{"hidden1": {"w": W}} -> {"hidden1/w": W}, in the order of the tree."""
    out: dict[str, Any] = {}
    for name, value in nested.items():
        path = join(prefix, name)
        out.update(flatten(value, path) if isinstance(value, dict) else {path: value})
    return out
