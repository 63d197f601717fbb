"""What a training step takes, by precision, parts and blocks: the compiler's bytes, and milliseconds on this machine.

    python bench/memory.py                    # the tables of docs/precision.md
    python bench/memory.py --row mlp --rounds 20

Bytes are temporary memory of the compiled chunk: activations, gradients, what is gathered. Weights, moments and data,
which are the same in every row of a table, come on top. Times are the least of several rounds, in which the settings
take turns; on a shared machine the others say little.
"""

import argparse
import time

import numpy as np

from pellucid import Dataset
from pellucid.machine import set_up
from pellucid.memory import in_words
from pellucid.recipe import make
from pellucid.session import Session
from pellucid.train.fitting import compiled
from pellucid.train.loop import Loop

SETTINGS = (
    {},
    {"accumulate": 4},
    {"remat": "blocks"},
    {"accumulate": 4, "remat": "blocks"},
    {"precision": "bfloat16"},
    {"precision": "float16"},
)


def rows() -> dict[str, tuple[Dataset, dict]]:
    rng = np.random.default_rng(0)
    numbers = Dataset(rng.normal(size=(8192, 64)).astype("float32"), rng.integers(0, 10, 8192))
    images = Dataset(rng.integers(0, 255, (512, 32, 32, 3)).astype("uint8"), rng.integers(0, 10, 512))
    steps = Dataset(rng.normal(size=(512, 64, 16)).astype("float32"), rng.integers(0, 10, 512))
    return {
        "mlp": (numbers, {"network": "mlp:" + ",".join(["512"] * 8), "batch_size": 1024}),
        "cnn": (images, {"network": "cnn:16,32,norm=none", "batch_size": 64}),
        "transformer": (steps, {"network": "transformer:6,4,64", "batch_size": 32}),
    }


def table(data: Dataset, words: dict, rounds: int) -> None:
    loops = []
    for more in SETTINGS:
        made = Session(make({**words, **more, "steps": 10**6, "baselines": False}), data, {}, None, (), 1.0)
        loops.append(Loop(made.network, made.prepared.train, None, made.settings))
    bytes_taken = [compiled(loop).temp_size_in_bytes for loop in loops]
    times: list[list[float]] = [[] for _ in loops]
    for turn in range(rounds + 1):  # the first compiles
        for loop, taken in zip(loops, times, strict=True):
            began = time.perf_counter()
            list(loop.some(3))
            if turn:
                taken.append((time.perf_counter() - began) / 3)
    print(f"\n{words['network']}, a batch of {words['batch_size']}\n")
    print("| settings | temporary memory | a step |\n|---|---|---|")
    for more, size, taken in zip(SETTINGS, bytes_taken, times, strict=True):
        said = " ".join(f"--{name} {value}" for name, value in more.items()) or "none"
        print(f"| `{said}` | {in_words(size)} | {min(taken) * 1e3:.1f} ms |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=sorted(rows()), action="append", help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    set_up()
    for name, (data, words) in rows().items():
        if given.row is None or name in given.row:
            table(data, words, given.rounds)


if __name__ == "__main__":
    main()
