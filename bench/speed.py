"""How fast one epoch trains, beside PyTorch: the same work, data, batch size, dtype and optimizer.

    python bench/speed.py                 # every row, every contender, 5 rounds, alternating; prints a table
    python bench/speed.py --row mlp --rounds 3

Each contender runs in a process of its own, the contenders of a round one after the other, so that a noisy neighbour
hits all alike; medians over the rounds, ratios to Pellucid. An epoch to warm up (and compile) is run first and not
counted. Evaluation is left out for all. Needs the `bench` extra. Data: MNIST in ../shared/data/mnist where it is,
otherwise random bytes of the same shape (the time of a step does not depend on the values).
"""

import itertools
import statistics
import time
from pathlib import Path

import numpy as np
from rounds import alternate, answer, arguments, told

ROWS = {  # widths, optimizer, batch, rows of the set, epochs counted
    "mlp": ((128,), "adam", 64, 60_000, 2),
    "sgd": ((128,), "sgd", 1, 20_000, 1),
    "wide": ((1024, 1024), "adam", 128, 60_000, 1),
}
CONTENDERS = ("pellucid", "pellucid-quiet", "torch", "torch-fused")
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    if MNIST.is_dir():
        from pellucid.data import load

        found = load(MNIST)
        return found.x[:rows], found.y[:rows].astype(np.int64)
    random = np.random.default_rng(0)
    return random.integers(0, 256, (rows, 28, 28), np.uint8), random.integers(0, 10, rows)


def pellucid(row: str, signals: bool) -> dict:
    import jax

    from pellucid.data import Dataset, Features, Part, Targets
    from pellucid.network.adapt import adapt, standardise
    from pellucid.network.architectures import mlp
    from pellucid.train.loop import ChunkEnded, Loop, Settings
    from pellucid.train.losses import Loss
    from pellucid.train.metrics import Metric
    from pellucid.train.optimizers import Optimizer
    from pellucid.train.schedules import Schedule

    widths, optimizer, batch, rows, epochs = ROWS[row]
    x, y = data(rows)
    features, _ = Features.fit(x, np.arange(len(x)))
    network = mlp(widths)
    network = network.replace(layer=adapt(network.layer, features, Targets.fit(Dataset(x, y))), features=features)
    network = network.initialised(jax.random.key(0), network.example())
    network.state = standardise(network.layer, network.state, features)
    steps = -(-rows // batch)
    settings = Settings(
        loss=Loss.of("cross_entropy"),
        metric=Metric.of("accuracy"),
        batch_size=batch,
        updates=steps * (epochs + 1),
        optimizer=Optimizer.of({"type": optimizer, "learning_rate": 1e-3 if optimizer == "adam" else 0.01}),
        schedule=Schedule.of("constant"),
        patience=None,
        signals=signals,
    )
    loop = Loop(network, Part(x, y.astype(np.int32), None, np.arange(rows)), None, settings)
    seconds, last = [], time.perf_counter()
    spent, loss = 0.0, float("nan")
    for event in loop.run():
        now = time.perf_counter()
        if isinstance(event, ChunkEnded):
            spent += now - last
            loss = event.loss
        else:
            seconds.append(spent)
            spent = 0.0
        last = time.perf_counter()
    return {"seconds": seconds[1:], "steps": steps, "loss": loss}


def torch(row: str, fused: bool) -> dict:
    import torch as t

    widths, optimizer, batch, rows, epochs = ROWS[row]
    x, y = data(rows)
    t.manual_seed(0)
    sizes = (784, *widths, 10)
    layers: list = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += [t.nn.Linear(a, b)] + ([t.nn.ReLU()] if i < len(sizes) - 2 else [])
    net = t.nn.Sequential(*layers)
    f = (t.tensor(x.reshape(rows, 784)).float() / 255 - 0.1307) / 0.3081  # scaled once, before the clock starts
    target = t.tensor(y)
    if optimizer == "adam":
        update = t.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
    else:
        update = t.optim.SGD(net.parameters(), lr=0.01, fused=fused)
    criterion = t.nn.CrossEntropyLoss()
    seconds, loss = [], t.tensor(0.0)
    for _ in range(epochs + 1):
        start = time.perf_counter()
        order = t.randperm(rows)
        total = 0.0
        for i in range(0, rows, batch):
            pick = order[i : i + batch]
            update.zero_grad()
            loss = criterion(net(f[pick]), target[pick])
            loss.backward()
            update.step()
            if i % (batch * 200) == 0:
                total = loss.item()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[1:], "steps": -(-rows // batch), "loss": total}


def one(contender: str, row: str) -> dict:
    if contender.startswith("pellucid"):
        return pellucid(row, signals=contender == "pellucid")
    return torch(row, fused=contender == "torch-fused")


def main() -> None:
    args = arguments(__doc__, ROWS, CONTENDERS)
    if args.child:
        answer(one, args)
        return
    print(told(args.rounds))
    for row in args.row or ROWS:
        compare(row, args.contender or CONTENDERS, args.rounds)


def compare(row: str, contenders, rounds: int) -> None:
    times, memory, steps = alternate(__file__, row, contenders, rounds)
    widths, optimizer, batch, _, _ = ROWS[row]
    print(f"\n784-{'-'.join(map(str, widths))}-10, {optimizer}, batch {batch}")
    base = statistics.median(times["pellucid"]) if times.get("pellucid") else None
    for contender in contenders:
        if times[contender]:
            middle = statistics.median(times[contender])
            ratio = f"{middle / base:6.2f} x pellucid" if base else ""
            spread = f"{min(times[contender]) / steps * 1e6:,.0f}-{max(times[contender]) / steps * 1e6:,.0f}"
            print(
                f"  {contender:<15} {middle / steps * 1e6:9,.1f} µs a step ({spread})  {ratio}"
                f"  peak {memory[contender] / 2**20:,.0f} MiB"
            )


if __name__ == "__main__":
    main()
