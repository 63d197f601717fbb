"""A network on disk: `network.json` (structure, preprocessing, link) and `weights.safetensors`. No pickle anywhere."""

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pellucid import files
from pellucid.data import Features, Targets
from pellucid.errors import NetworkError, PellucidError, RunError
from pellucid.network.adapt import adapt
from pellucid.network.layer import Layer, flatten, nest
from pellucid.network.link import Link, link_from_json, link_to_json
from pellucid.network.trace import trace

if TYPE_CHECKING:
    from pellucid.network.network import Network

FORMAT = 1


class Structure(NamedTuple):
    """What `network.json` tells: all of a network but its weights."""

    layer: Layer
    features: Features | None
    targets: Targets | None
    link: Link


def describe(network: "Network") -> dict[str, Any]:
    """What `network.json` holds."""
    example = network.example()
    return {
        "format": FORMAT,
        "input": {"shape": list(example.shape[1:]), "dtype": str(example.dtype)},
        "network": network.layer.to_json(),
        "link": link_to_json(network.link),
        "features": network.features.to_json() if network.features else None,
        "targets": network.targets.to_json() if network.targets else None,
    }


def weights(network: "Network") -> dict[str, np.ndarray]:
    """Every array by its path, trained ones and running state alike."""
    both = {**flatten(network.params or {}), **flatten(network.state or {})}
    return {path: np.asarray(value) for path, value in both.items()}


def save(network: "Network", folder: Path) -> Path:
    """Write both files, each atomically."""
    network._weights()
    files.make_folder(folder)
    files.write_json(folder / "network.json", describe(network))
    files.write_bytes(folder / "weights.safetensors", save_tensors(weights(network)))
    return folder


def load(folder: Path, cls: "type[Network]", layer: Layer | None = None, weights: Path | None = None) -> "Network":
    """Read a network from the folder that `save`, or a run, wrote. layer: used in place of the structure in the file,
    for networks whose code no file holds. weights: a file in place of the folder's own, of an earlier epoch say."""
    if not (folder / "network.json").is_file():
        raise RunError("there is no network here", where=folder, expected="network.json and weights.safetensors")
    found, example = read_structure(folder / "network.json", layer)
    path = weights or folder / "weights.safetensors"
    if not path.is_file():
        raise RunError("there are no weights here", where=path, fix="the run has not finished an epoch; resume it")
    tensors = read_tensors(path)
    declared = trace(found.layer, example).declared
    _check(declared, tensors, path)
    arrays = {name: jax.numpy.asarray(tensors[name]) for name in declared}
    params = nest({name: value for name, value in arrays.items() if declared[name].trained})
    state = nest({name: value for name, value in arrays.items() if not declared[name].trained})
    return cls(found.layer, params, state, features=found.features, targets=found.targets, link=found.link)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, or an error that says that it is damaged or something else."""
    try:
        return load_tensors(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise RunError(
            "the weights cannot be read", where=path, expected="a safetensors file", got=error,
            fix="the file is damaged or foreign; take it from a backup, or train again",
        ) from error  # fmt: skip


def read_structure(path: Path, layer: Layer | None = None) -> tuple[Structure, jax.ShapeDtypeStruct]:
    """The network of a `network.json`, without weights, and the shape of its input."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["format"]
        if version != FORMAT:
            raise RunError(
                "the network was written by another version of Pellucid", where=path, expected=f"format {FORMAT}",
                got=f"format {version}", fix="use the version that wrote it (see recipe.toml), or train again",
            )  # fmt: skip
        features = Features.from_json(data["features"]) if data["features"] else None
        targets = Targets.from_json(data["targets"]) if data["targets"] else None
        if layer is None:
            import_module("pellucid.network.catalogue")  # a file may name any layer: all must be registered
            layer = Layer.from_json(data["network"])
        elif features is not None and targets is not None:
            layer = adapt(layer, features, targets)
        found = Structure(layer, features, targets, link_from_json(data["link"]))
        return found, jax.ShapeDtypeStruct((1, *data["input"]["shape"]), data["input"]["dtype"])
    except PellucidError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise RunError("network.json cannot be read", where=path, got=f"{type(error).__name__}: {error}") from error


def _check(declared: dict, tensors: dict[str, np.ndarray], path: Path) -> None:
    missing, foreign = sorted(set(declared) - set(tensors)), sorted(set(tensors) - set(declared))
    if missing or foreign:
        raise NetworkError(
            "the weights belong to another network", where=path,
            expected=f"also {', '.join(missing[:5])}" if missing else None,
            got=f"unknown {', '.join(foreign[:5])}" if foreign else None,
        )  # fmt: skip
    for name, param in declared.items():
        if tuple(tensors[name].shape) != tuple(param.shape):
            raise NetworkError(
                "a weight has the wrong shape", where=f"{path}: {name}",
                expected=list(param.shape), got=list(tensors[name].shape),
            )  # fmt: skip
