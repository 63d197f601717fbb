"""Keras 3 on JAX: `model.fit`, compiled as it is by default; `predict_on_batch` for inference."""

import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import keras as k
import numpy as np

from bench.contenders import Call, Training, logistic_loss
from bench.data import Data, order
from bench.models import CNN, GATES, GPT, MLP, Model, Recurrent, ResNet, Weights
from bench.rows import Row

layers, ops = k.layers, k.ops


def build(model: Model) -> k.Model:
    if isinstance(model, MLP):
        parts = [layers.Dense(m, "relu", name=f"dense{i}") for i, m in enumerate(model.widths[1:-1], 1)]
        last = layers.Dense(model.widths[-1], name=f"dense{len(model.widths) - 1}")
        return k.Sequential([k.Input((model.widths[0],)), *parts, last])
    if isinstance(model, CNN):
        conv = lambda i, m: layers.Conv2D(m, 3, padding="same", activation="relu", name=f"conv{i}")  # noqa: E731
        return k.Sequential(
            [
                k.Input((model.side, model.side, model.channels)), conv(1, 32), layers.MaxPool2D(2), conv(2, 64),
                layers.MaxPool2D(2), layers.Flatten(), layers.Dense(128, "relu", name="dense1"),
                layers.Dense(10, name="dense2"),
            ]
        )  # fmt: skip
    if isinstance(model, ResNet):
        return resnet(model)
    if isinstance(model, Recurrent):
        cell = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[model.kind]
        parts = [cell(model.width, name="cell"), layers.Dense(10, name="out")]
        return k.Sequential([k.Input((model.steps, model.features)), *parts])
    return gpt(model)


def resnet(model: ResNet) -> k.Model:
    def convolved(x, path: str, number: str, m: int, size: int, stride: int):
        at = path.replace("/", "-")
        x = layers.Conv2D(m, size, stride, "same", use_bias=False, name=f"{at}conv{number}")(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{at}norm{number}")(x)

    image = k.Input((32, 32, 3))
    x = ops.relu(convolved(image, "", "", model.widths[0], 3, 1))
    for path, n, m, stride, _ in model.blocks:
        y = ops.relu(convolved(x, f"{path}/body/", "1", m, 3, stride))
        y = convolved(y, f"{path}/body/", "2", m, 3, 1)
        x = convolved(x, f"{path}/shortcut/", "", m, 1, stride) if stride > 1 or n != m else x
        x = ops.relu(x + y)
    return k.Model(image, layers.Dense(10, name="output")(layers.GlobalAveragePooling2D()(x)))


class TiedLogits(layers.Layer):
    """h·wᵀ, with the vectors of an embedding."""

    def __init__(self, table: layers.Embedding):
        super().__init__()
        self.table = table

    def call(self, h):
        return ops.matmul(h, ops.transpose(self.table.embeddings))


class Places(layers.Layer):
    """x + a learned vector for each place."""

    def build(self, shape):
        self.w = self.add_weight(shape=shape[1:], name="w")

    def call(self, x):
        return x + self.w


def gpt(model: GPT) -> k.Model:
    n = model.width
    ids = k.Input((model.context,), dtype="int32")
    table = layers.Embedding(model.vocabulary, n, name="table")
    norm = lambda name: layers.LayerNormalization(epsilon=1e-5, center=False, name=name)  # noqa: E731
    x = Places(name="places")(table(ids))
    for i in range(1, model.layers + 1):
        h = norm(f"norm1-{i}")(x)
        mix = layers.MultiHeadAttention(model.heads, n // model.heads, use_bias=False, name=f"attention{i}")
        x = x + mix(h, h, use_causal_mask=True)
        h = ops.gelu(layers.Dense(4 * n, use_bias=False, name=f"hidden{i}")(norm(f"norm2-{i}")(x)), approximate=True)
        x = x + layers.Dense(n, use_bias=False, name=f"back{i}")(h)
    return k.Model(ids, TiedLogits(table)(norm("norm")(x)))


def fill(net: k.Model, model: Model, w: Weights) -> None:
    """Put the benchmark's weights in."""
    if isinstance(model, GPT):
        _fill_gpt(net, model, w)
        return
    for part in net.layers:
        path = part.name.replace("-", "/")
        if isinstance(part, layers.BatchNormalization):
            part.gamma.assign(w[f"{path}/scale"])
            part.beta.assign(w[f"{path}/bias"])
        elif part.name == "cell":
            _fill_cell(part.cell, model, w)
        elif part.weights:
            part.kernel.assign(w[f"{path}/w"])
            if part.bias is not None:
                part.bias.assign(w[f"{path}/b"])


def _fill_cell(cell, model: Model, w: Weights) -> None:
    assert isinstance(model, Recurrent)

    def turned(a: np.ndarray) -> np.ndarray:
        """Keras' GRU has its update gate first."""
        gates = np.split(a, GATES[model.kind], axis=-1)
        return np.concatenate([gates[1], gates[0], gates[2]] if model.kind == "gru" else gates, axis=-1)

    cell.kernel.assign(turned(w["cell/w"]))
    cell.recurrent_kernel.assign(turned(w["cell/u"]))
    bias = turned(w["cell/b"])
    if model.kind == "gru":
        bias = np.stack([bias, np.concatenate([np.zeros(2 * model.width, np.float32), w["cell/v"]])])
    cell.bias.assign(bias)


def _fill_gpt(net: k.Model, model: GPT, w: Weights) -> None:
    part = net.get_layer
    part("table").embeddings.assign(w["w"])
    part("places").w.assign(w["body/positions/w"])
    part("norm").gamma.assign(w["body/norm/scale"])
    split = (model.width, model.heads, model.width // model.heads)
    for i in range(1, model.layers + 1):
        path, mix = f"body/block{i}", part(f"attention{i}")
        for dense, a in zip(
            (mix.query_dense, mix.key_dense, mix.value_dense),
            np.split(w[f"{path}/attention/w"], 3, axis=1),
            strict=True,
        ):
            dense.kernel.assign(a.reshape(split))
        mix.output_dense.kernel.assign(w[f"{path}/attention/out"].reshape(*split[1:], model.width))
        for number in "12":
            part(f"norm{number}-{i}").gamma.assign(w[f"{path}/norm{number}/scale"])
        part(f"hidden{i}").kernel.assign(w[f"{path}/feed_forward/hidden/w"])
        part(f"back{i}").kernel.assign(w[f"{path}/feed_forward/back/w"])


def network(model: Model | None, weights: Weights) -> k.Model:
    assert model is not None
    net = build(model)
    fill(net, model, weights)
    return net


class Clock(k.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


class KerasTraining(Training):
    def __init__(self, row: Row, data: Data, weights: Weights):
        k.utils.set_random_seed(0)
        self.row, self.net = row, network(row.model, weights)
        self.x = data.scaled.reshape(len(data.x), -1) if isinstance(row.model, MLP) else data.scaled
        self.y = data.y
        adam = k.optimizers.Adam(row.rate, epsilon=1e-8)
        self.net.compile(
            optimizer=adam if row.optimizer == "adam" else k.optimizers.SGD(row.rate),
            loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def epoch(self, number: int) -> None:
        picks = order(self.row, number)
        self.net.fit(self.x[picks], self.y[picks], batch_size=self.row.batch, shuffle=False, verbose=0)

    def timed(self, first: int, epochs: int) -> list[float]:
        clock = Clock()
        self.net.fit(
            self.x, self.y, batch_size=self.row.batch, epochs=epochs, shuffle=self.row.steps > 1, verbose=0,
            callbacks=[clock],
        )  # fmt: skip
        return clock.seconds

    def loss(self) -> float:
        n = self.row.checked
        return logistic_loss(np.asarray(self.net(self.x[:n], training=True)), self.y[:n])


def train(row: Row, data: Data, weights: Weights) -> Training:
    return KerasTraining(row, data, weights)


def infer(row: Row, data: Data, weights: Weights) -> Call:
    net = network(row.model, weights)
    return lambda x: np.asarray(net.predict_on_batch(x))
