"""What the native kernels bring to a network as `--network` names it: a training step with them and without.

    python bench/kernels.py                                  # cnn, 64 images of 28 x 28
    python bench/kernels.py --network resnet:18 --shape 32 32 3 --batch 32
    python bench/kernels.py --filled 8                       # the last 8 rows only fill up the batch

The two take turns, each in a process of its own (`PELLUCID_NATIVE`); medians of steps, without optimizer and signals.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

STEPS, BLOCKS = 10, 9


def step(network: str, shape: list[int], batch: int, filled: int) -> float:
    """Seconds a step: forward, back, and the weights moved along their gradient, in one compiled loop."""
    import jax
    import jax.numpy as jnp

    import pellucid.network.catalogue  # noqa: F401
    from pellucid import Network
    from pellucid.machine import set_up
    from pellucid.network.architecture import Arriving, find
    from pellucid.network.dense import resolve_output
    from pellucid.network.layer import Context

    set_up()
    layer = resolve_output(find(network).build(Arriving(tuple(shape), "float32")), 10)
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    params, state = Network(layer).init(jax.random.key(1), x)

    mask = jnp.arange(batch) < batch - filled if filled else None

    def loss(params, key):
        ctx = Context(train=True, reverse_only=True, state=state, key=key, mask=mask)
        return jnp.square(ctx.run(layer, params, x)).mean()

    @jax.jit
    def run(params, key):
        def one(i, params):
            slopes = jax.grad(loss)(params, jax.random.fold_in(key, i))
            return jax.tree.map(lambda w, g: w - 1e-3 * g, params, slopes)

        return jax.lax.fori_loop(0, STEPS, one, params)

    jax.block_until_ready(run(params, jax.random.key(2)))
    taken = []
    for i in range(BLOCKS):
        start = time.perf_counter()
        jax.block_until_ready(run(params, jax.random.key(i)))
        taken.append((time.perf_counter() - start) / STEPS)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="cnn")
    parser.add_argument("--shape", type=int, nargs="+", default=[28, 28, 1])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--filled", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return print(step(args.network, args.shape, args.batch, args.filled))
    found: dict[str, list[float]] = {"1": [], "0": []}
    for _ in range(args.rounds):
        for native, times in found.items():
            command = [sys.executable, *sys.argv, "--child"]
            env = {**os.environ, "PELLUCID_NATIVE": native}
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
            times.append(float(done.stdout.splitlines()[-1]))
    swift, plain = (1e3 * statistics.median(times) for times in found.values())
    ratio = f"{swift:.2f} ms a step with the kernels, {plain:.2f} without, {plain / swift:.2f} times"
    print(f"{args.network}, batch {args.batch}: {ratio}")


if __name__ == "__main__":
    main()
