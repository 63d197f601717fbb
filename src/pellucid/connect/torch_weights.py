"""Weights to and from PyTorch: the names and layouts of a `state_dict`, through safetensors; PyTorch is not needed.

    connect.torch.save(network, "weights.safetensors")

    module.load_state_dict(safetensors.torch.load_file("weights.safetensors"), strict=False)     # in PyTorch

    network = connect.torch.load(network, "weights.safetensors")                                   # and back

The path `hidden1/w` becomes `hidden1.weight`, so a module whose attributes have the layers' names takes the file as it
is; `names` translates others. What differs in layout, by layer:

    Dense, Output     weight [out, in]                                  ours [in, out]
    Conv              weight [out, in / groups, *size]                  ours [*size, in / groups, out]
    ConvTranspose     weight [in, out / groups, *size]                  ours [*size, in, out / groups]
    BatchNorm         weight, bias, running_mean, running_var           ours scale, bias, mean, var
    LayerNorm, RMSNorm, Embed, TiedEmbedding, Positions: weight, bias   ours scale or w, bias
    RNN, LSTM, GRU    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 (of a batch_first module); Bidirectional
                      the same and ..._reverse. Ours has one bias, theirs two that are added: ours goes into bias_ih
                      (the GRU's v into bias_hh), and both are added on the way back. Gates are in the same order.
    Attention         in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias, as in nn.MultiheadAttention
    SwiGLU            gate.weight, up.weight, down.weight, as of three nn.Linear

PyTorch has channels first: the dense layer behind a `Flatten` of images is permuted accordingly. The input layer's
standardisation travels as `input.mean` and `input.scale` (what standardises in PyTorch is yours to write); layers that
PyTorch does not have (LuongAttention, ...) keep Pellucid's own names and layouts, and `save` tells which.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pellucid import files
from pellucid.errors import DataError, NetworkError, nearest
from pellucid.network.composite import walk
from pellucid.network.layer import flatten, nest
from pellucid.network.network import Network
from pellucid.network.storage import weights
from pellucid.network.trace import trace

Arrays = dict[str, np.ndarray]
RECURRENT = ("rnn", "lstm", "gru")
UNTRANSLATED = ("rate",)  # a dropout's share is a setting in PyTorch


class Pair(NamedTuple):
    """One array under both names. axes: ours transposed to theirs; order: theirs has our first axis in this order."""

    ours: str
    theirs: str
    axes: tuple[int, ...] | None = None
    order: np.ndarray | None = None

    def to_theirs(self, a: np.ndarray) -> np.ndarray:
        a = a if self.order is None else a[self.order]
        return a if self.axes is None else a.transpose(self.axes)

    def to_ours(self, a: np.ndarray) -> np.ndarray:
        a = a if self.axes is None else a.transpose(np.argsort(self.axes))
        return a if self.order is None else a[np.argsort(self.order)]


@dataclasses.dataclass(frozen=True)
class Part:
    """A layer that has weights: where it is, and how they are called on both sides."""

    path: str
    layer: Any
    pairs: tuple[Pair, ...]
    kept: tuple[str, ...]  # arrays that PyTorch has no place for: under our names, in our layouts
    twin: bool = False  # it is one half of a Bidirectional
    end: str | None = None  # of the names of recurrent weights: l0, l0_reverse

    @property
    def prefix(self) -> str:
        """Its name in PyTorch, where both directions are one module."""
        return (self.path.rpartition("/")[0] if self.twin else self.path).replace("/", ".")


def state_dict(network: Network, x: Any = None) -> Arrays:
    """The network's weights under PyTorch's names and in its layouts.

    x: an example with a batch axis, where the network has no `Input` that knows its shape.

    >>> import jax, pellucid as pc
    >>> net = pc.Network(pc.Sequential(pc.Dense(3), pc.ReLU(), pc.Dense(2)))
    >>> x = jax.numpy.zeros((1, 4))
    >>> net = net.initialised(jax.random.key(0), x)
    >>> {name: a.shape for name, a in state_dict(net, x).items()}
    {'dense1.weight': (3, 4), 'dense1.bias': (3,), 'dense2.weight': (2, 3), 'dense2.bias': (2,)}
    """
    ours, theirs = weights(network), {}
    for part in parts(network, x):
        own = {name: ours[_join(part.path, name)] for name in (*(p.ours for p in part.pairs), *part.kept)}
        prefix = part.prefix
        found = {pair.theirs: pair.to_theirs(own[pair.ours]) for pair in part.pairs}
        found |= {name: own[name] for name in part.kept}
        found |= _added(part, own)
        theirs |= {_dotted(prefix, name): np.ascontiguousarray(a) for name, a in found.items()}
    return theirs


def save(network: Network, path: str | Path, x: Any = None) -> tuple[str, ...]:
    """Write `state_dict(network)` as safetensors, atomically -> the names of arrays that PyTorch has no layer for."""
    network._weights()
    files.write_bytes(Path(path), save_tensors(state_dict(network, x), {"format": "pt"}))
    return tuple(_dotted(part.prefix, name) for part in parts(network, x) for name in part.kept)


def load(
    network: Network, path: str | Path, *, names: Mapping[str, str] | None = None, strict: bool = True, x: Any = None
) -> Network:
    """The network with weights from a safetensors file of a PyTorch `state_dict`: see `load_state_dict`."""
    try:
        tensors = load_tensors(Path(path).read_bytes())
    except OSError as error:
        raise DataError("the weights cannot be read", where=path, got=error.strerror or str(error)) from None
    except SafetensorError as error:
        raise DataError(
            "the file is no safetensors file", where=path, got=str(error).splitlines()[0],
            fix="write it in PyTorch by safetensors.torch.save_file(module.state_dict(), path)",
        ) from None  # fmt: skip
    return load_state_dict(network, tensors, names=names, strict=strict, x=x, where=str(path))


def load_state_dict(
    network: Network, tensors: Mapping[str, Any], *, names: Mapping[str, str] | None = None, strict: bool = True,
    x: Any = None, where: str = "state_dict",
) -> Network:  # fmt: skip
    """The network with weights taken from PyTorch's.

    network: initialised, or trained: it says what is expected.   tensors: arrays by PyTorch's names.
    names: from the names of PyTorch's modules to ours, {"fc1": "hidden1"}.   strict False: what is missing stays as it
    is, what is left over is passed by.
    Raises `NetworkError` for names that are missing or left over, and for shapes that do not fit.
    """
    network._weights()
    given = {_renamed(name, names or {}): np.asarray(value) for name, value in tensors.items()}
    ours, used, known = dict(weights(network)), set(), parts(network, x)
    for part in known:
        prefix = part.prefix
        found = {
            name: given[_dotted(prefix, name)]
            for name in (*_expected(part), *_optional(part))
            if _dotted(prefix, name) in given
        }
        used |= {_dotted(prefix, name) for name in found}
        missing = [name for name in _expected(part) if name not in found]
        if missing and strict and part.path.rpartition("/")[2] != "input":
            raise NetworkError(
                f"weights of the layer {part.path!r} are missing", where=where, expected=_dotted(prefix, missing[0]),
                got=f"{len(given)} arrays", fix=nearest(_dotted(prefix, missing[0]), sorted(given)) or "give `names`",
            )  # fmt: skip
        for name, array in _taken(part, found).items():
            path = _join(part.path, name)
            if array.shape != ours[path].shape:
                raise NetworkError(
                    "an array has another shape", where=f"{where}: {path}", expected=list(ours[path].shape),
                    got=f"{list(array.shape)} in Pellucid's layout",
                )  # fmt: skip
            ours[path] = array.astype(ours[path].dtype)
    left = sorted(name for name in set(given) - used if not name.endswith("num_batches_tracked"))
    if left and strict:
        raise NetworkError(
            "arrays are left over", where=where, expected=f"the weights of {len(known)} layers",
            got=", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else ""),
            fix="give `names` for modules that are called otherwise, or strict=False",
        )  # fmt: skip
    return _with(network, ours)


def _with(network: Network, arrays: Arrays) -> Network:
    trained = flatten(network.params or {})
    params = {path: arrays[path] for path in trained}
    state = {path: arrays[path] for path in flatten(network.state or {})}
    return network.replace(params=nest(params), state=nest(state))


def parts(network: Network, x: Any = None) -> list[Part]:
    """Every layer that has weights, in the order in which they act; shared layers once."""
    traced = trace(network.layer, network.example() if x is None else x)
    found: dict[str, Part] = {}
    declared: dict[str, list[str]] = {}
    for path in traced.declared:
        top, _, name = path.rpartition("/")
        declared.setdefault(top, []).append(name)
    leaves = {leaf.path: leaf for leaf in traced.leaves}
    by_path: dict[str, Any] = dict(walk(network.layer))
    by_path |= {path: leaf.layer for path, leaf in leaves.items()}
    order: np.ndarray | None = None  # of what a Flatten made of an image, until a dense layer has read it
    convolved = False
    for path in [*leaves, *(path for path in declared if path not in leaves)]:
        layer = by_path.get(path)
        shape = getattr(leaves[path].x, "shape", ()) if path in leaves else ()
        name = str(layer.name) if layer is not None else ""
        convolved |= name in ("conv", "conv_transpose")
        if name == "flatten" and (len(shape) == 4 or (len(shape) == 3 and convolved)):
            places = np.arange(int(np.prod(shape[1:]))).reshape(shape[1:])
            order = np.moveaxis(places, -1, 0).ravel()
        if path in declared:
            above = by_path.get(path.rpartition("/")[0])
            twin = above is not None and above.name == "bidirectional"
            end = "l0_reverse" if twin and path.rpartition("/")[2] == "backward" else "l0"
            known = _pairs(name, end, order, len(shape))
            has = [n for n in declared[path] if n not in UNTRANSLATED]
            pairs = tuple(pair for pair in known if pair.ours in has)
            kept = tuple(n for n in has if n not in {pair.ours for pair in pairs})
            if has:
                found[path] = Part(path, layer, pairs, kept, twin, end if name in RECURRENT else None)
        if name in ("dense", "output"):
            order = None
    return list(found.values())


def _pairs(name: str, end: str, order: np.ndarray | None, axes: int) -> list[Pair]:
    match name:
        case "dense" | "output":
            return [Pair("w", "weight", (1, 0), order), Pair("b", "bias")]
        case "conv":
            k = axes - 2
            return [Pair("w", "weight", (k + 1, k, *range(k))), Pair("b", "bias")]
        case "conv_transpose":
            k = axes - 2
            return [Pair("w", "weight", (k, k + 1, *range(k))), Pair("b", "bias")]
        case "batch_norm" | "layer_norm" | "rms_norm":
            own = (("scale", "weight"), ("bias", "bias"), ("mean", "running_mean"), ("var", "running_var"))
            return [Pair(ours, theirs, None, order) for ours, theirs in own]
        case "embed" | "tied_embedding" | "positions":
            return [Pair("w", "weight")]
        case "rnn" | "lstm" | "gru":
            pairs = [("w", "weight_ih"), ("u", "weight_hh"), ("b", "bias_ih"), ("v", "bias_hh")]
            return [Pair(ours, f"{theirs}_{end}", (1, 0) if ours in "wu" else None) for ours, theirs in pairs]
        case "attention":
            return [
                Pair("w", "in_proj_weight", (1, 0)), Pair("b", "in_proj_bias"),
                Pair("out", "out_proj.weight", (1, 0)), Pair("out_bias", "out_proj.bias"),
            ]  # fmt: skip
        case "swiglu":
            return [Pair(n, f"{n}.weight", (1, 0)) for n in ("gate", "up", "down")]
    return []


def _added(part: Part, own: Arrays) -> Arrays:
    """What PyTorch has besides."""
    if part.layer is not None and part.layer.name == "batch_norm":
        return {"num_batches_tracked": np.array(0, np.int64)}
    if part.end is not None:
        second = np.zeros_like(own["b"])
        if "v" in own:
            second[-len(own["v"]) :] = own["v"]
        return {f"bias_hh_{part.end}": second}
    return {}


def _expected(part: Part) -> Iterable[str]:
    return (*(pair.theirs for pair in part.pairs), *part.kept)


def _optional(part: Part) -> Iterable[str]:
    return () if part.end is None else (f"bias_hh_{part.end}",)


def _taken(part: Part, found: Arrays) -> Arrays:
    """PyTorch's arrays of one layer -> ours."""
    end = part.end
    second = found.get(f"bias_hh_{end}") if end else None
    if second is not None:
        found = dict(found)
        width = len(second) // 3 if part.layer.name == "gru" else 0
        first = found.get(f"bias_ih_{end}", np.zeros_like(second))
        if width:  # the proposed state's own bias acts before the reset gate
            found[f"bias_ih_{end}"] = first + np.concatenate([second[:-width], np.zeros_like(second[-width:])])
            found[f"bias_hh_{end}"] = second[-width:]
        else:
            found[f"bias_ih_{end}"] = first + second
    taken = {}
    for pair in part.pairs:
        if pair.theirs in found:
            array = found[pair.theirs]
            if pair.axes is not None and array.ndim != len(pair.axes):
                raise NetworkError(
                    "an array has another number of axes", where=_dotted(part.prefix, pair.theirs),
                    expected=len(pair.axes), got=list(array.shape),
                )  # fmt: skip
            if pair.order is not None and array.shape[-1] != len(pair.order):
                raise NetworkError(
                    "an array has another shape", where=_dotted(part.prefix, pair.theirs),
                    expected=f"{len(pair.order)} inputs", got=list(array.shape),
                )  # fmt: skip
            taken[pair.ours] = pair.to_ours(array)
    return {**taken, **{name: found[name] for name in part.kept if name in found}}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for theirs, ours in sorted(names.items(), key=lambda item: -len(item[0])):
        if name == theirs or name.startswith(f"{theirs}."):
            return ours.replace("/", ".") + name[len(theirs) :]
    return name


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
