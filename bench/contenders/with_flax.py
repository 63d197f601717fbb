"""Flax NNX: a step under `nnx.jit` with its arguments cached (`nnx.cached_partial`), optax's optimizers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from bench.contenders import Call, Training, logistic_loss
from bench.data import Data, order
from bench.models import CNN, GPT, MLP, Model, Recurrent, ResNet, Weights
from bench.rows import Row


class Dense(nnx.Module):
    def __init__(self, model: MLP, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [nnx.Linear(n, m, rngs=rngs) for n, m in zip(model.widths, model.widths[1:], strict=False)]
        )

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


class Convolutions(nnx.Module):
    def __init__(self, model: CNN, rngs: nnx.Rngs):
        self.conv1, self.conv2 = nnx.Conv(model.channels, 32, (3, 3), rngs=rngs), nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense1, self.dense2 = nnx.Linear(model.flat, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        for conv in (self.conv1, self.conv2):
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
        return self.dense2(nnx.relu(self.dense1(x.reshape(len(x), -1))))


class Convolved(nnx.Module):
    """A convolution and its normalisation."""

    def __init__(self, n: int, m: int, size: int, stride: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(n, m, (size, size), stride, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(m, momentum=0.9, epsilon=1e-5, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.conv(x))


class Block(nnx.Module):
    def __init__(self, n: int, m: int, stride: int, rngs: nnx.Rngs):
        self.first, self.second = Convolved(n, m, 3, stride, rngs), Convolved(m, m, 3, 1, rngs)
        self.shortcut = nnx.data(Convolved(n, m, 1, stride, rngs) if stride > 1 or n != m else None)

    def __call__(self, x):
        return nnx.relu(self.second(nnx.relu(self.first(x))) + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nnx.Module):
    def __init__(self, model: ResNet, rngs: nnx.Rngs):
        self.first = Convolved(3, model.widths[0], 3, 1, rngs)
        self.blocks = nnx.List([Block(n, m, stride, rngs) for _, n, m, stride, _ in model.blocks])
        self.output = nnx.Linear(model.widths[-1], 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((1, 2)))


class RecurrentNet(nnx.Module):
    def __init__(self, model: Recurrent, rngs: nnx.Rngs):
        cell = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[model.kind]
        self.rnn = nnx.RNN(cell(model.features, model.width, rngs=rngs))
        self.out = nnx.Linear(model.width, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(self.rnn(x)[:, -1])


class GPTBlock(nnx.Module):
    def __init__(self, model: GPT, rngs: nnx.Rngs):
        n = model.width
        norm = {"epsilon": 1e-5, "use_bias": False, "rngs": rngs}
        self.norm1, self.norm2 = nnx.LayerNorm(n, **norm), nnx.LayerNorm(n, **norm)
        self.attention = nnx.MultiHeadAttention(model.heads, n, use_bias=False, decode=False, rngs=rngs)
        self.hidden = nnx.Linear(n, 4 * n, use_bias=False, rngs=rngs)
        self.back = nnx.Linear(4 * n, n, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.back(nnx.gelu(self.hidden(self.norm2(x))))


class GPTNet(nnx.Module):
    def __init__(self, model: GPT, rngs: nnx.Rngs):
        self.table = nnx.Embed(model.vocabulary, model.width, rngs=rngs)
        self.places = nnx.Embed(model.context, model.width, rngs=rngs)
        self.blocks = nnx.List([GPTBlock(model, rngs) for _ in range(model.layers)])
        self.norm = nnx.LayerNorm(model.width, epsilon=1e-5, use_bias=False, rngs=rngs)

    def __call__(self, ids):
        x = self.table(ids) + self.places(jnp.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.table.attend(self.norm(x))


def network(model: Model | None, w: Weights) -> Any:
    """The network with the benchmark's weights."""
    rngs = nnx.Rngs(0)
    if isinstance(model, MLP):
        net = Dense(model, rngs)
        for i, layer in enumerate(net.layers, 1):
            _dense(layer, w, f"dense{i}")
        return net
    if isinstance(model, CNN):
        net = Convolutions(model, rngs)
        for name in ("conv1", "conv2", "dense1", "dense2"):
            _dense(getattr(net, name), w, name)
        return net
    if isinstance(model, ResNet):
        return _resnet(ResNet18(model, rngs), model, w)
    if isinstance(model, Recurrent):
        return _recurrent(RecurrentNet(model, rngs), model, w)
    assert isinstance(model, GPT)
    return _gpt(GPTNet(model, rngs), model, w)


def _set(variable: Any, value: np.ndarray) -> None:
    assert variable[...].shape == value.shape, (variable[...].shape, value.shape)
    variable[...] = jnp.asarray(value)


def _dense(layer: Any, w: Weights, path: str) -> None:
    _set(layer.kernel, w[f"{path}/w"])
    _set(layer.bias, w[f"{path}/b"])


def _convolved(part: Any, w: Weights, path: str, number: str = "") -> None:
    _set(part.conv.kernel, w[f"{path}conv{number}/w"])
    _set(part.norm.scale, w[f"{path}norm{number}/scale"])
    _set(part.norm.bias, w[f"{path}norm{number}/bias"])


def _resnet(net: ResNet18, model: ResNet, w: Weights) -> Any:
    _convolved(net.first, w, "")
    for block, (path, *_) in zip(net.blocks, model.blocks, strict=True):
        _convolved(block.first, w, f"{path}/body/", "1")
        _convolved(block.second, w, f"{path}/body/", "2")
        if block.shortcut is not None:
            _convolved(block.shortcut, w, f"{path}/shortcut/")
    _dense(net.output, w, "output")
    return net


def _recurrent(net: RecurrentNet, model: Recurrent, w: Weights) -> Any:
    cell = net.rnn.cell
    _set(cell.dense_i.kernel, w["cell/w"])
    _set(cell.dense_h.kernel, w["cell/u"])
    _set((cell.dense_h if model.kind == "lstm" else cell.dense_i).bias, w["cell/b"])
    _dense(net.out, w, "out")
    return net


def _gpt(net: GPTNet, model: GPT, w: Weights) -> Any:
    _set(net.table.embedding, w["w"])
    _set(net.places.embedding, w["body/positions/w"])
    _set(net.norm.scale, w["body/norm/scale"])
    split = (model.width, model.heads, model.width // model.heads)
    for i, block in enumerate(net.blocks, 1):
        path, mix = f"body/block{i}", block.attention
        for part, a in zip((mix.query, mix.key, mix.value), np.split(w[f"{path}/attention/w"], 3, axis=1), strict=True):
            _set(part.kernel, a.reshape(split))
        _set(mix.out.kernel, w[f"{path}/attention/out"].reshape(*split[1:], model.width))
        for number in "12":
            _set(getattr(block, f"norm{number}").scale, w[f"{path}/norm{number}/scale"])
        _set(block.hidden.kernel, w[f"{path}/feed_forward/hidden/w"])
        _set(block.back.kernel, w[f"{path}/feed_forward/back/w"])
    return net


@nnx.jit
def step(model, optimizer, x, y):
    def loss_of(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, gradient = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradient)
    return loss


class FlaxTraining(Training):
    def __init__(self, row: Row, data: Data, weights: Weights):
        self.row, self.net = row, network(row.model, weights)
        self.x = data.scaled.reshape(len(data.x), -1) if isinstance(row.model, MLP) else data.scaled
        self.y = data.y
        rule = optax.adam(row.rate) if row.optimizer == "adam" else optax.sgd(row.rate)
        self.step = nnx.cached_partial(step, self.net, nnx.Optimizer(self.net, rule, wrt=nnx.Param))

    def epoch(self, number: int) -> None:
        row, picks, loss = self.row, order(self.row, number), None
        for i in range(0, row.examples, row.batch):
            pick = picks[i : i + row.batch]
            loss = self.step(self.x[pick], self.y[pick])
        jax.block_until_ready(loss)

    def loss(self) -> float:
        n = self.row.checked
        return logistic_loss(np.asarray(self.net(jnp.asarray(self.x[:n]))), self.y[:n])


def train(row: Row, data: Data, weights: Weights) -> Training:
    return FlaxTraining(row, data, weights)


def infer(row: Row, data: Data, weights: Weights) -> Call:
    net = network(row.model, weights)
    net.eval()
    run = nnx.cached_partial(nnx.jit(lambda net, x: net(x)), net)
    return lambda x: np.asarray(run(x))
