"""Into a Keras model: its layers by path, and one pass over it in which each layer's output goes through a function.

For these passes each layer's `call` is wrapped, so that any model is seen into, subclassed ones too; all variables are
read and written in a `StatelessScope`, so that running averages, seeds and metrics stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from pellucid.errors import MissingExtra
from pellucid.signals.sampling import stride

try:
    keras: Any = import_module("keras")
except ImportError as error:  # pragma: no cover
    if find_spec("keras") is None:
        raise MissingExtra("Keras is not installed", fix='pip install "pellucid[keras]"') from error
    raise MissingExtra(
        "Keras finds no backend", where="KERAS_BACKEND", expected="the name of one that is installed", got=error,
        fix='os.environ["KERAS_BACKEND"] = "jax"  # or "torch"; before anything imports Keras',
    ) from error  # fmt: skip

_BY_CLASS = {
    "dense": "Dense EinsumDense",
    "conv": "Conv1D Conv2D Conv3D DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D",
    "conv_transpose": "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU PReLU",
    "elu": "ELU",
    "softmax": "Softmax",
    "rnn": "SimpleRNN",
    "lstm": "LSTM ConvLSTM1D ConvLSTM2D",
    "gru": "GRU",
    "embed": "Embedding",
    "attention": "MultiHeadAttention GroupedQueryAttention Attention AdditiveAttention",
    "batch_norm": "BatchNormalization",
    "layer_norm": "LayerNormalization GroupNormalization UnitNormalization",
    "rms_norm": "RMSNormalization",
    "dropout": "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout AlphaDropout",
    "flatten": "Flatten",
    "identity": "Identity",
    "max_pool": "MaxPooling1D MaxPooling2D MaxPooling3D",
    "avg_pool": "AveragePooling1D AveragePooling2D AveragePooling3D",
    "global_pool": "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D",
    "upsample": "UpSampling1D UpSampling2D UpSampling3D",
}
_KINDS = {name: kind for kind, names in _BY_CLASS.items() for name in names.split()}
ACTIVATIONS = {"relu": "relu", "relu6": "relu", "leaky_relu": "leaky_relu", "elu": "elu", "celu": "elu", "selu": "selu",
              "gelu": "gelu", "silu": "silu", "swish": "silu", "hard_silu": "silu", "mish": "silu",
              "softplus": "softplus", "sigmoid": "sigmoid", "hard_sigmoid": "sigmoid", "tanh": "tanh",
              "hard_tanh": "tanh", "softmax": "softmax", "log_softmax": "softmax"}  # fmt: skip
NAMES = {"kernel": "w", "bias": "b", "embeddings": "w", "recurrent_kernel": "u", "gamma": "scale", "beta": "bias"}
Tap = Callable[[str, str, Any], Any]  # (path, kind, what comes out) -> what goes on


@contextmanager
def _tapped(model: Any, tap: Tap) -> Iterator[None]:
    """Each layer's output goes through `tap`, and so does what comes before an activation that a layer applies."""
    changed: list[tuple[Any, str, Any]] = []  # (layer, attribute, what it was, if it was the layer's own)

    def put(layer: Any, name: str, value: Any) -> None:
        changed.append((layer, name, layer.__dict__.get(name)))
        layer.__dict__[name] = value

    try:
        for path, layer, kind in leaves(model):
            activation = own_activation(layer, kind)
            if activation is not None:
                put(layer, "activation", _around(path, kind, activation, tap))
            else:
                put(layer, "call", _after(path, kind, layer.call, tap))
        yield
    finally:
        for layer, name, value in reversed(changed):
            if value is None:
                del layer.__dict__[name]
            else:
                layer.__dict__[name] = value


def _after(path: str, kind: str, call: Callable, tap: Tap) -> Callable:
    def tapped(*args: Any, **kwargs: Any) -> Any:
        y = call(*args, **kwargs)
        if isinstance(y, tuple | list):
            return type(y)((tap(path, kind, y[0]), *y[1:])) if y and _is_float(y[0]) else y
        return tap(path, kind, y) if _is_float(y) else y

    return tapped


def _around(path: str, kind: str, activation: Callable, tap: Tap) -> Callable:
    name = ACTIVATIONS.get(getattr(activation, "__name__", ""), "")

    def tapped(x: Any) -> Any:
        return tap(f"{path}/{name or 'activation'}", name, activation(tap(path, kind, x)))

    return tapped


def leaves(model: Any) -> list[tuple[str, Any, str]]:
    """(path, layer, kind) of every layer that is made of no others, or is of a known kind."""
    found: list[tuple[str, Any, str]] = []
    inside: set[int] = set()
    for layer in model._flatten_layers(include_self=False):
        if id(layer) in inside or isinstance(layer, keras.layers.InputLayer):
            continue
        kind = _KINDS.get(type(layer).__name__, "")
        if isinstance(layer, keras.layers.Activation):
            kind = ACTIVATIONS.get(getattr(layer.activation, "__name__", ""), "")
        parts = list(layer._flatten_layers(include_self=False))
        if kind:
            inside |= {id(part) for part in parts}
        elif parts or isinstance(layer, keras.layers.Wrapper):
            continue
        found.append((_path(model, layer.path or layer.name), layer, kind))
    return found


def own_activation(layer: Any, kind: str) -> Callable | None:
    activation = layer.__dict__.get("activation")
    if kind not in ("dense", "conv", "conv_transpose") or not callable(activation):
        return None
    return None if activation is keras.activations.linear or isinstance(activation, keras.layers.Layer) else activation


def weight_names(model: Any) -> dict[str, Any]:
    """The trained variables, by paths in Pellucid's words: `hidden/w` for `hidden/kernel`."""
    owners = {id(v): path for path, layer, _ in leaves(model) for v in layer.trainable_variables}
    found = {}
    for v in model.trainable_variables:
        own = NAMES.get(v.name, v.name)
        path = f"{owners[id(v)]}/{own}" if id(v) in owners else _path(model, v.path)
        found[path if path not in found else _path(model, v.path)] = v
    return found


def variables(model: Any) -> list[Any]:
    """The trained ones first, then all others that a pass may read or write."""
    return [*model.trainable_variables, *model.non_trainable_variables, *model.metrics_variables]


def _path(model: Any, path: str) -> str:
    return path.removeprefix(f"{model.name}/")


def axis(model: Any, path: str, axes: int) -> int:
    """The axis of a layer's units: the last, but for images with channels first."""
    layer = next((layer for own, layer, _ in leaves(model) if path == own or path.startswith(f"{own}/")), None)
    return 1 if getattr(layer, "data_format", None) == "channels_first" and axes > 2 else axes - 1


def _is_float(y: Any) -> bool:
    return hasattr(y, "dtype") and keras.backend.is_float_dtype(keras.backend.standardize_dtype(y.dtype))


def forward(model: Any, probe: Any, values: list[Any], tap: Tap, training: bool = True) -> Any:
    """The loss on the probe with these values of the model's variables, which stay as they are."""
    x, y = probe
    mapping = list(zip(variables(model), values, strict=True))
    told = {"training": training} if model._call_has_training_arg else {}
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True), _tapped(model, tap):
        x = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
        outputs = model(x, **told)
        if not training:
            return outputs
        y = keras.tree.map_structure(keras.ops.convert_to_tensor, y)
        return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None, training=True)


def host(v: Any) -> np.ndarray:
    """A variable's value."""
    return keras.ops.convert_to_numpy(v.value)


def picked(a: np.ndarray) -> np.ndarray:
    """A copy of at most `SAMPLE` elements."""
    return np.array(a.reshape(-1)[:: stride(a.shape)] if a.ndim else a.reshape(1), copy=True)
