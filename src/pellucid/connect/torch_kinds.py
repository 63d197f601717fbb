# pyright: reportMissingImports=false
"""PyTorch's modules and functions under the names that Pellucid's records have for them.

A kind goes by the name of the class, or of one it derives from, so that the many `RMSNorm`s and `GELUActivation`s of
other libraries are known as well. A module of a known kind is one layer, whatever it is made of.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_BY_CLASS = {
    "dense": "Linear Bilinear Conv1D",  # Conv1D: of GPT-2 in transformers, a dense layer
    "conv": "Conv1d Conv2d Conv3d",
    "conv_transpose": "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "relu": "ReLU ReLU6 Threshold",
    "leaky_relu": "LeakyReLU PReLU RReLU",
    "elu": "ELU CELU",
    "selu": "SELU",
    "gelu": "GELU GELUActivation NewGELUActivation FastGELUActivation QuickGELUActivation PytorchGELUTanh",
    "silu": "SiLU SiLUActivation Hardswish Mish",
    "softplus": "Softplus",
    "sigmoid": "Sigmoid Hardsigmoid",
    "tanh": "Tanh Hardtanh Softsign",
    "softmax": "Softmax LogSoftmax",
    "rnn": "RNN RNNCell",
    "lstm": "LSTM LSTMCell",
    "gru": "GRU GRUCell",
    "embed": "Embedding EmbeddingBag",
    "attention": "MultiheadAttention",
    "batch_norm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
    "layer_norm": "LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "rms_norm": "RMSNorm",
    "dropout": "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout",
    "flatten": "Flatten",
    "identity": "Identity",
    "max_pool": "MaxPool1d MaxPool2d MaxPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d",
    "avg_pool": "AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d",
    "upsample": "Upsample",
}
_KINDS = {name: kind for kind, names in _BY_CLASS.items() for name in names.split()}
_ENDINGS = {"RMSNorm": "rms_norm", "LayerNorm": "layer_norm"}

_BY_FUNCTION: dict[str, tuple[Callable[..., Any], ...]] = {
    "relu": (F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu6),
    "leaky_relu": (F.leaky_relu, F.leaky_relu_, F.prelu, torch.prelu),
    "elu": (F.elu, F.elu_, F.celu),
    "selu": (F.selu, torch.selu),
    "gelu": (F.gelu,),
    "silu": (F.silu, F.hardswish, F.mish),
    "softplus": (F.softplus,),
    "sigmoid": (F.sigmoid, torch.sigmoid, torch.Tensor.sigmoid, torch.Tensor.sigmoid_, F.hardsigmoid),
    "tanh": (F.tanh, torch.tanh, torch.Tensor.tanh, torch.Tensor.tanh_, F.hardtanh),
    "softmax": (F.softmax, torch.softmax, torch.Tensor.softmax, F.log_softmax, torch.log_softmax,
                torch.Tensor.log_softmax),
    "dense": (F.linear,),
    "conv": (F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d),
    "layer_norm": (F.layer_norm, F.group_norm),
    "attention": (F.scaled_dot_product_attention,),
    "embed": (F.embedding,),
}  # fmt: skip
FUNCTIONS = {function: kind for kind, functions in _BY_FUNCTION.items() for function in functions}

WRAPPING = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # added by PyTorch to paths

_FIRST = ("conv", "conv_transpose", "batch_norm", "max_pool", "avg_pool", "upsample")  # channels come first
_LAST = ("dense", "rnn", "lstm", "gru", "embed", "attention", "layer_norm", "rms_norm")
_NAMES = {
    "dense": {"weight": "w", "bias": "b"},
    "conv": {"weight": "w", "bias": "b"},
    "conv_transpose": {"weight": "w", "bias": "b"},
    "embed": {"weight": "w"},
    "batch_norm": {"weight": "scale"},
    "layer_norm": {"weight": "scale"},
    "rms_norm": {"weight": "scale"},
    "rnn": {"weight_ih": "w", "weight_hh": "u", "bias_ih": "b", "bias_hh": "v"},
    "attention": {"in_proj_weight": "w", "in_proj_bias": "b", "out_proj/weight": "out", "out_proj/bias": "out_bias"},
}
_NAMES["lstm"] = _NAMES["gru"] = _NAMES["rnn"]


def kind_of(module: nn.Module) -> str:
    """ "dense", "relu", ...; "" for a module that is none of these.

    >>> kind_of(nn.Linear(2, 3)), kind_of(nn.LazyConv2d(4, 3)), kind_of(nn.ReLU6()), kind_of(nn.Sequential())
    ('dense', 'conv', 'relu', '')
    """
    for cls in type(module).__mro__:
        if kind := _KINDS.get(cls.__name__) or _KINDS.get(cls.__name__.removeprefix("Lazy")):
            return kind
        if kind := next((kind for end, kind in _ENDINGS.items() if cls.__name__.endswith(end)), None):
            return kind
    return ""


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(path, module, kind) of what counts as one layer: known kinds, and modules without parts. Shared ones once.

    >>> [path for path, _, _ in leaves(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))]
    ['0', '1/0']
    """
    seen: set[int] = set()

    def walk(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module, str]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        kind = kind_of(module)
        parts = list(module.named_children())
        if kind or not parts:
            if path or kind:  # the model itself, where it is one function of its own weights, is no layer
                yield path or kind, module, kind
            return
        for name, part in parts:
            name = "" if name in WRAPPING else name
            yield from walk(part, f"{path}/{name}".strip("/"))

    yield from walk(model, "")


def weight_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter once, by its path in Pellucid's words: `hidden/w` for `hidden.weight` of a Linear.

    >>> list(weight_names(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))))
    ['0/w', '0/b', '1/scale', '1/bias']
    """
    owners = {path: kind for path, _, kind in leaves(model) if kind}
    named = {}
    for dotted, parameter in model.named_parameters():
        path = "/".join(name for name in dotted.split(".") if name not in WRAPPING)
        owner = max((o for o in owners if path.startswith(f"{o}/")), key=len, default=None)
        if owner is None and len(owners) == 1 and kind_of(model):  # the model is one layer
            owner = next(iter(owners))
            path = f"{owner}/{path}"
        if owner is not None:
            path = f"{owner}/{_translated(owners[owner], path[len(owner) + 1 :])}"
        named[path] = parameter
    return named


def _translated(kind: str, name: str) -> str:
    names = _NAMES.get(kind, {})
    if kind in ("rnn", "lstm", "gru"):  # weight_ih_l0 -> w, weight_ih_l1_reverse -> w_l1_reverse
        for theirs, ours in names.items():
            if name.startswith(theirs):
                end = name.removeprefix(theirs).removeprefix("_l0")
                return ours + end
    return names.get(name, name)


def shape_of(path: str, weight: nn.Parameter, kind: str) -> tuple[int, ...]:
    """A weight's shape in Pellucid's layout, in which inputs come before outputs.

    >>> shape_of("0/w", nn.Linear(2, 3).weight, "dense"), shape_of("0/w", nn.Conv2d(4, 6, 3).weight, "conv")
    ((2, 3), (3, 3, 4, 6))
    """
    shape, name = tuple(weight.shape), path.rpartition("/")[2]
    if kind in ("dense", "rnn", "lstm", "gru", "attention") and len(shape) == 2:
        return shape[::-1]
    if kind == "conv" and name == "w":
        return (*shape[2:], shape[1], shape[0])
    return (*shape[2:], *shape[:2]) if kind == "conv_transpose" and name == "w" else shape


def channels_first(kind: str, before: bool) -> bool:
    """Whether an output of this kind has its units on its second axis, not on its last; activations and other layers
    that do not care have them where the layer `before` them had."""
    return kind in _FIRST or (before and kind not in _LAST)
