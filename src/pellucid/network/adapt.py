"""Fitting a network to its data: what the placeholders `Input()` and `Output()` leave open is filled in here."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.data import Features, Targets
from pellucid.network.architecture import Arriving, Blueprint
from pellucid.network.composite import replace_layers, walk
from pellucid.network.dense import Embed, Input, resolve_output
from pellucid.network.layer import Layer, Params, flatten, join, nest

if TYPE_CHECKING:
    from pellucid.network.network import Network


def find_input(top: Layer) -> tuple[str, Input] | None:
    """(path, layer) of the first `Input` in a network, or None."""
    return next(((path, part) for path, part in walk(top) if isinstance(part, Input)), None)


def arriving(features: Features, targets: Targets) -> Arriving:
    """What an architecture is told of the data."""
    return Arriving(
        tuple(features.shape), features.dtype, features.vocabulary, features.padded, targets.each_step,
        features.source_steps,
    )  # fmt: skip


def built(top: Layer, data: Arriving) -> Layer:
    """`top` with every blueprint in it built for such data."""
    return replace_layers(top, lambda part: part.built(data) if isinstance(part, Blueprint) else part)


def adapt(top: Layer, features: Features, targets: Targets) -> Layer:
    """`top` with its blueprints built, its `Input`s told the shape, type and standardisation of the features, its
    `Embed`s their vocabulary, and its `Output`s their width.

    A network without these placeholders is used as it is.
    """

    def fill(part: Layer) -> Layer:
        if isinstance(part, Input) and part.shape is None:
            return dataclasses.replace(
                part, per=features.per, shape=tuple(features.shape), dtype=features.dtype, padded=features.padded
            )
        if isinstance(part, Embed) and part.vocabulary is None:
            return dataclasses.replace(part, vocabulary=features.vocabulary, padding=features.padded)
        if getattr(part, "vocabulary", 0) is None:  # a composite that embeds by itself
            return dataclasses.replace(part, vocabulary=features.vocabulary)  # type: ignore[type-var]
        return part

    return resolve_output(replace_layers(built(top, arriving(features, targets)), fill), targets.width)


def standardise(top: Layer, state: Params, features: Features) -> Params:
    """`state` with the features' mean and scale in every `Input`."""
    flat: dict[str, Any] = flatten(state)
    for path, part in walk(top):
        if isinstance(part, Input) and features.mean is not None:
            for name, values in (("mean", features.mean), ("scale", features.scale)):
                at = join(path, name)
                if at in flat:
                    flat[at] = jnp.asarray(np.asarray(values, np.float32).reshape(flat[at].shape))
    return nest(flat)


def introduced(network: "Network", features: Features, targets: Targets) -> "Network":
    """A network that has weights, and now meets its first data: what its `Input`s left open is filled in by them."""
    open_inputs = [path for path, part in walk(network.layer) if isinstance(part, Input) and part.shape is None]
    top = adapt(network.layer, features, targets)
    arriving = jax.ShapeDtypeStruct((1, *features.shape), features.dtype)
    state = flatten(network.state or {})
    for path, part in walk(top):
        if path in open_inputs:
            shapes = {name: param.shape for name, param in part.declare(arriving).items()}
            state |= {join(path, "mean"): jnp.zeros(shapes["mean"]), join(path, "scale"): jnp.ones(shapes["scale"])}
    filled = standardise(top, nest(state), features) if open_inputs else nest(state)
    return network.replace(layer=top, state=filled, features=features, targets=targets)
