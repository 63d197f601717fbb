"""How fast one training step is for convolutional, recurrent and transformer networks, beside PyTorch, Keras, Flax.

    python bench/architectures.py                       # every row, every contender, 5 rounds, alternating
    python bench/architectures.py --row lstm128 --rounds 3

The same layers, shapes, batch, dtype (float32) and optimizer (Adam) on all sides; Pellucid as a user runs it, signals
on; PyTorch eager and compiled; Keras 3 on JAX and Flax NNX (`peers.py`). Data are random: the time of a step does not
depend on them. Each contender runs in a process of its own, those of a round one after the other; a first epoch, which
compiles, is not counted. Needs the `bench` extra (and for torch-compile a C++ compiler).

    cnn28, cnn32   28 x 28 x 1 and 32 x 32 x 3, batch 64: conv 32, 64 (3 x 3), each with ReLU and pooling, dense 128
    rnn128, ...    sequences of 64 steps of 32 numbers, batch 64: one recurrent layer, its last state, a dense layer
    transformer    nanoGPT's CPU recipe: 4 layers, 4 heads, width 128, 64 tokens of 65, batch 12
"""

import math
import statistics
import time

import numpy as np
import peers
from rounds import alternate, answer, arguments, told

STEPS = {"cnn28": 40, "cnn32": 30, "rnn128": 60, "lstm128": 40, "gru128": 40, "lstm512": 8, "transformer": 30}
CONTENDERS = ("pellucid", "torch", "torch-compile", "keras", "flax")
EPOCHS = 2


def data(row: str) -> tuple[np.ndarray, np.ndarray, int]:
    """x, y, and the batch size."""
    random = np.random.default_rng(0)
    batch = 12 if row == "transformer" else 64
    n = batch * STEPS[row]
    if row == "transformer":
        ids = random.integers(0, 65, (n, 65), np.int32)
        return ids[:, :-1], ids[:, 1:], batch
    shape = {"cnn28": (28, 28, 1), "cnn32": (32, 32, 3)}.get(row, (64, 32))
    return random.normal(size=(n, *shape)).astype(np.float32), random.integers(0, 10, n).astype(np.int32), batch


def pellucid(row: str) -> dict:
    import jax

    import pellucid as pc
    from pellucid.data import Part
    from pellucid.network.architecture import Arriving
    from pellucid.network.composite import replace_layers
    from pellucid.network.dense import resolve_output
    from pellucid.network.transformer import TransformerArchitecture
    from pellucid.train.loop import ChunkEnded, Loop, Settings

    x, y, batch = data(row)
    if row == "transformer":
        from dataclasses import replace

        top = TransformerArchitecture.parse("transformer").build(
            Arriving((64,), "int32", vocabulary=65, each_step=True)
        )
        fill = lambda part: replace(part, vocabulary=65) if getattr(part, "vocabulary", 0) is None else part  # noqa: E731
        layer = resolve_output(replace_layers(top, fill), 65)
    elif row.startswith("cnn"):
        block = lambda width: (pc.Conv(width), pc.ReLU(), pc.MaxPool(2))  # noqa: E731
        layer = pc.Sequential(*block(32), *block(64), pc.Flatten(), pc.Dense(128), pc.ReLU(), pc.Dense(10))
    else:
        kind = {"rnn": pc.RNN, "lstm": pc.LSTM, "gru": pc.GRU}[peers.kind_and_width(row)[0]]
        layer = pc.Sequential(kind(width_of(row), each_step=False), pc.Dense(10))
    network = pc.Network(layer).initialised(jax.random.key(0), x[:1])
    settings = Settings(
        loss=pc.Loss.of("cross_entropy"), metric=None, batch_size=batch, updates=STEPS[row] * (EPOCHS + 1),
        optimizer=pc.Optimizer.of({"type": "adam", "learning_rate": 1e-3}), schedule=pc.Schedule.of("constant"),
    )  # fmt: skip
    loop = Loop(network, Part(x, y, None, np.arange(len(x))), None, settings)
    seconds, spent, loss, last = [], 0.0, math.nan, time.perf_counter()
    for event in loop.run():
        if isinstance(event, ChunkEnded):
            spent, loss = spent + time.perf_counter() - last, event.loss
        else:
            seconds.append(spent)
            spent = 0.0
        last = time.perf_counter()
    return {"seconds": seconds[1:], "loss": loss}


def width_of(row: str) -> int:
    return peers.kind_and_width(row)[1]


def torch(row: str, compiled: bool) -> dict:
    import torch as t

    t.manual_seed(0)
    x, y, batch = data(row)
    x = np.moveaxis(x, -1, 1).copy() if row.startswith("cnn") else x
    net = module(t, row)
    called = t.compile(net) if compiled else net
    xs, ys = t.tensor(x if row != "transformer" else x.astype(np.int64)), t.tensor(y.astype(np.int64))
    update = t.optim.Adam(net.parameters(), lr=1e-3)
    criterion = t.nn.CrossEntropyLoss()
    seconds, loss = [], t.tensor(0.0)
    for _ in range(EPOCHS + 1):
        start = time.perf_counter()
        order = t.randperm(len(xs))
        for i in range(0, len(xs), batch):
            pick = order[i : i + batch]
            update.zero_grad()
            outputs = called(xs[pick])
            loss = criterion(outputs.flatten(0, -2), ys[pick].flatten())
            loss.backward()
            update.step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:], "loss": loss.item()}


def module(t, row: str):
    """The same network in PyTorch."""
    if row.startswith("cnn"):
        side, channels = (28, 1) if row == "cnn28" else (32, 3)
        return t.nn.Sequential(
            t.nn.Conv2d(channels, 32, 3, padding=1), t.nn.ReLU(), t.nn.MaxPool2d(2),
            t.nn.Conv2d(32, 64, 3, padding=1), t.nn.ReLU(), t.nn.MaxPool2d(2),
            t.nn.Flatten(), t.nn.Linear(64 * (side // 4) ** 2, 128), t.nn.ReLU(), t.nn.Linear(128, 10),
        )  # fmt: skip
    if row == "transformer":
        return transformer(t)
    kind = {"rnn": t.nn.RNN, "lstm": t.nn.LSTM, "gru": t.nn.GRU}[peers.kind_and_width(row)[0]]

    class Recurrent(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = kind(32, width_of(row), batch_first=True), t.nn.Linear(width_of(row), 10)

        def forward(self, x):
            return self.out(self.cell(x)[0][:, -1])

    return Recurrent()


def transformer(t, layers: int = 4, heads: int = 4, width: int = 128, context: int = 64, vocabulary: int = 65):
    """Pre-norm blocks of causal attention (PyTorch's fused one) and a GELU network, as GPT-2 has them; tied weights."""

    class Block(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = t.nn.LayerNorm(width), t.nn.LayerNorm(width)
            self.mix, self.back = t.nn.Linear(width, 3 * width), t.nn.Linear(width, width)
            self.dense = t.nn.Sequential(
                t.nn.Linear(width, 4 * width), t.nn.GELU(approximate="tanh"), t.nn.Linear(4 * width, width)
            )

        def forward(self, x):
            b, s, n = x.shape
            q, k, v = (a.view(b, s, heads, n // heads).transpose(1, 2) for a in self.mix(self.norm1(x)).split(n, -1))
            y = t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.back(y.transpose(1, 2).reshape(b, s, n))
            return x + self.dense(self.norm2(x))

    class GPT(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.places = t.nn.Embedding(vocabulary, width), t.nn.Embedding(context, width)
            self.blocks, self.norm = t.nn.Sequential(*(Block() for _ in range(layers))), t.nn.LayerNorm(width)

        def forward(self, x):
            h = self.embed(x) + self.places(t.arange(x.shape[1]))
            return self.norm(self.blocks(h)) @ self.embed.weight.T

    return GPT()


def one(contender: str, row: str) -> dict:
    if contender in ("keras", "flax"):
        found = getattr(peers, contender)(row, data(row), EPOCHS)
    else:
        found = pellucid(row) if contender == "pellucid" else torch(row, compiled=contender == "torch-compile")
    return {**found, "steps": STEPS[row]}


def main() -> None:
    args = arguments(__doc__, STEPS, CONTENDERS)
    if args.child:
        answer(one, args)
        return
    contenders = args.contender or CONTENDERS
    print(told(args.rounds) + "\n")
    print("| row | " + " | ".join(contenders) + " | the best other / Pellucid | peak memory |")
    print("|---" * (len(contenders) + 3) + "|")
    for row in args.row or STEPS:
        print(compare(row, contenders, args.rounds), flush=True)


def compare(row: str, contenders, rounds: int) -> str:
    seconds, memory, steps = alternate(__file__, row, contenders, rounds)
    times = {contender: [t / steps * 1e3 for t in found] for contender, found in seconds.items()}  # ms a step
    shown = [
        f"{statistics.median(t):.1f} ms ({min(t):.1f}-{max(t):.1f})" if (t := times[c]) else "-" for c in contenders
    ]
    others = [statistics.median(times[c]) for c in contenders if c != "pellucid" and times[c]]
    own = times.get("pellucid")
    ratio = f"**{min(others) / statistics.median(own):.2f}**" if own and others else "-"
    held = ", ".join(f"{memory[c] / 2**20:,.0f}" for c in contenders)
    return f"| {row} | {' | '.join(shown)} | {ratio} | {held} MiB |"


if __name__ == "__main__":
    main()
