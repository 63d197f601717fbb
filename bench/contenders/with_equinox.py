"""Equinox: modules under `jax.vmap`, a step under `eqx.filter_jit`, optax's optimizers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.contenders import Call, Training, logistic_loss
from bench.data import Data, order
from bench.models import CNN, GPT, MLP, Model, Recurrent, ResNet, Weights
from bench.rows import Row

KEY = jax.random.key(0)


def linear(w: Weights, path: str, bias: bool = True) -> eqx.nn.Linear:
    kernel = w[f"{path}/w"] if f"{path}/w" in w else w[path]
    made = eqx.nn.Linear(*kernel.shape, use_bias=bias, key=KEY)
    made = eqx.tree_at(lambda p: p.weight, made, jnp.asarray(kernel.T))
    return eqx.tree_at(lambda p: p.bias, made, jnp.asarray(w[f"{path}/b"])) if bias else made


def conv(w: Weights, path: str, stride: int = 1, bias: bool = True) -> eqx.nn.Conv2d:
    size, _, n, m = w[f"{path}/w"].shape
    made = eqx.nn.Conv2d(n, m, size, stride, padding=size // 2, use_bias=bias, key=KEY)
    made = eqx.tree_at(lambda p: p.weight, made, jnp.asarray(w[f"{path}/w"].transpose(3, 2, 0, 1)))
    return eqx.tree_at(lambda p: p.bias, made, jnp.asarray(w[f"{path}/b"].reshape(-1, 1, 1))) if bias else made


class Dense(eqx.Module):
    layers: list

    def __init__(self, model: MLP, w: Weights):
        self.layers = [linear(w, f"dense{i}") for i in range(1, len(model.widths))]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


class Convolutions(eqx.Module):
    convs: list
    pool: eqx.nn.MaxPool2d
    dense1: eqx.nn.Linear
    dense2: eqx.nn.Linear

    def __init__(self, model: CNN, w: Weights):
        side = model.side // 4
        first = w["dense1/w"].reshape(side, side, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128)
        self.convs, self.pool = [conv(w, "conv1"), conv(w, "conv2")], eqx.nn.MaxPool2d(2, 2)
        self.dense1, self.dense2 = linear({**w, "dense1/w": first}, "dense1"), linear(w, "dense2")

    def __call__(self, x):
        x = x.transpose(2, 0, 1)  # [h, w, channels] -> [channels, h, w]
        for part in self.convs:
            x = self.pool(jax.nn.relu(part(x)))
        return self.dense2(jax.nn.relu(self.dense1(x.reshape(-1))))


class RecurrentNet(eqx.Module):
    cell: Any
    out: eqx.nn.Linear
    kind: str = eqx.field(static=True)

    def __init__(self, model: Recurrent, w: Weights):
        self.kind, self.out = model.kind, linear(w, "out")
        if model.kind == "rnn":  # there is no such cell in Equinox
            self.cell = linear({"cell/w": w["cell/w"], "cell/b": w["cell/b"]}, "cell"), jnp.asarray(w["cell/u"])
            return
        kind = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[model.kind]
        cell = kind(model.features, model.width, key=KEY)
        given = {"weight_ih": w["cell/w"].T, "weight_hh": w["cell/u"].T, "bias": w["cell/b"]}
        given |= {"bias_n": w["cell/v"]} if model.kind == "gru" else {}
        for name, value in given.items():
            cell = eqx.tree_at(lambda c, name=name: getattr(c, name), cell, jnp.asarray(value))
        self.cell = cell

    def __call__(self, x):
        zero = jnp.zeros(self.out.in_features)
        if self.kind == "rnn":
            into, back = self.cell
            last = jax.lax.scan(lambda h, x: (jnp.tanh(into(x) + h @ back), None), zero, x)[0]
        elif self.kind == "gru":
            last = jax.lax.scan(lambda h, x: (self.cell(x, h), None), zero, x)[0]
        else:
            last = jax.lax.scan(lambda s, x: (self.cell(x, s), None), (zero, zero), x)[0][0]
        return self.out(last)


class GPTBlock(eqx.Module):
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    hidden: eqx.nn.Linear
    back: eqx.nn.Linear

    def __init__(self, model: GPT, w: Weights, path: str):
        self.norm1, self.norm2 = (norm(w, f"{path}/norm{i}") for i in (1, 2))
        mix = eqx.nn.MultiheadAttention(model.heads, model.width, key=KEY)
        parts = np.split(w[f"{path}/attention/w"], 3, axis=1)
        self.attention = eqx.tree_at(
            lambda m: (m.query_proj.weight, m.key_proj.weight, m.value_proj.weight, m.output_proj.weight), mix,
            (*(jnp.asarray(a.T) for a in parts), jnp.asarray(w[f"{path}/attention/out"].T)),
        )  # fmt: skip
        self.hidden = linear(w, f"{path}/feed_forward/hidden", bias=False)
        self.back = linear(w, f"{path}/feed_forward/back", bias=False)

    def __call__(self, x):
        h = jax.vmap(self.norm1)(x)
        x = x + self.attention(h, h, h, mask=jnp.tril(jnp.ones((len(x), len(x)), bool)))
        return x + jax.vmap(lambda h: self.back(jax.nn.gelu(self.hidden(self.norm2(h)))))(x)


def norm(w: Weights, path: str) -> eqx.nn.LayerNorm:
    made = eqx.nn.LayerNorm(w[f"{path}/scale"].shape[0], use_bias=False)
    return eqx.tree_at(lambda n: n.weight, made, jnp.asarray(w[f"{path}/scale"]))


class GPTNet(eqx.Module):
    table: jax.Array
    places: jax.Array
    blocks: list
    norm: eqx.nn.LayerNorm

    def __init__(self, model: GPT, w: Weights):
        self.table, self.places = jnp.asarray(w["w"]), jnp.asarray(w["body/positions/w"])
        self.blocks = [GPTBlock(model, w, f"body/block{i}") for i in range(1, model.layers + 1)]
        self.norm = norm(w, "body/norm")

    def __call__(self, ids):
        x = self.table[ids] + self.places[: len(ids)]
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x) @ self.table.T


def network(model: Model | None, w: Weights) -> Any:
    if isinstance(model, MLP):
        return Dense(model, w)
    if isinstance(model, CNN):
        return Convolutions(model, w)
    if isinstance(model, Recurrent):
        return RecurrentNet(model, w)
    if isinstance(model, ResNet):
        raise NotImplementedError("the residual network is not written for Equinox")
    assert isinstance(model, GPT)
    return GPTNet(model, w)


class EquinoxTraining(Training):
    def __init__(self, row: Row, data: Data, weights: Weights):
        self.row, self.net = row, network(row.model, weights)
        self.x = data.scaled.reshape(len(data.x), -1) if isinstance(row.model, MLP) else data.scaled
        self.y = data.y
        rule = optax.adam(row.rate) if row.optimizer == "adam" else optax.sgd(row.rate)
        self.opt = rule.init(eqx.filter(self.net, eqx.is_inexact_array))

        @eqx.filter_jit(donate="all-except-first")
        def step(xy, net, opt):
            x, y = xy

            def loss_of(net):
                return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()

            loss, slopes = eqx.filter_value_and_grad(loss_of)(net)
            changes, opt = rule.update(slopes, opt, net)
            return eqx.apply_updates(net, changes), opt, loss

        self.step = step

    def epoch(self, number: int) -> None:
        row, picks, loss = self.row, order(self.row, number), None
        for i in range(0, row.examples, row.batch):
            pick = picks[i : i + row.batch]
            self.net, self.opt, loss = self.step((self.x[pick], self.y[pick]), self.net, self.opt)
        jax.block_until_ready(loss)

    def loss(self) -> float:
        n = self.row.checked
        return logistic_loss(np.asarray(jax.vmap(self.net)(jnp.asarray(self.x[:n]))), self.y[:n])


def train(row: Row, data: Data, weights: Weights) -> Training:
    return EquinoxTraining(row, data, weights)


def infer(row: Row, data: Data, weights: Weights) -> Call:
    net = network(row.model, weights)
    run = eqx.filter_jit(lambda net, x: jax.vmap(net)(x))
    return lambda x: np.asarray(run(net, x))
