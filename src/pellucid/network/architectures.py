"""Architectures by name: builders that turn a few settings into a network, with initial weights that suit.

    mlp((128, 64), activation="relu")      in Python
    --network mlp:128,64                   on the command line; settings by name: mlp:128,64,dropout=0.2

Each begins with `Input()`, which takes in the features and standardises them (or with `Embed`, for text), and ends in
`Output()`, whose width the data decide. Here are those without convolutions, recurrence or attention.
"""

from typing import Literal

from pellucid.network.activations import ReLU, suited_initial
from pellucid.network.architecture import Architecture, Arriving, Blueprint, numbers_first
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output
from pellucid.network.initial import Initializer, LeCunNormal
from pellucid.network.layer import Layer
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm, LayerNorm
from pellucid.spec import register

# An output layer that begins near zero begins at the loss of knowing nothing (ln of the number of classes, the variance
# of the targets), and a small set is learned with less noise than from random guesses held with confidence.
SMALL = LeCunNormal(gain=0.1)
TEXT_WIDTH = 64  # of the vectors whose mean stands for a text (Joulin et al. 2017)


@register
class Perceptron(Architecture):
    """A single layer: every input is connected to every output, and nothing lies between.

    rule="gradient": trained by the loss that suits the task, as logistic or linear regression is.
    rule="rosenblatt": the rule of 1958: weights begin at zero, one example at a time, and only a mistake moves them,
    by the input itself. It finds a separating line where there is one, and never ends on XOR. Rosenblatt 1958;
    Minsky & Papert 1969.

    >>> [name for name, _ in Perceptron().build(Arriving((8, 8))).layers]
    ['input', 'flatten', 'output']
    """

    rule: Literal["gradient", "rosenblatt"] = "gradient"

    def build(self, data: Arriving) -> Sequential:
        if data.kind not in ("row", "image", "sequence", "array"):
            raise self.refuse_data(data, "rows of numbers, or images", "name another network: --network mlp")
        if data.each_step:
            raise self.refuse_data(data, "examples with one target each", "--network gru, lstm, rnn or transformer")
        initial = Initializer.of("zeros" if self.rule == "rosenblatt" else "glorot_uniform")
        return Sequential(("input", Input()), ("flatten", Flatten()), ("output", Output(initial=initial)))

    def suggests(self):
        if self.rule == "gradient":
            return {}
        return {"loss": "perceptron", "optimizer": "sgd:learning_rate=1", "schedule": "constant", "monitor": "metric"}


@register("mlp")
class MLP(Architecture):
    """A multi-layer perceptron: hidden layers of these widths, an activation after each, then the output layer.

    widths: neurons of each hidden layer.   activation: after each of them.   dropout: the share of hidden outputs set
    to 0 while training; input_dropout: the same for the features.   norm: "batch" or "layer" normalisation before each
    activation.   initial: of the hidden weights; by default what suits the activation (He for ReLU and its kin, LeCun
    for SELU, Glorot for tanh, sigmoid and linear ones).

    >>> MLP.parse("mlp:128,64,dropout=0.2").widths
    (128, 64)
    """

    widths: tuple[int, ...] = (128, 64)
    activation: Layer = ReLU()
    dropout: float = 0.0
    input_dropout: float = 0.0
    norm: Literal["batch", "layer"] | None = None
    initial: Initializer | None = None

    def check(self):
        if any(width < 1 for width in self.widths):
            self.refuse("widths", "whole numbers >= 1")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                self.refuse(name, "a share >= 0 and < 1")

    @classmethod
    def parse(cls, text: str) -> "MLP":
        """Bare numbers are widths; the rest is `key=value`."""
        return cls.make(numbers_first(cls, text, "widths"))

    def _start(self, data: Arriving) -> list[tuple[str, Layer]]:
        """Numbers are standardised and laid in a row; of a text, the mean of its tokens' vectors is taken."""
        if data.kind == "tokens" and not data.each_step:
            from pellucid.network.pool import GlobalPool

            return [("embed", Embed(None, TEXT_WIDTH, padding=data.padded)), ("mean", GlobalPool())]
        if data.kind in ("tokens", "pairs"):
            raise self.refuse_data(data, "rows of numbers, images, or texts with one target each", "--network lstm")
        if data.each_step:
            raise self.refuse_data(data, "examples with one target each", "--network gru, lstm, rnn or transformer")
        return [("input", Input()), ("flatten", Flatten())]

    def build(self, data: Arriving) -> Sequential:
        initial = self.initial or Initializer.of(suited_initial(self.activation))
        parts = self._start(data)
        if self.input_dropout:
            parts.append(("input_dropout", Dropout(self.input_dropout)))
        for number, width in enumerate(self.widths, 1):
            parts.append((f"hidden{number}", Dense(width, initial=initial)))
            if self.norm:
                parts.append((f"norm{number}", BatchNorm() if self.norm == "batch" else LayerNorm()))
            parts.append((f"{self.activation.name}{number}", self.activation))
            if self.dropout:
                parts.append((f"dropout{number}", Dropout(self.dropout)))
        return Sequential(*parts, ("output", Output(initial=SMALL)))


def mlp(
    widths: tuple[int, ...] | list[int] | int = (128, 64),
    activation: Layer | str = "relu",
    *,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    norm: str | None = None,
    initial: Initializer | str | None = None,
    outputs: int | None = None,
) -> Network:
    """A multi-layer perceptron, not initialised yet. See `MLP` for the settings.

    outputs: the width of the output layer; by default the data decide it in `fit`.

    >>> mlp((8, 4), activation="tanh")
    Network(Blueprint(...), not initialised)
    """
    widths = (widths,) if isinstance(widths, int) else tuple(widths)
    settings = {"widths": widths, "activation": activation, "dropout": dropout, "input_dropout": input_dropout}
    return Network(Blueprint(MLP.make({**settings, "norm": norm, "initial": initial}), outputs))


def perceptron(rule: str = "gradient", *, outputs: int | None = None) -> Network:
    """A single-layer perceptron, not initialised yet. See `Perceptron`.

    >>> perceptron(outputs=2)
    Network(Blueprint(...), not initialised)
    """
    return Network(Blueprint(Perceptron.make({"rule": rule}), outputs))
