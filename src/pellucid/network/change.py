"""A network with one thing changed: another activation, other initial weights, an output that fits its targets.

The recipe's words `activation`, `initial` and `output` for a network that was put together by hand; an architecture
with a name has settings of its own for the first two, and always ends in a fitting output. A change that was made
already changes nothing, so that a recipe can say it of a network that was saved with it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from pellucid.errors import SettingError
from pellucid.network.activations import Activation, suited_initial
from pellucid.network.architecture import Blueprint
from pellucid.network.architectures import SMALL
from pellucid.network.composite import Named, Sequential, replace_layers, walk
from pellucid.network.dense import Dense, Dropout, Flatten, Output
from pellucid.network.initial import Initializer
from pellucid.network.layer import Layer

SUITED = "auto"  # initial weights: what suits the activation behind; an output: what suits the targets
LINEAR = ("dense", "output", "conv", "conv_transpose")
NORMS = ("batch_norm", "layer_norm", "rms_norm")
WEIGHTY = (*LINEAR, "rnn", "lstm", "gru", "attention")


def changed(
    top: Layer, targets: int, activation: str | None = None, initial: Any = None, output: str | None = None
) -> Layer:
    """`top` with what is not None changed. targets: the width that the data's targets ask for.

    An architecture in it has its fields replaced. A `SettingError` where the network has no place for the change.

    >>> hand = Sequential(Dense(8), Layer.of("tanh"), Dense(1), Layer.of("softmax"))
    >>> [name for name, _ in changed(hand, 3, activation="relu", output="auto").layers]
    ['dense1', 'relu1', 'output']
    """
    if isinstance(top, Blueprint):
        return _of_architecture(top, activation, initial)
    if output is not None:
        top = with_output(top, targets)
    if activation is not None:
        top = with_activation(top, Layer.of(activation))
    if initial is not None:
        top = with_initial(top, initial)
    return top


def changeable(top: Layer) -> bool:
    """Whether such changes can be made to a network that was put together by hand.

    >>> changeable(Sequential(Dense(1))), changeable(Dropout())
    (True, False)
    """
    return _last(top) is not None


def _of_architecture(top: Blueprint, activation: str | None, initial: Any) -> Layer:
    architecture = top.architecture
    fields = {f.name for f in dataclasses.fields(cast(Any, architecture))}
    given = {"activation": activation, "initial": initial}
    if initial == SUITED and "initial" not in fields:
        del given["initial"]  # it chooses them by itself
    extra = {k: v for k, v in given.items() if v is not None}
    for name in extra:
        if name not in fields:
            raise SettingError(f"the network {architecture.name!r} has no {name}", fix=f"leave {name} out")
    extra = {k: None if v == SUITED else v for k, v in extra.items()}
    return dataclasses.replace(top, architecture=dataclasses.replace(cast(Any, architecture), **extra))


def with_activation(top: Layer, activation: Layer) -> Layer:
    """Every activation before the last layer with weights is this one, and one stands behind each hidden layer that had
    none. What follows the last layer with weights is the output's, and stays.

    >>> from pellucid.network.activations import ReLU, Sigmoid
    >>> net = with_activation(Sequential(Dense(4), Dense(4), Sigmoid(), Dense(2), Sigmoid()), ReLU())
    >>> [part.name for _, part in net.layers]
    ['dense', 'relu', 'dense', 'relu', 'dense', 'sigmoid']
    """
    parts, last = _hidden(top, "activation")
    swap: Callable[[Layer], Layer] = lambda part: activation if isinstance(part, Activation) else part  # noqa: E731
    taken = {name for name, _ in parts}
    hidden = [(_renamed(name, part, activation, taken), replace_layers(part, swap)) for name, part in parts[:last]]
    made: list[tuple[str, Layer]] = []
    for place, (name, part) in enumerate(hidden):
        made.append((name, part))
        behind = hidden[place + 1 :]
        if part.name in LINEAR and behind and behind[0][1].name in NORMS:
            continue
        owner = made[-2][1] if part.name in NORMS and len(made) > 1 else part
        if owner.name in LINEAR and not _bends(behind):
            made.append((_free(f"{activation.name}_{name}", taken), activation))
    return Sequential(*made, *parts[last:])


def _renamed(name: str, part: Layer, activation: Layer, taken: set[str]) -> str:
    """`tanh1` is `relu1` from then on, where it was called by its kind and that name is free; `taken` then has it."""
    if not isinstance(part, Activation) or not name.startswith(part.name):
        return name
    new = activation.name + name.removeprefix(part.name)
    if new in taken:
        return name
    taken.add(new)
    return new


def _bends(behind: list[tuple[str, Layer]]) -> bool:
    """Whether an activation comes before the next layer with weights."""
    for _, part in behind:
        if part.name in WEIGHTY:
            return False
        if not isinstance(part, Flatten | Dropout) and part.name not in NORMS:
            return True  # an activation; of what else it is, it is not known that it does not bend
    return False


def with_initial(top: Layer, initial: Any) -> Layer:
    """The weights of hidden dense and convolutional layers begin as `initial` says. "auto": those of every layer as the
    builders choose them, biases and recurrent weights included: He's for ReLU and its kin, Glorot's for tanh, a small
    output. He et al. 2015, Glorot & Bengio 2010.

    >>> from pellucid.network.activations import ReLU
    >>> net = with_initial(Sequential(Dense(4, initial="ones", bias_initial="ones"), ReLU(), Output(2)), "auto")
    >>> net.layers[0][1] == Dense(4, initial="he_normal")
    True
    """
    parts, last = _hidden(top, "initial")
    if initial == SUITED:
        suited = replace_layers(top, lambda part: _usual(_suited(part) if isinstance(part, Sequential) else part))
        parts, last = _hidden(suited, "initial")
        name, end = parts[last]
        return Sequential(*parts[:last], (name, _begins(end, SMALL)), *parts[last + 1 :])
    given = Initializer.of(initial)
    begin: Callable[[Layer], Layer] = lambda part: _begins(part, given)  # noqa: E731
    return Sequential(*((name, replace_layers(part, begin)) for name, part in parts[:last]), *parts[last:])


def _usual(part: Layer) -> Layer:
    """A layer that is none of those whose weights depend on what follows, with the initial weights of its kind."""
    if part.name in LINEAR:
        return part
    fields = {f.name: f.default for f in dataclasses.fields(cast(Any, part)) if isinstance(f.default, Initializer)}
    return dataclasses.replace(cast(Any, part), **fields) if fields else part


def _suited(chain: Sequential) -> Sequential:
    """Each dense or convolutional layer of a chain with weights that suit the activation behind it, biases at zero."""
    made = []
    for place, (name, part) in enumerate(chain.layers):
        if part.name in LINEAR:
            behind = (p for _, p in chain.layers[place + 1 :] if isinstance(p, Activation) or p.name in WEIGHTY)
            part = _begins(part, Initializer.of(suited_initial(next(behind, part))))
            bias = {f.name: f.default for f in dataclasses.fields(cast(Any, part)) if f.name == "bias_initial"}
            part = dataclasses.replace(cast(Any, part), **bias)
        made.append((name, part))
    return Sequential(*made)


def _begins(part: Layer, initial: Initializer) -> Layer:
    return dataclasses.replace(cast(Any, part), initial=initial) if part.name in LINEAR else part


def with_output(top: Layer, targets: int) -> Layer:
    """The network ends in `Output()`, whose width the targets decide and whose link the loss owns: what bends or
    squashes behind the last layer with weights is gone, and a last dense layer of another width. A wider one with an
    activation behind it is taken for a hidden layer, and stays.

    targets: how many outputs the targets ask for.

    >>> from pellucid.network.activations import ReLU, Softmax
    >>> [name for name, _ in with_output(Sequential(Dense(8), ReLU(), Dense(1), Softmax()), 2).layers]
    ['dense1', 'relu1', 'output']
    >>> [name for name, _ in with_output(Sequential(Dense(8), ReLU()), 2).layers]
    ['dense1', 'relu1', 'output']
    """
    parts, last = _hidden(top, "output")
    name, end = parts[last]
    tail = parts[last + 1 :]
    hidden = isinstance(end, Dense) and end.width > targets and any(_rectifies(part) for _, part in tail)
    if hidden or not isinstance(end, Dense | Output):
        kept = parts if hidden else (*parts[: last + 1], *((n, p) for n, p in tail if not isinstance(p, Activation)))
        return Sequential(*kept, (_free("output", {n for n, _ in kept}), Output()))
    same = isinstance(end, Output) and end.width in (None, targets)
    new = (name, end) if same else (_free("output", {n for n, _ in parts[:last]}), Output())
    rest = ((n, p) for n, p in tail if not isinstance(p, Activation | Dropout))
    return Sequential(*parts[:last], new, *rest)


def _rectifies(part: Layer) -> bool:
    """An activation that stands behind hidden layers, and makes no probabilities."""
    return isinstance(part, Activation) and part.name not in ("softmax", "sigmoid", "identity")


def _hidden(top: Layer, word: str) -> tuple[Named, int]:
    """(the parts of a chain, the place of the last one with weights)."""
    last = _last(top)
    if last is None:
        raise SettingError(
            f"this network has no {word} that could be set", where=f"network.{word}",
            expected="layers one after the other (a Sequential), or an architecture by name", got=top.name,
            fix=f"leave {word} out, and set it where the network is written",
        )  # fmt: skip
    return cast(Sequential, top).layers, last


def _last(top: Layer) -> int | None:
    """The place of the last part of a chain that has weights."""
    parts = top.layers if isinstance(top, Sequential) else ()
    places = [i for i, (_, part) in enumerate(parts) if any(p.name in WEIGHTY for _, p in walk(part))]
    return places[-1] if places else None


def _free(name: str, taken: set[str]) -> str:
    return next(n for n in (name, *(f"{name}{i}" for i in range(2, len(taken) + 3))) if n not in taken)
