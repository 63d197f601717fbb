"""Other JAX libraries' modules inside Pellucid: an Equinox or Flax module, or any pure function with its parameters.

    net = from_equinox(eqx.nn.MLP(4, 3, 64, 2, key=key))
    run = pc.fit(net, "iris")                  # trained, watched and saved like any other network

What comes back is a `Network` with the module's weights, each under a readable path (`mlp/layers/0/weight`). Before it
stands an `Input()`, which standardises the features by the data of the first `fit`; for a module that was trained on
raw values, say `standardize=False`. The other way round needs nothing: `net.init` and `net.apply` of any Pellucid
network are pure functions, for whatever JAX code there is (`examples/hand_written_loop.py`).
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.errors import NetworkError
from pellucid.network import storage
from pellucid.network.composite import Sequential
from pellucid.network.dense import Input
from pellucid.network.foreign import Brought, Foreign
from pellucid.network.layer import Layer, Param, flatten, nest
from pellucid.network.network import Network

Arrays = dict[str, Any]  # by path
TRAINING = ("train", "training", "is_training")  # arguments by which modules are told that they are trained
EVALUATING = ("deterministic", "use_running_average", "eval_mode", "inference")


def from_function(
    apply: Callable[..., Any], params: Any, *, name: str | None = None, standardize: bool = True
) -> Network:
    """A pure function `apply(params, x) -> y`, x: [batch, ...], and its parameters (any pytree), as a Network.

    Floating arrays are trained, others kept as they are; leaves that are no arrays are constants. Where `apply` has an
    argument `train` or `key`, it is told whether it is trained, and given a random key.

    >>> net = from_function(lambda p, x: x @ p["w"], {"w": jnp.array([[1.0], [2.0]])}, name="line")
    >>> net(jnp.array([[3.0, 4.0]])).tolist(), list(flatten(net.params))
    ([[11.0]], ['line/w'])
    """
    accepted = _arguments(apply)

    def call(params, x, train, key):
        told = {"train": train, "key": key}
        return apply(params, x, **{name: value for name, value in told.items() if name in accepted})

    label = getattr(apply, "__name__", type(apply).__name__)
    return _from_tree(call, params, "a function", label, name or _as_name(label, "function"), standardize)


def from_equinox(module: Any, *, name: str | None = None, standardize: bool = True) -> Network:
    """An Equinox module `module(x)` or `module(x, key=key)` for one example x, as a Network for batches (by `vmap`).

    Its dropout is on while training and off otherwise (`eqx.nn.inference_mode`). Raises `NetworkError` for a module
    with state (`BatchNorm`, `SpectralNorm`): Equinox threads state through every call, which nothing here would do.

    >>> import equinox as eqx
    >>> net = from_equinox(eqx.nn.Linear(4, 3, key=jax.random.key(0)))
    >>> net(jnp.ones((5, 4))).shape, list(flatten(net.params))
    ((5, 3), ['linear/weight', 'linear/bias'])
    """
    import equinox as eqx

    leaves = jax.tree.leaves(module, is_leaf=lambda leaf: isinstance(leaf, eqx.nn.StateIndex))
    if any(isinstance(leaf, eqx.nn.StateIndex) for leaf in leaves):
        raise NetworkError(
            "an Equinox module with state cannot be brought in", where=type(module).__name__,
            expected="a module whose call gives its output alone",
            got="a state index, as BatchNorm and SpectralNorm have it",
            fix="use eqx.nn.LayerNorm or GroupNorm, or wrap your own pure function: pc.connect.jax.from_function",
        )  # fmt: skip
    if not callable(module):
        raise NetworkError("the module cannot be called", where=type(module).__name__, expected="module(x)")
    takes_key = "key" in _arguments(module)

    def call(module, x, train, key):
        module = eqx.nn.inference_mode(module, value=not train)
        if takes_key and key is not None:
            return jax.vmap(lambda x, key: module(x, key=key))(x, jax.random.split(key, jax.tree.leaves(x)[0].shape[0]))
        return jax.vmap(module)(x)

    label = type(module).__name__
    return _from_tree(call, module, "Equinox", label, name or _as_name(label, "module"), standardize)


def from_flax(
    module: Any,
    example: Any = None,
    *,
    variables: Any = None,
    key: jax.Array | None = None,
    name: str | None = None,
    standardize: bool = True,
) -> Network:
    """A Flax module, NNX or Linen, that takes a batch, as a Network.

    An NNX module holds its weights already. A Linen module needs its `variables`, or an `example` batch (arrays or
    shapes) to make them from, with `key` (0 by default). Running state (batch statistics) is kept and moved while
    training; the last batch of an epoch counts in it with its repeated rows. Linen modules are told that they are
    trained by `train`, `training` or `deterministic`, ..., where their call has such an argument.

    >>> from flax import linen
    >>> net = from_flax(linen.Dense(3), jnp.ones((1, 4)))
    >>> net(jnp.ones((5, 4))).shape, sorted(flatten(net.params))
    ((5, 3), ['dense/bias', 'dense/kernel'])
    """
    from flax import linen, nnx

    label = type(module).__name__
    name = name or _as_name(label, "module")
    if isinstance(module, nnx.Module):
        run, trained, running = _nnx(module)
        return _network(run, trained, running, "Flax NNX", label, name, standardize)
    if not isinstance(module, linen.Module):
        raise NetworkError("this is no Flax module", expected="an nnx.Module or a linen.Module", got=type(module))
    flags = [flag for flag in (*TRAINING, *EVALUATING) if flag in _arguments(module)]
    if variables is None:
        if example is None:
            raise NetworkError(
                "a Linen module has no weights of its own", where=label, expected="an example batch, or its variables",
                fix="from_flax(module, x), or from_flax(module, variables=module.init(key, x))",
            )  # fmt: skip
        example = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), example)
        flagged: dict[str, Any] = _told(flags, False)
        variables = module.init(jax.random.key(0) if key is None else key, example, **flagged)
    run, trained, running = _linen(module, variables, flags)
    return _network(run, trained, running, "Flax Linen", label, name, standardize)


def load(path: str | Path, module: Any) -> Network:
    """The network that a run, or `net.save`, wrote for a foreign module: its code from `module`, all else from `path`.

    module: the Equinox or NNX module itself, made as it was then (its weights do not matter), or the Network that
    `from_function`, `from_equinox` or `from_flax` make of it, with the same name.
    """
    if isinstance(module, Network):
        return storage.load(Path(path), Network, module.layer)
    libraries = {base.__module__.split(".")[0] for base in type(module).__mro__}
    for library, bring in (("equinox", from_equinox), ("flax", from_flax)):
        if library in libraries:
            return storage.load(Path(path), Network, bring(module).layer)
    raise NetworkError(
        "this cannot be loaded into", where=path, expected="an Equinox or Flax module, or a Network made of one",
        got=type(module).__name__, fix="pc.connect.jax.load(path, pc.connect.jax.from_function(apply, params))",
    )  # fmt: skip


def _from_tree(call: Callable, tree: Any, library: str, label: str, name: str, standardize: bool) -> Network:
    """A network whose weights are the arrays among a pytree's leaves."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [(jax.tree_util.keystr(path, simple=True, separator="/") or "value", leaf) for path, leaf in pairs]
    arrays = {path: leaf for path, leaf in leaves if isinstance(leaf, jax.Array | np.ndarray)}

    def run(trained, running, x, train, key):
        found = {**trained, **running}
        return call(treedef.unflatten([found.get(path, leaf) for path, leaf in constants]), x, train, key), {}

    constants = [(path, None if path in arrays else leaf) for path, leaf in leaves]  # without the arrays, to free them
    trained = {path: value for path, value in arrays.items() if jnp.issubdtype(value.dtype, jnp.inexact)}
    running = {path: value for path, value in arrays.items() if path not in trained}
    return _network(run, trained, running, library, label, name, standardize)


def _nnx(module: Any) -> tuple[Callable, Arrays, Arrays]:
    from flax import nnx

    graph, weights, random, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
    paths = lambda state: ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(state)]  # noqa: E731
    values = lambda state: [v.get_value() for _, v in nnx.to_flat_state(state)]  # noqa: E731
    names, kept, keys = paths(weights), paths(rest), nnx.to_flat_state(random)

    def put(state, arrays):
        pairs = zip(nnx.to_flat_state(state), arrays, strict=True)
        return nnx.from_flat_state([(path, variable.replace(array)) for (path, variable), array in pairs])

    def seeded(key):
        """Each of the module's random streams begins anew from this pass's key."""
        values = [v.get_value() for _, v in keys]
        return [
            jax.random.fold_in(key, i) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value
            for i, value in enumerate(values)
        ]

    def run(trained, running, x, train, key):
        streams = random if key is None else put(random, seeded(key))
        parts = put(weights, [trained[n] for n in names]), streams, put(rest, [running[n] for n in kept])
        made = nnx.merge(graph, *parts, copy=True)
        made.train() if train else made.eval()
        y = made(x)
        if not train:
            return y, {}
        after = nnx.split(made, nnx.Param, nnx.RngState, ...)[3]
        return y, {name: array for name, array in zip(paths(after), values(after), strict=True) if name in running}

    return run, dict(zip(names, values(weights), strict=True)), dict(zip(kept, values(rest), strict=True))


def _linen(module: Any, variables: Any, flags: list[str]) -> tuple[Callable, Arrays, Arrays]:
    from flax.core import meta, unfreeze

    collections = {name: value for name, value in meta.unbox(unfreeze(variables)).items() if name != "intermediates"}
    running = flatten({name: value for name, value in collections.items() if name != "params"})
    moved = [name for name in collections if name != "params"]

    def run(trained, running, x, train, key):
        given = {"params": nest(trained), **nest(running)}
        rngs = None if key is None else {"params": key}  # the stream that Flax turns to where another has no key
        if not train or not moved:
            return module.apply(given, x, rngs=rngs, **_told(flags, train)), {}
        y, after = module.apply(given, x, rngs=rngs, mutable=moved, **_told(flags, train))
        return y, flatten(unfreeze(after))

    return run, flatten(collections.get("params", {})), running


def _network(
    run: Callable, trained: Arrays, running: Arrays, library: str, label: str, name: str, standardize: bool
) -> Network:
    weights = tuple(
        (path, _param(value, is_trained, f"{name}/{path}"))
        for arrays, is_trained in ((trained, True), (running, False))
        for path, value in arrays.items()
    )
    foreign = Foreign(run, weights, library, label)
    state = {name: nest({path: jnp.asarray(value) for path, value in running.items()})} if running else {}
    parts: list[tuple[str, Layer]] = [(name, foreign)]
    if standardize:
        parts.insert(0, ("input", Input()))
        state["input"] = {"mean": jnp.zeros(()), "scale": jnp.ones(())}
    params = {name: nest({path: jnp.asarray(value) for path, value in trained.items()})}
    return Network(Sequential(*parts), params, state)


def _param(value: Any, trained: bool, where: str) -> Param:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise NetworkError(
            "a random key cannot be a weight", where=where, expected="arrays of numbers", got=f"dtype {value.dtype}",
            fix="give keys through the call's argument `key`",
        )  # fmt: skip
    return Param(tuple(value.shape), Brought(), trained=trained, dtype=str(value.dtype))


def _arguments(function: Any) -> set[str]:
    """The names of what a function, or a module's call, can be given by name."""
    call = function if inspect.isfunction(function) or inspect.ismethod(function) else type(function).__call__
    try:
        found = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # something compiled
        return set()
    return {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _told(flags: list[str], train: bool) -> dict[str, bool]:
    return {flag: train if flag in TRAINING else not train for flag in flags}


def _as_name(label: str, otherwise: str) -> str:
    """A part's name: the class's or function's in small letters."""
    return label.lower() if label.isidentifier() else otherwise
