"""One training step of a convolutional network, Pellucid's layers beside PyTorch eager, both on two threads of one CPU.

    python bench/conv.py                  # 28 x 28 x 1 and 32 x 32 x 3, batch 64, Adam, 9 rounds of 8 steps

conv 32 3x3 - relu - max pool 2 - conv 64 3x3 - relu - max pool 2 - dense 128 - relu - dense 10. Both live in one
process and take turns, so that a noisy neighbour hits them alike; the ratio is the median of those within a round.
Needs the extra `bench`. `--architecture cnn` takes the architecture of that name in place of these layers (with batch
normalisation), and PyTorch gets the same.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pellucid.network.activations import ReLU
from pellucid.network.architecture import Arriving
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv
from pellucid.network.convolutional import CNN
from pellucid.network.dense import Dense, Flatten, resolve_output
from pellucid.network.network import Network
from pellucid.network.pool import MaxPool

STEPS, BATCH, THREADS = 8, 64, 2


def plain_layers() -> Sequential:
    block = lambda width: (Conv(width), ReLU(), MaxPool(2))  # noqa: E731
    return Sequential(*block(32), *block(64), Flatten(), Dense(128), ReLU(), Dense(10))


def pellucid(architecture: str | None, x: np.ndarray, y: np.ndarray):
    """A function that runs `STEPS` steps as one compiled program."""
    layer = plain_layers()
    if architecture:
        layer = resolve_output(CNN().build(Arriving(x.shape[2:], "float32")), 10)
    net, update = Network(layer), optax.adam(1e-3)
    params, state = net.init(jax.random.key(0), x[0])
    xs, ys = jnp.asarray(x), jnp.asarray(y)

    def loss(params, state, x, y):
        outputs, state = net.apply(params, state, x, train=True, key=jax.random.key(0))
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), state

    def step(i, carry):
        params, state, opt = carry
        (_, state), slopes = jax.value_and_grad(loss, has_aux=True)(params, state, xs[i], ys[i])
        changes, opt = update.update(slopes, opt, params)
        return optax.apply_updates(params, changes), state, opt

    started = time.perf_counter()
    carry = (params, state, update.init(params))
    run = jax.jit(lambda carry: jax.lax.fori_loop(0, STEPS, step, carry)).lower(carry).compile()
    temporary = run.memory_analysis().temp_size_in_bytes / 1e6
    print(f"  compiled in {time.perf_counter() - started:.1f} s; {temporary:.0f} MB of temporary memory")
    kept = [carry]

    def steps() -> None:
        kept[0] = jax.block_until_ready(run(kept[0]))

    return steps


def torch_eager(architecture: str | None, x: np.ndarray, y: np.ndarray):
    import torch

    torch.set_num_threads(THREADS)
    nn, (h, w, c) = torch.nn, x.shape[2:]
    parts: list = []
    widths = (32, 64) if h < 32 or not architecture else (32, 64, 128)
    for width in widths:
        norm = [nn.BatchNorm2d(width)] if architecture else []
        parts += [nn.Conv2d(c, width, 3, padding=1, bias=not norm), *norm, nn.ReLU(), nn.MaxPool2d(2)]
        c = width
    flat = c * (h >> len(widths)) * (w >> len(widths))
    drop = [nn.Dropout(0.3)] if architecture else []
    net = nn.Sequential(*parts, nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), *drop, nn.Linear(128, 10))
    net = net.to(memory_format=torch.channels_last)
    update, loss = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    xs = [torch.tensor(one.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last) for one in x]
    ys = [torch.tensor(one, dtype=torch.long) for one in y]

    def steps() -> None:
        for one, target in zip(xs, ys, strict=True):
            update.zero_grad()
            loss(net(one), target).backward()
            update.step()

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=("cnn",))
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    for shape in ((28, 28, 1), (32, 32, 3)):
        print(" x ".join(map(str, shape)))
        x = random.normal(size=(STEPS, BATCH, *shape)).astype(np.float32)
        y = random.integers(0, 10, (STEPS, BATCH)).astype(np.int32)
        contenders = {"pellucid": pellucid(args.architecture, x, y), "torch": torch_eager(args.architecture, x, y)}
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for count in range(args.rounds + 1):
            for name, steps in contenders.items():
                start = time.perf_counter()
                steps()
                if count:  # the first warms up
                    times[name].append((time.perf_counter() - start) / STEPS * 1e3)
        ratio = statistics.median(a / b for a, b in zip(times["pellucid"], times["torch"], strict=True))
        for name, taken in times.items():
            print(f"  {name:<9} {statistics.median(taken):7.1f} ms a step (least {min(taken):.1f})")
        print(f"  ratio     {ratio:7.2f}")


if __name__ == "__main__":
    main()
