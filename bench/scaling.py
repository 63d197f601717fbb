"""What several processes bring, measured here, and what the cost model makes of it.

    python bench/scaling.py                     # gloo's all-reduce by size; the wide MLP on one process and on two
    python bench/scaling.py --batches 128 512   # global batches
    python bench/scaling.py --paper             # the model alone, carried to 1,024 GPUs; its assumptions are printed

Each process is pinned to a core of its own. "one": one process on one core; "two": two processes, each with half of the
same batch, gradients summed by gloo over loopback. They alternate; medians and the least over rounds are printed. What
the model says of "two" is one process's time for half a batch (measured) and the all-reduce of so many bytes
(measured), nothing hidden: XLA on a CPU runs one after the other, and gloo carries each weight's gradient (and the
loss) by itself. A machine that others use tells little: the load is printed, too.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scaling_model import Link, transformer

WIDTHS = (1024, 1024)
SIZES = [1 << n for n in range(10, 27, 2)]  # bytes
SECONDS = 3.0  # that a measurement takes, once warm
ROWS = 32_768


# -- one process ------------------------------------------------------------------------------------------------------


def worker(given: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    from pellucid.train import hosts

    if given.processes > 1:
        hosts.join(f"127.0.0.1:{given.port}", given.processes, given.process)
    told = exchanges(given.processes) if given.worker == "exchange" else training(given)
    if hosts.is_first():
        print("told " + json.dumps(told), flush=True)
    hosts.part()


def training(given: argparse.Namespace) -> dict:
    from pellucid.data import Dataset
    from pellucid.machine import set_up
    from pellucid.recipe import make
    from pellucid.session import Session
    from pellucid.train.loop import Loop

    set_up()
    random = np.random.default_rng(0)
    data = Dataset(random.integers(0, 256, (ROWS, 28, 28), np.uint8), random.integers(0, 10, ROWS))
    recipe = make(
        {
            "network": "mlp:" + ",".join(map(str, WIDTHS)), "optimizer": "adam", "batch_size": given.batch,
            "epochs": 1000, "split": (1.0, 0.0, 0.0), "baselines": False, "signals": False,
            "mesh": f"data={given.processes}" if given.processes > 1 else None,
        }
    )  # fmt: skip
    made = Session(recipe, data, {}, None, (), 1e9)
    loop = Loop(made.network, made.prepared.train, None, made.settings)
    weights = sum(value.size for value in loop.carry.params.values())
    steps = 8
    loop.chunk_steps = steps

    def chunk() -> float:
        if loop.step - loop.epoch_start + steps > loop.program.steps_per_epoch:
            loop.epoch, loop.epoch_start = loop.epoch + 1, loop.step
        began = time.perf_counter()
        loop.advance(np.array([[steps, 0]], np.int32), 1)
        return (time.perf_counter() - began) / steps

    chunk(), chunk()
    count = max(int(SECONDS / (chunk() * steps)), 3)
    if given.processes > 1:
        from jax.experimental.multihost_utils import broadcast_one_to_all

        count = int(broadcast_one_to_all(np.int32(count)))
    times = [chunk() for _ in range(count)]
    return {"seconds": statistics.median(times), "least": min(times), "bytes": 4 * weights,
            "arrays": len(loop.carry.params) + 1}  # fmt: skip


def exchanges(processes: int) -> dict:
    """Seconds of an all-reduce by bytes, many in one program as in training."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import Mesh, PartitionSpec

    mesh, whole = Mesh(np.array(jax.devices()), ("data",)), PartitionSpec()
    told = {}
    for size in SIZES:
        times = 50 if size < 1 << 20 else 8

        def body(a, times=times):
            return jax.lax.fori_loop(0, times, lambda i, v: jax.lax.psum(v, "data") * 0.5, a)

        run = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False))
        a = jax.jit(lambda n=size // 4: jnp.ones(n), out_shardings=jax.sharding.NamedSharding(mesh, whole))()
        jax.block_until_ready(run(a))
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            jax.block_until_ready(run(a))
            taken.append((time.perf_counter() - began) / times)
        told[size] = [statistics.median(taken), min(taken)]
    return told


# -- all of them ------------------------------------------------------------------------------------------------------


def measured(kind: str, processes: int, batch: int, cores: list[int], free: bool = False) -> dict:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        sys.executable, __file__, "--worker", kind, "--processes", str(processes), "--batch", str(batch), "--port",
        str(port),
    ]  # fmt: skip
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    own = [",".join(map(str, cores if free and processes > 1 else cores[i : i + 1])) for i in range(processes)]
    started = [
        subprocess.Popen(
            [*command, "--process", str(i), "--cores", own[i]], env=env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for i in range(processes)
    ]  # fmt: skip
    said = [process.communicate(timeout=540)[0] for process in started]
    line = next((line for line in said[0].splitlines() if line.startswith("told ")), None)
    if line is None:
        raise SystemExit(f"{kind} failed; exit codes {[process.returncode for process in started]}")
    return json.loads(line.removeprefix("told "))


def fitted(told: dict[str, list[float]], which: int) -> tuple[float, float]:
    """(seconds of an empty all-reduce, seconds a byte): least squares of relative errors."""
    sizes = np.array([float(size) for size in told])
    seconds = np.array([value[which] for value in told.values()])
    a = np.stack([np.ones_like(sizes), sizes], 1) / seconds[:, None]
    latency, each = np.linalg.lstsq(a, np.ones_like(seconds), rcond=None)[0]
    return float(latency), float(each)


def measure(given: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    print(f"cores {cores}{', shared' if given.free else ''}, load {os.getloadavg()[0]:.1f} when it began")
    told = measured("exchange", 2, 0, cores, given.free)
    latency, each = fitted(told, 1)
    print("\nall-reduce of two processes over gloo   median      least")
    for size, (median, least) in told.items():
        print(f"{int(size):>12,} bytes  {median * 1e3:>18.3f} ms {least * 1e3:>8.3f} ms")
    print(f"fitted to the least: {latency * 1e6:.0f} µs + bytes / {1e-9 / each:.2f} GB/s")
    print("\nbatch    one        two        ratio   half on one  exchange  the model says   (least of all rounds, ms)")
    for batch in given.batches:
        rounds = []
        for _ in range(given.rounds):
            one = measured("training", 1, batch, cores)
            two = measured("training", 2, batch, cores, given.free)
            half = measured("training", 1, batch // 2, cores)
            rounds.append((one, two, half))
        least = [min(r[i]["least"] for r in rounds) for i in range(3)]
        ratios = [r[0]["seconds"] / r[1]["seconds"] for r in rounds]
        exchange = latency * rounds[0][0]["arrays"] + each * rounds[0][0]["bytes"]
        model = least[0] / (least[2] + exchange)
        ms = [f"{1e3 * value:8.2f}" for value in least]
        print(
            f"{batch:<7}{ms[0]}   {ms[1]}   {least[0] / least[1]:8.2f}   {ms[2]}   {exchange * 1e3:8.2f}   {model:8.2f}"
            f"      ratios of medians by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
        )
    print(f"\nload {os.getloadavg()[0]:.1f} when it ended")


def paper(given: argparse.Namespace) -> None:
    inside, between = Link(given.inside * 1e9, 2e-6), Link(given.between * 1e9, 5e-6)
    print(
        f"assumed: {given.flops:g} TFLOP/s a GPU at {given.utilisation:.0%}, 8 GPUs a host, {given.inside:g} GB/s a GPU"
        f"\ninside a host, {given.between:g} GB/s a GPU between hosts, 2 and 5 µs a hop, {given.overlap:.0%} of the"
        f" backward pass hides exchange,\n{given.weights:g} weights of 2 bytes, {given.tokens:g} tokens a step"
        f"{', shared by all' if given.strong else ' of each GPU'}\n"
    )
    print("GPUs     data: step ms  exchange  shown   efficiency    shard: step ms  exchange  shown   efficiency")
    alone: dict[bool, float] = {}
    for devices in (1, 8, 64, 256, 1024):
        line = f"{devices:<6}"
        tokens = given.tokens / devices if given.strong else given.tokens
        for sharded in (False, True):
            found = transformer(
                given.weights, tokens, devices, 8, inside, between, given.flops * 1e12, given.utilisation,
                given.overlap, sharded,
            )  # fmt: skip
            alone.setdefault(sharded, found.seconds)
            share = alone[sharded] / found.seconds / (devices if given.strong else 1)
            parts = f"{found.seconds * 1e3:>15.2f} {found.exchange * 1e3:>9.2f} {found.shown * 1e3:>6.2f}"
            line += f"{parts} {share:>10.0%} "
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="the two processes share both cores")
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--weights", type=float, default=124e6)
    parser.add_argument("--tokens", type=float, default=32 * 1024, help="of each GPU in a step; with --strong of all")
    parser.add_argument("--strong", action="store_true", help="one batch, shared by ever more GPUs")
    parser.add_argument("--flops", type=float, default=989, help="TFLOP/s of a GPU (H100 SXM, bf16, data sheet)")
    parser.add_argument("--utilisation", type=float, default=0.45)
    parser.add_argument("--inside", type=float, default=450, help="GB/s one way (NVLink 4, data sheet)")
    parser.add_argument("--between", type=float, default=50, help="GB/s one way (InfiniBand NDR, one port a GPU)")
    parser.add_argument("--overlap", type=float, default=0.5)
    for name in ("process", "processes", "batch", "port"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    for name in ("worker", "cores"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    if given.worker:
        worker(given)
    elif given.paper:
        paper(given)
    else:
        measure(given)


if __name__ == "__main__":
    main()
