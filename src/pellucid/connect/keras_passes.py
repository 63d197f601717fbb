"""One pass more over a Keras model, on a few examples: each layer's output and the gradient that comes back to it, by
`jax.grad`, PyTorch's autograd or TensorFlow's `GradientTape`, whichever is Keras's backend.
"""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from pellucid.connect.keras_probes import axis, forward, keras, picked, variables
from pellucid.signals.sampling import moments, stride


def passes(model: Any, probe: Any, rows: int, layers: dict[str, str]) -> Callable[..., Any] | None:
    """A function that computes (activations' sums, gradients' sums, weights' gradients) on so many rows of the probe,
    or with `outputs=True` all outputs on all of it and the axes of their units; None where the backend is another one.

    layers: filled with the kinds of the layers, by path, in the order in which they act.
    """
    made = {"jax": _with_jax, "torch": _with_torch, "tensorflow": _with_tensorflow}.get(keras.backend.backend())
    if made is None or probe is None:
        return None
    return made(model, probe, keras.tree.map_structure(lambda a: a[:rows], probe), layers)


def _with_jax(model: Any, probe: Any, few: Any, layers: dict[str, str]) -> Callable[..., Any]:
    import jax

    from pellucid.network.probes import Probes

    def meet(path: str, kind: str, y: Any) -> Any:
        layers.setdefault(path, kind)
        return y

    jax.eval_shape(lambda values: forward(model, few, values, meet), [v.value for v in variables(model)])
    paths, trained = tuple(layers), len(model.trainable_variables)

    @jax.jit
    def slopes(trainable: list[Any], others: list[Any]) -> Any:
        def loss(trainable: list[Any], slots: Any) -> Any:
            probes = Probes(slots)
            value = forward(model, few, [*trainable, *others], lambda path, kind, y: probes.tap(path, y))
            return value, probes.taken

        (_, taken), (weights, felt) = jax.value_and_grad(loss, (0, 1), has_aux=True)(trainable, Probes.empty(paths))
        return taken, felt, weights

    @jax.jit
    def all_outputs(values: list[Any]) -> Any:
        kept: dict[str, Any] = {}

        def keep(path: str, kind: str, y: Any) -> Any:
            kept[path] = y
            return y

        forward(model, probe, values, keep, training=False)
        return kept

    def compute(outputs: bool = False) -> Any:
        values = [v.value for v in variables(model)]
        if outputs:
            return {path: (np.asarray(y), axis(model, path, y.ndim)) for path, y in all_outputs(values).items()}
        taken, felt, weights = slopes(values[:trained], values[trained:])
        host = [{path: np.asarray(v, np.float64) for path, v in found.items()} for found in (taken, felt)]
        return host[0], host[1], [picked(np.asarray(w)) for w in weights]

    return compute


def _with_torch(model: Any, probe: Any, few: Any, layers: dict[str, str]) -> Callable[..., Any]:
    import torch

    trained = len(model.trainable_variables)

    def compute(outputs: bool = False) -> Any:
        # Keras draws dropout from PyTorch's own random numbers: the training gets them as they were
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
            return passed(outputs)

    def passed(outputs: bool) -> Any:
        felt: dict[str, list[np.ndarray]] = {}
        met: dict[str, list[np.ndarray]] = {}

        def host(y: Any) -> np.ndarray:
            return y.detach().float().cpu().numpy()

        def keep(path: str, kind: str, y: Any) -> Any:
            layers.setdefault(path, kind)
            met.setdefault(path, []).append(host(y) if outputs else picked(host(y)))
            if not outputs and y.requires_grad:
                y.register_hook(lambda g: felt.setdefault(path, []).append(picked(host(g))))
            return y

        values = [v.value.detach() for v in variables(model)]
        if outputs:
            with torch.no_grad():
                forward(model, probe, values, keep, training=False)
            return {path: (ys[-1], axis(model, path, ys[-1].ndim)) for path, ys in met.items()}
        weights = [v.requires_grad_() for v in values[:trained]]
        with torch.enable_grad():
            loss = forward(model, few, [*weights, *values[trained:]], keep)
            slopes = torch.autograd.grad(loss, weights, allow_unused=True)
        unknown = np.full(5, math.nan)
        activations = {path: moments(met[path]) if path in met else unknown for path in layers}
        gradients = {path: moments(felt[path]) if path in felt else unknown for path in layers}
        found = zip(slopes, weights, strict=True)
        return activations, gradients, [picked(host(torch.zeros_like(w) if g is None else g)) for g, w in found]

    return compute


def _with_tensorflow(model: Any, probe: Any, few: Any, layers: dict[str, str]) -> Callable[..., Any]:
    tf: Any = import_module("tensorflow")
    trained = len(model.trainable_variables)

    def sampled(y: Any) -> Any:
        step = stride(tuple(y.shape)) if len(y.shape) else 1
        return tf.cast(tf.reshape(y, [-1])[::step], tf.float32)

    @tf.function(autograph=False)
    def slopes(values: list[Any]) -> Any:
        met: list[tuple[str, Any]] = []

        def keep(path: str, kind: str, y: Any) -> Any:
            layers.setdefault(path, kind)
            y = tf.identity(y)  # an output that is passed on as it is has a place of its own
            met.append((path, y))
            return y

        weights = values[:trained]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = forward(model, few, values, keep)
        found = tape.gradient(loss, [*weights, *(y for _, y in met)])
        taken, felt = {}, {}
        for (path, y), g in zip(met, found[trained:], strict=True):
            taken.setdefault(path, []).append(sampled(y))
            if g is not None:
                felt.setdefault(path, []).append(sampled(tf.convert_to_tensor(g)))
        zeros = zip(found[:trained], weights, strict=True)
        return taken, felt, [sampled(tf.zeros_like(w) if g is None else tf.convert_to_tensor(g)) for g, w in zeros]

    @tf.function(autograph=False)
    def all_outputs(values: list[Any]) -> Any:
        kept: dict[str, Any] = {}

        def keep(path: str, kind: str, y: Any) -> Any:
            kept[path] = y
            return y

        forward(model, probe, values, keep, training=False)
        return kept

    def compute(outputs: bool = False) -> Any:
        values = [tf.convert_to_tensor(v.value) for v in variables(model)]
        if outputs:
            found = {path: np.asarray(y) for path, y in all_outputs(values).items()}
            return {path: (y, axis(model, path, y.ndim)) for path, y in found.items()}
        taken, felt, weights = slopes(values)
        unknown = np.full(5, math.nan)
        host = [
            {path: moments(np.asarray(y) for y in found[path]) if path in found else unknown for path in layers}
            for found in (taken, felt)
        ]
        return host[0], host[1], [np.asarray(w) for w in weights]

    slopes.get_concrete_function([tf.TensorSpec(v.shape, v.dtype) for v in variables(model)])  # fills `layers`
    return compute
