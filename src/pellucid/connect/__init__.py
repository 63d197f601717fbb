"""Other people's software: `connect.sklearn` (estimators), `connect.jax` (Equinox, Flax and plain functions),
`connect.torch` (PyTorch: its loops watched, its weights), `connect.keras` (Keras 3: its `fit` watched), `connect.onnx`
(files for onnxruntime), `connect.tensorboard` (event files)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.connect import jax as jax
    from pellucid.connect import keras as keras
    from pellucid.connect import onnx as onnx
    from pellucid.connect import sklearn as sklearn
    from pellucid.connect import tensorboard as tensorboard
    from pellucid.connect import torch as torch

_PARTS = ("jax", "keras", "onnx", "sklearn", "tensorboard", "torch")


def __getattr__(name: str) -> Any:
    if name in _PARTS:  # each needs a library that others do without, or that takes long to import
        return import_module(f"pellucid.connect.{name}")
    raise AttributeError(f"module 'pellucid.connect' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(_PARTS)
