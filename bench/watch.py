"""What it costs to be watched: training loops of other libraries with the watcher beside the same without.

    python bench/watch.py                        # PyTorch: a small and a wide network, 9 rounds of 1,000 steps
    python bench/watch.py --library optax        # or keras (KERAS_BACKEND=torch or jax)

Both contenders live in one process and take turns, so that a noisy neighbour hits both alike; the figure is the median
of the ratios within a round. The first round, with the early updates that are measured, is left out: the rate is the
default's, every 100th. On a busy machine, `--threads 1 --clock cpu` compares the processor's time instead.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import numpy as np

NETWORKS = {  # widths, batch
    "784-128-10": ((784, 128, 10), 64),
    "784-256x6-10": ((784, *[256] * 6, 10), 128),
    "784-1024-1024-10": ((784, 1024, 1024, 10), 128),
}


def torch_loop(widths: tuple[int, ...], batch: int, watched: bool) -> Callable[[int], None]:
    import torch

    from pellucid.connect.torch import watch

    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for n, m in pairwise(widths):
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(50, batch, widths[0]), torch.randint(0, widths[-1], (50, batch))
    watching = watch(model, optimizer, quiet=True) if watched else nullcontext()
    w = watching.__enter__()  # it lives as long as the process

    def run(steps: int) -> None:
        for step in range(steps):
            loss = torch.nn.functional.cross_entropy(model(x[step % 50]), y[step % 50])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen = loss.item()  # as most loops do, watched or not
            if w is not None:
                w.log(loss=seen)

    return run


def optax_loop(widths: tuple[int, ...], batch: int, watched: bool) -> Callable[[int], None]:
    import jax
    import jax.numpy as jnp
    import optax

    import pellucid as pc

    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=(n, m)) / n**0.5, "float32") for n, m in pairwise(widths)]
    x = jnp.asarray(rng.normal(size=(50, batch, widths[0])), "float32")
    y = jnp.asarray(rng.integers(0, widths[-1], (50, batch)))
    optimizer = pc.watch(optax.adam(1e-3)) if watched else optax.adam(1e-3)

    def loss(params, x, y):
        for w in params[:-1]:
            x = jax.nn.relu(x @ w)
        return optax.softmax_cross_entropy_with_integer_labels(x @ params[-1], y).mean()

    def step(carry, i):
        params, state = carry
        value, g = jax.value_and_grad(loss)(params, x[i % 50], y[i % 50])
        u, state = optimizer.update(g, state, params)
        return (optax.apply_updates(params, u), state), value

    many = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order), donate_argnums=0)
    carry = [(params, optimizer.init(params))]

    def run(steps: int) -> None:
        carry[0], _ = many(carry[0], jnp.arange(steps))
        jax.block_until_ready(carry[0][0])

    return run


def keras_loop(widths: tuple[int, ...], batch: int, watched: bool) -> Callable[[int], None]:
    import keras

    from pellucid.connect.keras import Watch

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(m, activation="relu") for m in widths[1:-1]]
    model = keras.Sequential([keras.Input((widths[0],)), *hidden, keras.layers.Dense(widths[-1])])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50 * batch, widths[0])).astype("float32"), rng.integers(0, widths[-1], 50 * batch)
    callbacks = [Watch(probe=(x[:256], y[:256]), quiet=True)] if watched else []

    def run(steps: int) -> None:
        model.fit(x, y, batch_size=batch, epochs=steps // 50, verbose=0, callbacks=callbacks)

    return run


LOOPS = {"torch": torch_loop, "optax": optax_loop, "keras": keras_loop}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=LOOPS, default="torch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: as many as it likes")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    for name in args.network or NETWORKS:
        widths, batch = NETWORKS[name]
        runs = [LOOPS[args.library](widths, batch, watched) for watched in (False, True)]
        times: list[list[float]] = [[], []]
        for count in range(args.rounds + 1):
            for place in (0, 1) if count % 2 else (1, 0):
                start = clock()
                runs[place](args.steps)
                if count:  # the first warms up, and holds the early updates that are measured
                    times[place].append(clock() - start)
        ratio = statistics.median(w / p for p, w in zip(*times, strict=True))
        plain, watched = (statistics.median(t) / args.steps * 1e6 for t in times)
        print(f"{args.library} {name}: {plain:.0f} µs a step, watched {watched:.0f} µs; ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
