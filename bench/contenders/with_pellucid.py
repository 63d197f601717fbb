"""Pellucid as a user runs it: the loop under `fit`, per-layer signals on, images as bytes; `net(x)` for inference."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pellucid as pc
from bench.contenders import Call, Training, logistic_loss
from bench.data import Data
from bench.models import CNN, GPT, MLP, Model, Recurrent, ResNet, Weights
from bench.rows import Row
from pellucid.data import Dataset, Features, Part, Targets
from pellucid.machine import set_up
from pellucid.network.adapt import adapt, standardise
from pellucid.network.architecture import Arriving
from pellucid.network.layer import Layer, flatten, nest
from pellucid.train.loop import ChunkEnded, Loop, Settings


def structure(model: Model, arriving: tuple[int, ...]) -> Layer:
    """The network of a row, its layers named as `models.py` names them; `arriving`: the shape of an example."""
    if isinstance(model, MLP):
        parts: list[Any] = [("flatten", pc.Flatten())] if len(arriving) > 1 else []
        for i, width in enumerate(model.widths[1:], 1):
            parts += [(f"relu{i - 1}", pc.ReLU())] if i > 1 else []
            parts.append((f"dense{i}", pc.Dense(width)))
        return pc.Sequential(*parts)
    if isinstance(model, CNN):
        return pc.Sequential(
            ("conv1", pc.Conv(32)), ("relu1", pc.ReLU()), ("pool1", pc.MaxPool(2)),
            ("conv2", pc.Conv(64)), ("relu2", pc.ReLU()), ("pool2", pc.MaxPool(2)), ("flatten", pc.Flatten()),
            ("dense1", pc.Dense(128)), ("relu3", pc.ReLU()), ("dense2", pc.Dense(10)),
        )  # fmt: skip
    if isinstance(model, ResNet):
        return resnet(model, arriving)
    if isinstance(model, Recurrent):
        kind = {"rnn": pc.RNN, "lstm": pc.LSTM, "gru": pc.GRU}[model.kind]
        return pc.Sequential(("cell", kind(model.width, each_step=False)), ("out", pc.Dense(10)))
    return gpt(model)


def resnet(model: ResNet, arriving: tuple[int, ...]) -> Layer:
    from pellucid.network.convolutional import ResNet as Architecture
    from pellucid.network.dense import resolve_output

    built = resolve_output(Architecture(18, width=model.widths[0] / 64).build(Arriving(arriving, "uint8")), 10)
    assert isinstance(built, pc.Sequential)
    return pc.Sequential(*(pair for pair in built.layers if pair[0] != "input"))  # type: ignore[arg-type]


def gpt(model: GPT) -> Layer:
    from dataclasses import replace

    from pellucid.network.transformer import TransformerArchitecture

    spec = f"transformer:layers={model.layers},heads={model.heads},width={model.width},positions=learned"
    text = Arriving((model.context,), "int32", vocabulary=model.vocabulary, each_step=True)
    return replace(TransformerArchitecture.parse(spec).build(text), vocabulary=model.vocabulary)  # type: ignore[type-var]


def network(model: Model, weights: Weights, x: np.ndarray) -> pc.Network:
    """The network with these weights. Images as bytes pass an `Input`, which standardises them, as in `fit`."""
    layer = structure(model, x.shape[1:])
    features = None
    if x.dtype == np.uint8:
        features, _ = Features.fit(x)
        targets = Targets.fit(Dataset(x[:10], np.arange(10)))
        layer = adapt(pc.Sequential(("input", pc.Input()), ("network", layer)), features, targets)
    net = pc.Network(layer, features=features).initialised(jax.random.key(0), x[:1])
    prefix = "network/" if features is not None else ""
    own = flatten(net.params or {})
    given = {prefix + path: jnp.asarray(value) for path, value in weights.items()}
    shapes = {path: a.shape for path, a in own.items()}
    if shapes != {path: a.shape for path, a in given.items()}:
        raise AssertionError(f"the benchmark's weights are not those of the network: {shapes}")
    state = net.state or {} if features is None else standardise(net.layer, net.state or {}, features)
    return net.replace(params=nest(given), state=state)


def kernels() -> str:
    """Which native kernels are in use."""
    from pellucid.native import native

    found = native()
    return f"native kernels for {found.isa}" if found.isa else f"plain JAX: {found.why}"


class PellucidTraining(Training):
    def __init__(self, row: Row, data: Data, weights: Weights):
        assert row.model is not None
        settings = Settings(
            loss=pc.Loss.of("cross_entropy"), metric=None, batch_size=row.batch, updates=10**9,
            optimizer=pc.Optimizer.of({"type": row.optimizer, "learning_rate": row.rate}),
            schedule=pc.Schedule.of("constant"),
        )  # fmt: skip
        self.first = data.x[: row.checked], data.y[: row.checked]
        self.loop = Loop(
            network(row.model, weights, data.x), Part(data.x, data.y, None, np.arange(len(data.y))), None, settings
        )
        self.events, self.steps = self.loop.run(), row.steps
        self.facts = {"kernels": kernels()}

    def epoch(self, number: int) -> None:
        until = self.loop.epoch_start + self.steps
        while self.loop.step < until:
            assert isinstance(next(self.events), ChunkEnded)

    def between(self) -> None:
        next(self.events)  # the evaluation of an epoch

    def loss(self) -> float:
        net = self.loop.now()
        outputs, _ = jax.jit(lambda p, s, x: net.apply(p, s, x, train=True, key=jax.random.key(0)))(
            net.params, net.state, self.first[0]
        )
        self.between()
        return logistic_loss(np.asarray(outputs), self.first[1])


def train(row: Row, data: Data, weights: Weights) -> Training:
    set_up()
    return PellucidTraining(row, data, weights)


def infer(row: Row, data: Data, weights: Weights) -> Call:
    assert row.model is not None
    set_up()
    net = network(row.model, weights, data.x)
    return lambda x: np.asarray(net(x))
