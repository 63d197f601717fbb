"""Architectures that read step by step: rnn, lstm, gru. On the command line `lstm:256`, `gru:128,128,dropout=0.2`.

What arrives decides the rest: a text with a next token to foretell at every step gets an output at every step; texts
and sequences with one target each are summed up in the last state; an image is read row by row.
"""

from typing import Any

from pellucid.errors import NetworkError
from pellucid.network.activations import Activation, Tanh
from pellucid.network.architecture import Architecture, Arriving, Blueprint, numbers_first
from pellucid.network.architectures import SMALL
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dropout, Embed, Input, Output
from pellucid.network.initial import LeCunNormal
from pellucid.network.layer import Layer
from pellucid.network.network import Network
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent, Steps
from pellucid.spec import register


class RecurrentArchitecture(Architecture):
    """Recurrent layers of these widths, one upon the other, then the output layer.

    bidirectional: each reads forwards and backwards (not for language models, which must not see what they foretell).
    dropout: the share of each layer's outputs set to 0 while training.   embed: the width of a token's vector.
    """

    widths: tuple[int, ...]
    dropout: float
    bidirectional: bool
    embed: int

    def check(self):
        if not self.widths or any(width < 1 for width in self.widths):
            self.refuse("widths", "whole numbers >= 1")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "a share >= 0 and < 1")
        if self.embed < 1:
            self.refuse("embed", "a whole number >= 1")

    @classmethod
    def parse(cls, text: str) -> "RecurrentArchitecture":
        """Bare numbers are widths; the rest is `key=value`."""
        return cls.make(numbers_first(cls, text, "widths"))

    def part(self, width: int, each_step: bool) -> Recurrent:
        """One layer."""
        raise NotImplementedError  # abstract

    def build(self, data: Arriving) -> Sequential:
        if self.bidirectional and data.each_step and data.kind == "tokens":
            raise NetworkError(
                "a language model cannot read backwards: it would see what it is to foretell",
                where=f"--network {self.name}", fix="leave bidirectional out",
            )  # fmt: skip
        parts = self._start(data)
        for number, width in enumerate(self.widths, 1):
            each_step = data.each_step or number < len(self.widths)
            part = self.part(width, each_step)
            parts.append((f"{self.name}{number}", Bidirectional(part) if self.bidirectional else part))
            if self.dropout:
                parts.append((f"dropout{number}", Dropout(self.dropout)))
        # at every step of a text the first guess should be no more than the letters' frequencies
        return Sequential(*parts, ("output", Output(initial=SMALL)))

    def _start(self, data: Arriving) -> list[tuple[str, Layer]]:
        if data.kind == "tokens":
            return [("embed", Embed(None, self.embed, LeCunNormal(), padding=data.padded))]
        if data.kind in ("image", "array"):
            return [("input", Input()), ("steps", Steps())]
        if data.kind == "sequence":
            return [("input", Input())]
        raise self.refuse_data(
            data, "texts, sequences [steps, features], or images",
            "use --network mlp for rows, --network seq2seq for pairs" if data.kind == "row" else "--network seq2seq",
        )  # fmt: skip

    def suggests(self) -> dict[str, Any]:
        return {"optimizer": "adamw:learning_rate=0.005,clip_norm=1"}  # Pascanu et al. 2013


@register("rnn")
class RNNArchitecture(RecurrentArchitecture):
    """Simple recurrent layers (Elman 1990). See `RNN` for what a step does.

    >>> [name for name, _ in RNNArchitecture.parse("rnn:8").build(Arriving((20, 3))).layers]
    ['input', 'rnn1', 'output']
    """

    widths: tuple[int, ...] = (128,)
    dropout: float = 0.0
    bidirectional: bool = False
    embed: int = 64
    activation: Activation = Tanh()

    def part(self, width, each_step):
        return RNN(width, each_step, activation=self.activation)


@register("lstm")
class LSTMArchitecture(RecurrentArchitecture):
    """Long short-term memory (Hochreiter & Schmidhuber 1997). See `LSTM` for what a step does.

    forget_bias: of the forget gates at the beginning; the logarithm of the steps that are to be bridged.

    >>> text = Arriving((64,), "int32", vocabulary=65, each_step=True)
    >>> [name for name, _ in LSTMArchitecture.parse("lstm:256,256").build(text).layers]
    ['embed', 'lstm1', 'lstm2', 'output']
    """

    widths: tuple[int, ...] = (128,)
    dropout: float = 0.0
    bidirectional: bool = False
    embed: int = 64
    forget_bias: float = 1.0

    def part(self, width, each_step):
        return LSTM(width, each_step, forget_bias=self.forget_bias)


@register("gru")
class GRUArchitecture(RecurrentArchitecture):
    """Gated recurrent units (Cho et al. 2014). See `GRU` for what a step does.

    >>> review = Arriving((200,), "int32", vocabulary=4000, padded=True)
    >>> [name for name, _ in GRUArchitecture(bidirectional=True).build(review).layers]
    ['embed', 'gru1', 'output']
    """

    widths: tuple[int, ...] = (128,)
    dropout: float = 0.0
    bidirectional: bool = False
    embed: int = 64

    def part(self, width, each_step):
        return GRU(width, each_step)


def _recurrent(cls: type[RecurrentArchitecture], widths: Any, outputs: int | None, settings: dict[str, Any]) -> Network:
    widths = (widths,) if isinstance(widths, int) else tuple(widths)
    return Network(Blueprint(cls.make({"widths": widths, **settings}), outputs))


def rnn(widths: tuple[int, ...] | int = 128, *, outputs: int | None = None, **settings: Any) -> Network:
    """A simple recurrent network, not initialised yet. See `RNNArchitecture` for the settings.

    >>> rnn(32, activation="relu")
    Network(Blueprint(...), not initialised)
    """
    return _recurrent(RNNArchitecture, widths, outputs, settings)


def lstm(widths: tuple[int, ...] | int = 128, *, outputs: int | None = None, **settings: Any) -> Network:
    """A long short-term memory network, not initialised yet. See `LSTMArchitecture` for the settings.

    >>> lstm((64, 64), dropout=0.2)
    Network(Blueprint(...), not initialised)
    """
    return _recurrent(LSTMArchitecture, widths, outputs, settings)


def gru(widths: tuple[int, ...] | int = 128, *, outputs: int | None = None, **settings: Any) -> Network:
    """A gated recurrent network, not initialised yet. See `GRUArchitecture` for the settings.

    >>> gru(64, bidirectional=True)
    Network(Blueprint(...), not initialised)
    """
    return _recurrent(GRUArchitecture, widths, outputs, settings)
