"""PyTorch, eager and `torch.compile`: fused Adam, convolutions in channels_last, the better number of threads."""

import copy
import itertools
import os
import time
from typing import Any

import numpy as np
import torch as t

from bench.contenders import Call, Training, logistic_loss
from bench.data import Data, order
from bench.models import CNN, GPT, MLP, Model, Recurrent, ResNet, Weights
from bench.rows import Row

nn, F = t.nn, t.nn.functional
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(model: Model) -> Any:
    """The same network, its parameters named as in PyTorch; see `fill` for the names of the benchmark's weights."""
    if isinstance(model, MLP):
        parts: list[Any] = []
        for n, m in itertools.pairwise(model.widths):
            parts += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*parts[:-1])
    if isinstance(model, CNN):
        return nn.Sequential(
            nn.Conv2d(model.channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(model.flat, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
    if isinstance(model, ResNet):
        return ResNet18(model)
    return RecurrentNet(model) if isinstance(model, Recurrent) else GPTNet(model)


class RecurrentNet(nn.Module):
    def __init__(self, model: Recurrent):
        super().__init__()
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[model.kind]
        self.cell, self.out = kind(model.features, model.width, batch_first=True), nn.Linear(model.width, 10)

    def forward(self, x):
        return self.out(self.cell(x)[0][:, -1])


class Block(nn.Module):
    """A basic block of a residual network. Where it halves the image, PyTorch's convolution takes other places (zeros
    on both sides) than XLA's (on one), so that its loss is near the others' and not the same."""

    def __init__(self, n: int, m: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(n, m, 3, stride, padding=1, bias=False), nn.BatchNorm2d(m)
        self.conv2, self.norm2 = nn.Conv2d(m, m, 3, padding=1, bias=False), nn.BatchNorm2d(m)
        self.shortcut = None
        if stride > 1 or n != m:
            self.shortcut = nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nn.Module):
    def __init__(self, model: ResNet):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, model.widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(model.widths[0])
        self.blocks = nn.Sequential(*(Block(n, m, stride) for _, n, m, stride, _ in model.blocks))
        self.output = nn.Linear(model.widths[-1], 10)

    def forward(self, x):
        return self.output(self.blocks(F.relu(self.norm(self.conv(x)))).mean((2, 3)))


class GPTBlock(nn.Module):
    def __init__(self, model: GPT):
        super().__init__()
        n = model.width
        self.heads = model.heads
        self.norm1, self.norm2 = nn.LayerNorm(n, bias=False), nn.LayerNorm(n, bias=False)
        self.mix, self.out = nn.Linear(n, 3 * n, bias=False), nn.Linear(n, n, bias=False)
        self.hidden, self.back = nn.Linear(n, 4 * n, bias=False), nn.Linear(4 * n, n, bias=False)

    def forward(self, x):
        b, s, n = x.shape
        q, k, v = (a.view(b, s, self.heads, -1).transpose(1, 2) for a in self.mix(self.norm1(x)).split(n, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, s, n))
        return x + self.back(F.gelu(self.hidden(self.norm2(x)), approximate="tanh"))


class GPTNet(nn.Module):
    def __init__(self, model: GPT):
        super().__init__()
        self.embed, self.places = nn.Embedding(model.vocabulary, model.width), nn.Embedding(model.context, model.width)
        self.blocks = nn.Sequential(*(GPTBlock(model) for _ in range(model.layers)))
        self.norm = nn.LayerNorm(model.width, bias=False)

    def forward(self, x):
        h = self.embed(x) + self.places.weight[: x.shape[1]]
        return self.norm(self.blocks(h)) @ self.embed.weight.T


def fill(net: Any, model: Model, w: Weights) -> None:
    """Put the benchmark's weights in. Dense [in, out] -> [out, in]; convolutions HWIO -> OIHW."""
    own, given = dict(net.named_parameters()), named(model, w)
    assert set(given) <= set(own), set(given) - set(own)
    with t.no_grad():
        for name, parameter in own.items():
            if name in given:
                parameter.copy_(t.tensor(np.ascontiguousarray(given[name])))
            else:  # the second bias of PyTorch's recurrent layers, which adds nothing to the first
                assert "bias_hh" in name, name
                parameter.zero_().requires_grad_(False)


def named(model: Model, w: Weights) -> Weights:
    """The weights under PyTorch's names and in its layout."""
    if isinstance(model, MLP):
        return {f"{2 * i}.{p}": v for i in range(len(model.widths) - 1) for p, v in _linear(w, f"dense{i + 1}").items()}
    if isinstance(model, CNN):
        side = model.side // 4
        first = w["dense1/w"].reshape(side, side, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128)  # HWC -> CHW rows
        found = {"0.weight": _conv(w["conv1/w"]), "0.bias": w["conv1/b"], "3.weight": _conv(w["conv2/w"])}
        found |= {"3.bias": w["conv2/b"], "7.weight": first.T, "7.bias": w["dense1/b"]}
        return found | {f"9.{p}": v for p, v in _linear(w, "dense2").items()}
    if isinstance(model, Recurrent):
        cell = {"cell.weight_ih_l0": w["cell/w"].T, "cell.weight_hh_l0": w["cell/u"].T, "cell.bias_ih_l0": w["cell/b"]}
        if model.kind == "gru":  # its second bias is none too many for the proposed state
            cell["cell.bias_hh_l0"] = np.concatenate([np.zeros(2 * model.width, np.float32), w["cell/v"]])
        return cell | {f"out.{p}": v for p, v in _linear(w, "out").items()}
    return _resnet(model, w) if isinstance(model, ResNet) else _gpt(model, w)


def _linear(w: Weights, path: str) -> Weights:
    return {"weight": w[f"{path}/w"].T, "bias": w[f"{path}/b"]}


def _conv(w: np.ndarray) -> np.ndarray:
    return w.transpose(3, 2, 0, 1)


def _resnet(model: ResNet, w: Weights) -> Weights:
    def pair(conv: str, norm: str, path: str, at: str) -> Weights:
        return {
            f"{conv}.weight": _conv(w[f"{path}/{at}conv{'' if at != 'body/' else conv[-1]}/w"]),
            f"{norm}.weight": w[f"{path}/{at}norm{'' if at != 'body/' else conv[-1]}/scale"],
            f"{norm}.bias": w[f"{path}/{at}norm{'' if at != 'body/' else conv[-1]}/bias"],
        }

    found = {"conv.weight": _conv(w["conv/w"]), "norm.weight": w["norm/scale"], "norm.bias": w["norm/bias"]}
    for i, (path, *_) in enumerate(model.blocks):
        for number in "12":
            found |= pair(f"blocks.{i}.conv{number}", f"blocks.{i}.norm{number}", path, "body/")
        if f"{path}/shortcut/conv/w" in w:
            found |= pair(f"blocks.{i}.shortcut.0", f"blocks.{i}.shortcut.1", path, "shortcut/")
    return found | {"output.weight": w["output/w"].T, "output.bias": w["output/b"]}


def _gpt(model: GPT, w: Weights) -> Weights:
    found = {"embed.weight": w["w"], "places.weight": w["body/positions/w"], "norm.weight": w["body/norm/scale"]}
    for i in range(model.layers):
        own, path = f"blocks.{i}", f"body/block{i + 1}"
        found |= {f"{own}.norm{k}.weight": w[f"{path}/norm{k}/scale"] for k in (1, 2)}
        found |= {f"{own}.mix.weight": w[f"{path}/attention/w"].T, f"{own}.out.weight": w[f"{path}/attention/out"].T}
        found[f"{own}.hidden.weight"] = w[f"{path}/feed_forward/hidden/w"].T
        found[f"{own}.back.weight"] = w[f"{path}/feed_forward/back/w"].T
    return found


def network(model: Model, weights: Weights) -> Any:
    net = build(model)
    fill(net, model, weights)
    images = isinstance(model, CNN | ResNet)
    return net.to(memory_format=t.channels_last) if images else net


def inputs(model: Model | None, x: np.ndarray) -> Any:
    """What arrives, as PyTorch has it: images [n, channels, h, w] (channels last in memory), rows flat, ids int64."""
    if isinstance(model, CNN | ResNet):
        return t.from_numpy(x).permute(0, 3, 1, 2)
    if isinstance(model, MLP):
        x = x.reshape(len(x), -1)
    return t.from_numpy(x.astype(np.int64) if x.dtype.kind == "i" else x)


class TorchTraining(Training):
    def __init__(self, row: Row, data: Data, weights: Weights, compiled: bool):
        assert row.model is not None
        t.manual_seed(0)
        self.row, self.net = row, network(row.model, weights)
        self.x, self.y = inputs(row.model, data.scaled), t.from_numpy(data.y.astype(np.int64))
        self._choose_threads()  # eager; a compiled step follows it
        self.called = t.compile(self.net) if compiled else self.net
        self.update = optimizer(row, self.net)
        self.facts = {"threads": t.get_num_threads()}

    def _choose_threads(self) -> None:
        """One thread or all, whichever a few steps of a copy take less time with."""
        kept, taken = self.net, {}
        for threads in (1, CORES):
            t.set_num_threads(threads)
            self.net = self.called = copy.deepcopy(kept)
            self.update = optimizer(self.row, self.net)
            start = time.perf_counter()
            for i in range(2000):
                self._step(t.arange(i % self.row.steps * self.row.batch, (i % self.row.steps + 1) * self.row.batch))
                if i == 0:
                    start = time.perf_counter()
                elif time.perf_counter() - start > 0.15:
                    break
            taken[threads] = (time.perf_counter() - start) / max(i, 1)
        self.net = kept
        t.set_num_threads(min(taken, key=lambda n: taken[n]))

    def _step(self, pick: Any) -> None:
        self.update.zero_grad()
        outputs = self.called(self.x[pick])
        F.cross_entropy(outputs.flatten(0, -2), self.y[pick].flatten()).backward()
        self.update.step()

    def epoch(self, number: int) -> None:
        row = self.row
        if row.steps == 1:  # the full batch: nothing to gather
            self._step(slice(None))
            return
        picks = t.from_numpy(order(row, number))
        for i in range(0, row.examples, row.batch):
            self._step(picks[i : i + row.batch])

    def loss(self) -> float:
        with t.no_grad():
            outputs = self.net(self.x[: self.row.checked])
        return logistic_loss(outputs.numpy(), self.y[: self.row.checked].numpy())


def optimizer(row: Row, net: Any) -> Any:
    learned = [p for p in net.parameters() if p.requires_grad]
    kind = t.optim.Adam if row.optimizer == "adam" else t.optim.SGD
    return kind(learned, lr=row.rate, fused=True)


def train(row: Row, data: Data, weights: Weights, compiled: bool = False) -> Training:
    return TorchTraining(row, data, weights, compiled)


def infer(row: Row, data: Data, weights: Weights, compiled: bool = False) -> Call:
    assert row.model is not None
    model, net = row.model, network(row.model, weights).eval()
    called = t.compile(net) if compiled else net

    def call(x: np.ndarray) -> np.ndarray:
        with t.inference_mode():
            return called(inputs(model, x)).numpy()

    return call


def threads(call: Call, x: np.ndarray) -> int:
    """Sets the number of threads, one or all, whichever answers sooner, and tells it."""
    taken = {}
    for count in (1, CORES):
        t.set_num_threads(count)
        call(x), call(x)
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < 0.15:
            call(x)
            calls += 1
        taken[count] = (time.perf_counter() - start) / calls
    best = min(taken, key=lambda n: taken[n])
    t.set_num_threads(best)
    return best
