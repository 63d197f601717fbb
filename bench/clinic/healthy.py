"""Healthy controls: networks that learn what there is to learn. Any alarm on one of them is a false alarm.

Sets x networks x ways of training; the seed draws split and initial weights anew. Each run is proved healthy without
the doctor (`execute.is_healthy`): it reaches a floor, and its weights are not past their best.
"""

from collections.abc import Iterator
from typing import Any

from bases import CNN, mlp
from case import Case, Setup

# What other models reach on the same splits: the better of a linear model and boosted trees, the mean of validation and
# test over seeds 0 to 4 (`pellucid.data.baselines`). A healthy run may stay this much below:
BELOW = 0.03
REFERENCES = {
    "iris": 0.957, "wine": 0.978, "breast-cancer": 0.976, "digits": 0.965, "moons": 0.977, "circles": 0.997,
    "xor": 0.995, "blobs": 0.957, "spirals": 0.981, "diabetes": 0.491, "sine": 0.953, "friedman": 0.907,
}  # fmt: skip
# For images, sequences and texts, which those models do not read, a round number near what a good network reaches.
FLOORS = {name: round(score - BELOW, 3) for name, score in REFERENCES.items()} | {
    "mnist": 0.86, "digits-image": 0.94, "digits-rows": 0.92, "adding": 0.95, "reviews": 0.97, "grammar": -0.42,
}  # fmt: skip
Words = dict[str, Any]


def rate(kind: str, learning_rate: float, **more: Any) -> Words:
    return {"optimizer": {"type": kind, "learning_rate": learning_rate, **more}}


def plain(steps: int, optimizer: Words, **more: Any) -> Words:
    """Constant rate, the last epoch kept, a batch of 32."""
    return {"plain": True, "steps": steps, "batch_size": 32, **optimizer, **more}


def control(set_: str, label: str, network: Words, **settings: Any) -> Case:
    setup = Setup({"set": set_}, {"network": network, **settings})
    return Case(f"healthy/{set_}-{label}", "healthy", network["type"], setup, floor=FLOORS[set_])


# updates that are enough for each table, and few enough that a small network does not pass its best
STEPS = {
    "iris": 150, "wine": 100, "breast-cancer": 90, "digits": 500, "moons": 800, "circles": 600, "xor": 600,
    "blobs": 250, "spirals": 2500, "diabetes": 120, "sine": 1500, "friedman": 600,
}  # fmt: skip
HARD = ("spirals", "sine")  # need wider layers, and more from plain gradient descent


def tables() -> Iterator[Case]:
    for name, steps in STEPS.items():
        wide = (64, 32) if name in HARD else (32, 16)
        yield control(name, "default", mlp(*wide))
        yield control(name, "default-128,64", mlp(128, 64))
        yield control(name, "default-tanh", mlp(*wide, activation="tanh"))
        yield control(name, "default-batchnorm", mlp(*wide, norm="batch"))
        yield control(name, "default-adam", mlp(*wide), optimizer="adam")
        yield control(name, "default-silu", mlp(*wide, activation="silu"))
        yield control(name, "default-layernorm", mlp(*wide, norm="layer"))
        if name not in HARD:
            yield control(name, "default-dropout", mlp(64, 32, dropout=0.1))
            yield control(name, "default-momentum", mlp(*wide), **rate("momentum", 0.01))
        yield control(name, "plain-adam", mlp(*wide), **plain(steps, rate("adam", 0.005)))
        yield control(name, "plain-gelu", mlp(*wide, activation="gelu"), **plain(steps, rate("adam", 0.005)))
        if name not in HARD:
            tanh = mlp(*wide, activation="tanh")
            yield control(name, "plain-adamw-tanh", tanh, **plain(steps, rate("adamw", 0.005)))
            yield control(name, "plain-momentum", mlp(*wide), **plain(steps, rate("momentum", 0.02)))
            yield control(name, "plain-sgd", mlp(*wide), **plain(2 * steps, rate("sgd", 0.1)))
            yield control(name, "plain-rmsprop", mlp(*wide), **plain(steps, rate("rmsprop", 0.003)))


def linear() -> Iterator[Case]:
    """Where a straight line is the right answer, a network without hidden layers is healthy."""
    for name in ("iris", "wine", "breast-cancer", "blobs", "diabetes"):
        yield control(name, "perceptron", {"type": "perceptron"})
        yield control(name, "perceptron-plain", {"type": "perceptron"}, **plain(600, rate("adam", 0.02)))


def images() -> Iterator[Case]:
    cnn = {"type": "cnn", "widths": [8, 16], "dense": 32}
    yield control("digits-image", "default", cnn, epochs=20)
    yield control("digits-image", "plain-adam", CNN, **plain(400, rate("adam", 0.005)))
    yield control("digits-image", "plain-adamw", CNN, **plain(400, rate("adamw", 0.005)))
    yield control("digits-image", "plain-momentum", CNN, **plain(600, rate("momentum", 0.03)))
    yield control("digits-image", "plain-sgd", CNN, **plain(800, rate("sgd", 0.2)))
    yield control("digits-image", "plain-tanh", {**CNN, "activation": "tanh"}, **plain(400, rate("adam", 0.005)))
    yield control("mnist", "default", mlp(64))
    yield control("mnist", "default-100,50", mlp(100, 50), epochs=15)
    yield control("mnist", "plain-adam", mlp(64), **plain(200, rate("adam", 0.002)))
    yield control("mnist", "plain-momentum", mlp(64), **plain(250, rate("momentum", 0.01)))
    yield control("mnist", "plain-sgd", mlp(64), **plain(300, rate("sgd", 0.1)))
    yield control("mnist", "plain-tanh", mlp(64, activation="tanh"), **plain(200, rate("adam", 0.002)))


def sequences() -> Iterator[Case]:
    for kind in ("rnn", "gru", "lstm"):
        network = {"type": kind, "widths": [32]}
        yield control("digits-rows", f"default-{kind}", network, epochs=20)
        yield control("digits-rows", f"plain-{kind}", network, **plain(500, rate("adam", 0.005, clip_norm=1.0)))
    wide = {"type": "gru", "widths": [24]}
    yield control("digits-rows", "plain-rmsprop", wide, **plain(500, rate("rmsprop", 0.005)))
    yield control("digits-rows", "plain-momentum", wide, **plain(900, rate("momentum", 0.1)))
    attention = {"type": "transformer", "layers": 1, "heads": 2, "width": 32}
    yield control("digits-rows", "default-attention", attention, epochs=30)
    yield control("digits-rows", "plain-attention", attention, **plain(1000, rate("adam", 0.003)))
    for kind in ("gru", "lstm"):
        network = {"type": kind, "widths": [16]}
        yield control("adding", f"default-{kind}", network, epochs=60)
        yield control("adding", f"plain-{kind}", network, **plain(1200, rate("adam", 0.01)))


def texts() -> Iterator[Case]:
    words = {"tokens": "words"}
    networks: dict[str, Words] = {
        "gru": {"type": "gru", "widths": [16], "embed": 16}, "lstm": {"type": "lstm", "widths": [16], "embed": 16},
        "attention": {"type": "transformer", "layers": 1, "heads": 2, "width": 16},
    }  # fmt: skip
    for label, network in networks.items():
        slow = 600 if label == "attention" else 400
        yield control("reviews", f"default-{label}", network, epochs=30, **words)
        yield control("reviews", f"plain-adam-{label}", network, **plain(slow, rate("adam", 0.01), **words))
        yield control("reviews", f"plain-adamw-{label}", network, **plain(slow, rate("adamw", 0.01), **words))
    writers: dict[str, Words] = {
        "gru": {"type": "gru", "widths": [32], "embed": 16}, "lstm": {"type": "lstm", "widths": [32], "embed": 16},
        "attention": {"type": "transformer", "layers": 1, "heads": 2, "width": 32},
    }  # fmt: skip
    for label, network in writers.items():
        yield control("grammar", f"default-{label}", network, steps=800, context=24)
        yield control("grammar", f"plain-adam-{label}", network, **plain(600, rate("adam", 0.01), context=24))


def cases() -> list[Case]:
    return [*tables(), *linear(), *images(), *sequences(), *texts()]
