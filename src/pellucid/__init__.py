"""Pellucid: deep learning that one can see through.

    import pellucid as pc

    run = pc.fit(pc.mlp((64, 32)), "digits")
    run.result, run.network.predict(x), run.report()

Every public name is an attribute of this package (and of `pc.connect.sklearn`, `pc.connect.jax`), and is imported when
it is first used: `import pellucid` itself loads next to nothing.
"""

import os
import sys
import types
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# JAX 0.9 logs an error for each program that it loads from its cache on disk, though nothing is wrong. What the logger
# hides is read when JAX is first imported; `machine.set_up` leaves that cache off where that was before this line.
if "jax" not in sys.modules and os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # JAX's own default
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
LOGS_QUIET = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") >= "3"

if TYPE_CHECKING:
    from pathlib import Path

    from pellucid import connect as connect
    from pellucid import errors as errors
    from pellucid.connect.watcher import diagnose as diagnose
    from pellucid.data import Dataset as Dataset
    from pellucid.data import datasets as datasets
    from pellucid.data import load as load
    from pellucid.data import prepare as prepare
    from pellucid.fit import fit as fit
    from pellucid.fit import resume as resume
    from pellucid.fit import runs as runs
    from pellucid.network.activations import ELU as ELU
    from pellucid.network.activations import GELU as GELU
    from pellucid.network.activations import SELU as SELU
    from pellucid.network.activations import Identity as Identity
    from pellucid.network.activations import LeakyReLU as LeakyReLU
    from pellucid.network.activations import ReLU as ReLU
    from pellucid.network.activations import Sigmoid as Sigmoid
    from pellucid.network.activations import SiLU as SiLU
    from pellucid.network.activations import Softmax as Softmax
    from pellucid.network.activations import Softplus as Softplus
    from pellucid.network.activations import Tanh as Tanh
    from pellucid.network.architecture import Architecture as Architecture
    from pellucid.network.architecture import Arriving as Arriving
    from pellucid.network.architecture import Blueprint as Blueprint
    from pellucid.network.architectures import mlp as mlp
    from pellucid.network.architectures import perceptron as perceptron
    from pellucid.network.attention import Attention as Attention
    from pellucid.network.attention import Positions as Positions
    from pellucid.network.composite import Parallel as Parallel
    from pellucid.network.composite import Residual as Residual
    from pellucid.network.composite import Sequential as Sequential
    from pellucid.network.conv import Conv as Conv
    from pellucid.network.conv import ConvTranspose as ConvTranspose
    from pellucid.network.conv import Grey as Grey
    from pellucid.network.conv import Upsample as Upsample
    from pellucid.network.convolutional import cnn as cnn
    from pellucid.network.convolutional import lenet as lenet
    from pellucid.network.convolutional import resnet as resnet
    from pellucid.network.dense import Dense as Dense
    from pellucid.network.dense import Dropout as Dropout
    from pellucid.network.dense import Embed as Embed
    from pellucid.network.dense import Flatten as Flatten
    from pellucid.network.dense import Input as Input
    from pellucid.network.dense import Output as Output
    from pellucid.network.layer import Context as Context
    from pellucid.network.layer import Layer as Layer
    from pellucid.network.layer import Param as Param
    from pellucid.network.layer import layer as layer
    from pellucid.network.network import Network as Network
    from pellucid.network.norm import BatchNorm as BatchNorm
    from pellucid.network.norm import LayerNorm as LayerNorm
    from pellucid.network.norm import RMSNorm as RMSNorm
    from pellucid.network.pool import AvgPool as AvgPool
    from pellucid.network.pool import GlobalPool as GlobalPool
    from pellucid.network.pool import MaxPool as MaxPool
    from pellucid.network.recurrent import GRU as GRU
    from pellucid.network.recurrent import LSTM as LSTM
    from pellucid.network.recurrent import RNN as RNN
    from pellucid.network.recurrent import Bidirectional as Bidirectional
    from pellucid.network.recurrent import Steps as Steps
    from pellucid.network.seq2seq import BahdanauDecoder as BahdanauDecoder
    from pellucid.network.seq2seq import EncoderDecoder as EncoderDecoder
    from pellucid.network.seq2seq import LuongAttention as LuongAttention
    from pellucid.network.seq2seq import seq2seq as seq2seq
    from pellucid.network.sequence_models import gru as gru
    from pellucid.network.sequence_models import lstm as lstm
    from pellucid.network.sequence_models import rnn as rnn
    from pellucid.network.transformer import SwiGLU as SwiGLU
    from pellucid.network.transformer import TiedEmbedding as TiedEmbedding
    from pellucid.network.transformer import TransformerBlock as TransformerBlock
    from pellucid.network.transformer import transformer as transformer
    from pellucid.session import Callback as Callback
    from pellucid.session import Run as Run
    from pellucid.spec import register as register
    from pellucid.train.augment import Augmentation as Augmentation
    from pellucid.train.augment import Brightness as Brightness
    from pellucid.train.augment import Crop as Crop
    from pellucid.train.augment import Cutout as Cutout
    from pellucid.train.augment import Flip as Flip
    from pellucid.train.augment import Mixup as Mixup
    from pellucid.train.augment import Rotate as Rotate
    from pellucid.train.augment import Shift as Shift
    from pellucid.train.hosts import join as join
    from pellucid.train.loss import Loss as Loss
    from pellucid.train.losses import BinaryCrossEntropy as BinaryCrossEntropy
    from pellucid.train.losses import CrossEntropy as CrossEntropy
    from pellucid.train.losses import Huber as Huber
    from pellucid.train.losses import Joint as Joint
    from pellucid.train.losses import MeanAbsoluteError as MeanAbsoluteError
    from pellucid.train.losses import MeanSquaredError as MeanSquaredError
    from pellucid.train.losses import Perceptron as Perceptron
    from pellucid.train.metric import Metric as Metric
    from pellucid.train.metrics import F1 as F1
    from pellucid.train.metrics import R2 as R2
    from pellucid.train.metrics import Accuracy as Accuracy
    from pellucid.train.metrics import BalancedAccuracy as BalancedAccuracy
    from pellucid.train.metrics import ExactMatch as ExactMatch
    from pellucid.train.metrics import RocAuc as RocAuc
    from pellucid.train.metrics import RootMeanSquaredError as RootMeanSquaredError
    from pellucid.train.metrics import TopK as TopK
    from pellucid.train.optimizer import Optimizer as Optimizer
    from pellucid.train.optimizers import SGD as SGD
    from pellucid.train.optimizers import AdaGrad as AdaGrad
    from pellucid.train.optimizers import Adam as Adam
    from pellucid.train.optimizers import AdamW as AdamW
    from pellucid.train.optimizers import GradientDescent as GradientDescent
    from pellucid.train.optimizers import Lion as Lion
    from pellucid.train.optimizers import Momentum as Momentum
    from pellucid.train.optimizers import Muon as Muon
    from pellucid.train.optimizers import Nesterov as Nesterov
    from pellucid.train.optimizers import RMSProp as RMSProp
    from pellucid.train.schedules import Constant as Constant
    from pellucid.train.schedules import Cosine as Cosine
    from pellucid.train.schedules import Exponential as Exponential
    from pellucid.train.schedules import OneCycle as OneCycle
    from pellucid.train.schedules import ReduceOnPlateau as ReduceOnPlateau
    from pellucid.train.schedules import Schedule as Schedule
    from pellucid.train.schedules import Step as Step
    from pellucid.train.watch import watch as watch
    from pellucid.train.watch import watched as watched

# where each name lives; a test holds this table equal to the imports above, which are for editors and type checkers.
# The metric "mean_absolute_error" has no class here, for the loss has its name: give the text, or the loss.
_HOMES = {
    "connect.watcher": "diagnose",
    "data": "Dataset datasets load prepare",
    "fit": "fit resume runs",
    "network.activations": "ELU GELU SELU Identity LeakyReLU ReLU Sigmoid SiLU Softmax Softplus Tanh",
    "network.architecture": "Architecture Arriving Blueprint",
    "network.architectures": "mlp perceptron",
    "network.attention": "Attention Positions",
    "network.composite": "Parallel Residual Sequential",
    "network.conv": "Conv ConvTranspose Grey Upsample",
    "network.convolutional": "cnn lenet resnet",
    "network.dense": "Dense Dropout Embed Flatten Input Output",
    "network.layer": "Context Layer Param layer",
    "network.network": "Network",
    "network.norm": "BatchNorm LayerNorm RMSNorm",
    "network.pool": "AvgPool GlobalPool MaxPool",
    "network.recurrent": "GRU LSTM RNN Bidirectional Steps",
    "network.seq2seq": "BahdanauDecoder EncoderDecoder LuongAttention seq2seq",
    "network.sequence_models": "gru lstm rnn",
    "network.transformer": "SwiGLU TiedEmbedding TransformerBlock transformer",
    "session": "Callback Run",
    "spec": "register",
    "train.augment": "Augmentation Brightness Crop Cutout Flip Mixup Rotate Shift",
    "train.hosts": "join",
    "train.loss": "Loss",
    "train.losses": "BinaryCrossEntropy CrossEntropy Huber Joint MeanAbsoluteError MeanSquaredError Perceptron",
    "train.metric": "Metric",
    "train.metrics": "Accuracy BalancedAccuracy ExactMatch F1 R2 RocAuc RootMeanSquaredError TopK",
    "train.optimizer": "Optimizer",
    "train.optimizers": "SGD AdaGrad Adam AdamW GradientDescent Lion Momentum Muon Nesterov RMSProp",
    "train.schedules": "Constant Cosine Exponential OneCycle ReduceOnPlateau Schedule Step",
    "train.watch": "watch watched",
}
_HOME = {name: f"pellucid.{home}" for home, names in _HOMES.items() for name in names.split()}
_PARTS = ("connect", "errors")  # public submodules


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"pellucid.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, *_PARTS, "__version__"])


def _write_report(path: "Path") -> "Path":
    from pellucid.views.report import write_report

    return write_report(path)


def _draw(value: Any) -> str:
    from pellucid.views.notebook import html

    return html(value)


def _notebook() -> Any:
    from pellucid.views.notebook_progress import NotebookProgress, in_notebook

    return NotebookProgress() if in_notebook() else None


# what modules are handed when they are first imported: it lies above them, and they may not import it themselves
_HANDED = {"session": {"reporter": _write_report}, "shown": {"drawer": _draw, "notebook": _notebook}}


class _Package(types.ModuleType):
    """Python sets an imported submodule as an attribute of its package. `pc.fit` has to stay the function, whoever
    imports the submodule `pellucid.fit` and whenever; and this is when modules are handed what draws."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            vars(value).update(_HANDED.get(name, {}))
            value = vars(value)["fit"] if name == "fit" else value
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
