"""What Pellucid's own extras cost: per-layer signals, and the loop of `fit` beside one written by hand.

    python bench/overhead.py                # 784-128-10, batch 64, 11 rounds of one epoch each

All contenders live in one process and take turns, an epoch each, so that a noisy neighbour hits all alike; medians of
the rounds and of the ratios within a round. The hand-written loop is raw optax over `net.apply`, one scan an epoch.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contenders.with_pellucid import network
from bench.data import load
from bench.models import initial
from bench.rows import ROWS
from pellucid.data import Part
from pellucid.network.network import Network
from pellucid.train.loop import Loop, Settings
from pellucid.train.loss import Loss
from pellucid.train.metrics import Metric
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule

BATCH = {"mlp-64": 64, "wide": 128}


class Fit:
    """Epochs of the loop under `fit`, without evaluation."""

    def __init__(self, row: str, net: Network, x: np.ndarray, y: np.ndarray, signals: bool):
        settings = Settings(
            loss=Loss.of("cross_entropy"), metric=Metric.of("accuracy"), optimizer=Optimizer.of("adam"),
            schedule=Schedule.of("constant"), batch_size=BATCH[row], updates=10**9, signals=signals,
        )  # fmt: skip
        self.loop = Loop(net, Part(x, y, None, np.arange(len(y))), None, settings)
        self.loop.sample = dataclasses.replace(self.loop.sample, x=x[:1], y=y[:1])
        self.events = self.loop.run()

    def epoch(self) -> None:
        while self.loop.step < self.loop.epoch_start + self.loop.program.steps_per_epoch:
            next(self.events)
        jax.block_until_ready(self.loop.carry.params)

    def between(self) -> None:
        next(self.events)  # the evaluation, not timed


class HandWritten:
    """What a JAX user would write over the pure pair."""

    def __init__(self, row: str, net: Network, x: np.ndarray, y: np.ndarray):
        self.batch, self.rows = BATCH[row], len(y)
        update = optax.adam(1e-3)
        xs, ys = jnp.asarray(x), jnp.asarray(y)
        params = jax.tree.map(lambda a: jnp.array(a, copy=True), net.params)
        self.carry = params, update.init(params)
        state = net.state

        def loss(params, x, y):
            outputs, _ = net.apply(params, state, x, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        def step(carry, rows):
            params, opt = carry
            value, grads = jax.value_and_grad(loss)(params, xs[rows], ys[rows])
            changes, opt = update.update(grads, opt, params)
            return (optax.apply_updates(params, changes), opt), value

        self.run = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order), donate_argnums=0)
        self.random = np.random.default_rng(0)

    def epoch(self) -> None:
        steps = self.rows // self.batch
        order = self.random.permutation(self.rows)[: steps * self.batch].reshape(steps, self.batch)
        self.carry, losses = self.run(self.carry, jnp.asarray(order, jnp.int32))
        jax.block_until_ready(losses)

    def between(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=tuple(BATCH), default="mlp-64")
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    row, data = ROWS[args.row], load(ROWS[args.row])
    assert row.model is not None
    x, y = data.x, data.y
    net = network(row.model, initial(row.model), x)
    contenders = {
        "fit, no signals": Fit(args.row, net, x, y, signals=False),
        "fit, with signals": Fit(args.row, net, x, y, signals=True),
        "written by hand": HandWritten(args.row, net, x, y),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for count in range(args.rounds + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender.epoch()
            if count:  # the first epoch compiles
                times[name].append(time.perf_counter() - start)
            contender.between()
    steps = len(y) // BATCH[args.row]
    base = times["fit, no signals"]
    print(f"{args.row}: {args.rounds} rounds of {steps} steps")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        middle = statistics.median(seconds) / steps * 1e6
        print(f"  {name:<18} {middle:8.1f} µs a step   {ratio:.3f} x fit without signals")


if __name__ == "__main__":
    main()
