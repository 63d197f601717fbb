"""Convolutional networks by name: cnn, lenet, resnet.

    cnn((32, 64), dropout=0.2)             in Python
    --network cnn:32,64,dropout=0.2        on the command line

All read images [height, width, channels], grey or colour; `cnn` reads sequences and texts as well.
"""

from typing import Literal

from pellucid.errors import NetworkError
from pellucid.network.activations import ReLU, Tanh, suited_initial
from pellucid.network.architecture import Architecture, Arriving, Blueprint, numbers_first
from pellucid.network.architectures import SMALL
from pellucid.network.composite import Residual, Sequential
from pellucid.network.conv import Conv, Grey
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output
from pellucid.network.initial import Initializer, Zeros
from pellucid.network.layer import Layer
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm, LayerNorm
from pellucid.network.pool import AvgPool, GlobalPool, MaxPool
from pellucid.spec import register

Parts = list[tuple[str, Layer]]
TEXT_WIDTH = 64  # of the vectors that stand for tokens
BLOCKS = 6  # at most; the image is not halved below 4 places


@register("cnn")
class CNN(Architecture):
    """Blocks of convolution, normalisation and activation, each halving the image by its largest values; then a hidden
    dense layer, then the output layer.

    widths: channels of each block; by default 32, 64, 128, 256, 256, ... for as often as the image can be halved to no
    less than 4 places (28 x 28: 32, 64; 32 x 32: 32, 64, 128).   size: of the kernels.   repeat: convolutions a block.
    norm: "batch" or "layer" normalisation before each activation.   dense: neurons of the hidden dense layer, 0 for
    none.   dropout: the share of its outputs (without one, of its inputs) set to 0 while training.
    Sequences and texts are read by convolutions over their steps, and their largest value over time is kept (Kim 2014).
    LeCun et al. 1998; Simonyan & Zisserman 2015; Ioffe & Szegedy 2015.

    >>> [name for name, _ in CNN.parse("cnn:8,norm=none").build(Arriving((28, 28, 1), "uint8")).layers]
    ['input', 'conv1', 'relu1', 'pool1', 'flatten', 'hidden', 'relu', 'dropout', 'output']
    """

    widths: tuple[int, ...] | None = None
    activation: Layer = ReLU()
    size: int = 3
    repeat: int = 1
    norm: Literal["batch", "layer"] | None = "batch"
    dense: int = 128
    dropout: float = 0.3
    initial: Initializer | None = None

    def check(self):
        for name in ("widths", "size", "repeat"):
            value = getattr(self, name)
            if value is not None and min(value if isinstance(value, tuple) else (value,), default=0) < 1:
                self.refuse(name, "whole numbers >= 1")
        if self.dense < 0:
            self.refuse("dense", "a whole number >= 0")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "a share >= 0 and < 1")

    @classmethod
    def parse(cls, text: str) -> "CNN":
        """Bare numbers are widths; the rest is `key=value`."""
        return cls.make(numbers_first(cls, text, "widths"))

    def suggests(self):
        return {"batch_size": 64}

    def build(self, data: Arriving) -> Sequential:
        if data.kind not in ("image", "sequence", "tokens") or data.each_step:
            raise self.refuse_data(data, "images, sequences or texts, with one target each", instead_of_rows(data))
        data, parts = image_start(data)
        image = data.kind == "image"
        initial = self.initial or Initializer.of(suited_initial(self.activation))
        for block, width in enumerate(self._widths(min(data.shape[:2]) if image else data.shape[0]), 1):
            for turn in range(self.repeat):
                number = f"{block}{'abcdefghijklmnopqrstuvwxyz'[turn]}" if 1 < self.repeat <= 26 else str(block)
                parts += self._layers(number, Conv(width, self.size, bias=self.norm is None, initial=initial))
            parts.append((f"pool{block}", MaxPool(2)))
        parts.append(("flatten", Flatten()) if image else ("largest", GlobalPool("max")))
        if self.dense:
            parts += [("hidden", Dense(self.dense, initial=initial)), (self.activation.name, self.activation)]
        if self.dropout:
            parts.append(("dropout", Dropout(self.dropout)))
        return Sequential(*parts, ("output", Output(initial=SMALL)))

    def _layers(self, number: str, conv: Conv) -> Parts:
        norm = [] if self.norm is None else [(f"norm{number}", BatchNorm() if self.norm == "batch" else LayerNorm())]
        return [(f"conv{number}", conv), *norm, (f"{self.activation.name}{number}", self.activation)]

    def _widths(self, side: int) -> tuple[int, ...]:
        """As set; by default as many as the shorter side (or the number of steps) can be halved. Too many raise."""
        if self.widths is None:
            halvings = max(side.bit_length() - 3, 1) if side > 1 else 0  # the last image has 4 to 7 places
            return tuple(min(32 << i, 256) for i in range(min(halvings, BLOCKS)))
        if side >> len(self.widths) < 1:
            most = side.bit_length() - 1
            raise NetworkError(
                f"{len(self.widths)} blocks halve {side} places until none is left",
                where=f"--network cnn:{','.join(map(str, self.widths))}",
                expected=f"at most {most} widths for {side} places", got=len(self.widths),
                fix="fewer widths, or larger inputs" if most else "larger inputs",
            )  # fmt: skip
        return self.widths


@register("lenet")
class LeNet(Architecture):
    """LeNet-5: 6 kernels of 5 x 5, mean pooling, 16 of 5 x 5, mean pooling, then dense layers of 120 and 84.

    As published, but that every kernel of the second convolution sees all six channels, pooling has no weights, and the
    output layer is one of today's. Made for 32 x 32; smaller images (28 x 28) are filled up with zeros by the first
    convolution, which takes at least 12 x 12.   activation: after each layer. LeCun et al. 1998.

    >>> [name for name, _ in LeNet().build(Arriving((28, 28, 1), "uint8")).layers][:4]
    ['input', 'conv1', 'tanh1', 'pool1']
    """

    activation: Layer = Tanh()

    def build(self, data: Arriving) -> Sequential:
        data, parts = image_start(data)
        require_image(self, data, 12)
        act, name = self.activation, self.activation.name
        initial = Initializer.of(suited_initial(act))
        first = Conv(6, 5, padding="same" if min(data.shape[:2]) < 32 else "valid", initial=initial)
        return Sequential(
            *parts,
            ("conv1", first), (f"{name}1", act), ("pool1", AvgPool(2)),
            ("conv2", Conv(16, 5, padding="valid", initial=initial)), (f"{name}2", act), ("pool2", AvgPool(2)),
            ("flatten", Flatten()),
            ("hidden1", Dense(120, initial=initial)), (f"{name}3", act),
            ("hidden2", Dense(84, initial=initial)), (f"{name}4", act),
            ("output", Output(initial=SMALL)),
        )  # fmt: skip


# blocks of each stage; 18 and 34 as for ImageNet, the others 6 n + 2 layers as for CIFAR
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 20: (3,) * 3, 32: (5,) * 3, 44: (7,) * 3, 56: (9,) * 3}


@register("resnet")
class ResNet(Architecture):
    """A residual network of basic blocks, in the form for small images: a convolution of 3 x 3 without pooling first.

    depth: 18 or 34 (four stages of 64, 128, 256 and 512 channels), or 20, 32, 44 or 56 (three of 16, 32 and 64, the
    small nets of the paper's CIFAR section).   width: multiplies the channels.   activation: after each sum.
    Every stage but the first begins by halving the image; where shapes change, the shortcut is a convolution of 1 x 1.
    The last normalisation of each block begins at zero, so that the network begins shallow (Goyal et al. 2017).
    He et al. 2016.

    >>> ResNet.parse("resnet:20,width=2")
    ResNet(depth=20, width=2.0, activation=ReLU())
    """

    depth: int = 18
    width: float = 1.0
    activation: Layer = ReLU()

    def check(self):
        if self.depth not in DEPTHS:
            self.refuse("depth", f"one of {', '.join(map(str, sorted(DEPTHS)))}")
        if self.width <= 0:
            self.refuse("width", "a number > 0")

    def suggests(self):
        return {"batch_size": 128}

    def build(self, data: Arriving) -> Sequential:
        stages, first = DEPTHS[self.depth], 64 if self.depth in (18, 34) else 16
        data, parts = image_start(data)
        require_image(self, data, 4)
        widths = [max(round(first * self.width * 2**i), 1) for i in range(len(stages))]
        act, name = self.activation, self.activation.name
        parts += [("conv", self._conv(widths[0])), ("norm", BatchNorm()), (name, act)]
        before = widths[0]
        for stage, (blocks, width) in enumerate(zip(stages, widths, strict=True), 1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                place = f"stage{stage}_block{block}"
                parts += [(place, self._block(before, width, stride)), (f"{place}_{name}", act)]
                before = width
        return Sequential(*parts, ("mean", GlobalPool()), ("output", Output(initial=SMALL)))

    def _conv(self, width: int, size: int = 3, stride: int = 1) -> Conv:
        return Conv(width, size, stride=stride, bias=False, initial=Initializer.of(suited_initial(self.activation)))

    def _block(self, before: int, width: int, stride: int) -> Residual:
        shortcut = None
        if stride != 1 or before != width:
            shortcut = Sequential(("conv", self._conv(width, 1, stride)), ("norm", BatchNorm()))
        body = Sequential(
            ("conv1", self._conv(width, stride=stride)), ("norm1", BatchNorm()),
            (self.activation.name, self.activation),
            ("conv2", self._conv(width)), ("norm2", BatchNorm(scale_initial=Zeros())),
        )  # fmt: skip
        return Residual(body, shortcut)


def image_start(data: Arriving) -> tuple[Arriving, Parts]:
    """What arrives behind the first layers, and these layers. Bytes on two axes are grey images without channels."""
    if data.kind == "sequence" and data.dtype == "uint8":
        return data._replace(shape=(*data.shape, 1)), [("input", Input()), ("grey", Grey())]
    return data, [("embed", Embed(None, TEXT_WIDTH)) if data.kind == "tokens" else ("input", Input())]


def instead_of_rows(data: Arriving) -> str:
    if data.kind == "row":
        return "rows of numbers have no neighbours to look at together: --network mlp"
    return "--network lstm or transformer" if data.kind in ("tokens", "pairs", "sequence") else "--network mlp"


def require_image(architecture: Architecture, data: Arriving, least: int) -> None:
    """A `NetworkError` unless images of at least `least` places on each side arrive."""
    if data.kind != "image":
        raise architecture.refuse_data(data, "images of shape [height, width, channels]", instead_of_rows(data))
    if min(data.shape[:2]) < least:
        raise NetworkError(
            f"the images are too small for {architecture.name!r}", where=f"--network {architecture.name}",
            expected=f"at least {least} x {least}", got=f"{data.shape[0]} x {data.shape[1]}",
            fix="--network cnn, which sizes itself by the image, or larger images",
        )  # fmt: skip


def cnn(
    widths: tuple[int, ...] | list[int] | int | None = None,
    activation: Layer | str = "relu",
    *,
    size: int = 3,
    repeat: int = 1,
    norm: str | None = "batch",
    dense: int = 128,
    dropout: float = 0.3,
    initial: Initializer | str | None = None,
    outputs: int | None = None,
) -> Network:
    """A convolutional network, not initialised yet. See `CNN` for the settings.

    outputs: the width of the output layer; by default the data decide it in `fit`.

    >>> cnn((8, 16), dense=32)
    Network(Blueprint(...), not initialised)
    """
    settings = {"widths": (widths,) if isinstance(widths, int) else widths, "activation": activation, "size": size}
    more = {"repeat": repeat, "norm": norm, "dense": dense, "dropout": dropout, "initial": initial}
    return Network(Blueprint(CNN.make({**settings, **more}), outputs))


def lenet(activation: Layer | str = "tanh", *, outputs: int | None = None) -> Network:
    """LeNet-5, not initialised yet. See `LeNet`.

    >>> lenet("relu", outputs=10)
    Network(Blueprint(...), not initialised)
    """
    return Network(Blueprint(LeNet.make({"activation": activation}), outputs))


def resnet(
    depth: int = 18, *, width: float = 1.0, activation: Layer | str = "relu", outputs: int | None = None
) -> Network:
    """A residual network, not initialised yet. See `ResNet`.

    >>> resnet(20, outputs=10)
    Network(Blueprint(...), not initialised)
    """
    return Network(Blueprint(ResNet.make({"depth": depth, "width": width, "activation": activation}), outputs))
