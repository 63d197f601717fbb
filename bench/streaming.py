"""Training from disk beside training from memory: examples a second, and resident memory beyond the model.

    python bench/streaming.py                      # 10 GB: 10 million rows of 256 numbers, made in a temporary folder
    python bench/streaming.py --gb 2 --rounds 3 --kind parquet
    python bench/streaming.py --kind images --gb 2

The contenders alternate, each in a process of its own. "memory" has the same set with `stream=False`; where it would
not fit (--memory-gb), both train on as much of it as fits for the rate, and the whole set is streamed once more for the
memory. The rate is that of the epochs after the first, which compiles; "beyond the model" is the largest resident
memory (VmHWM) less that of a run of the same network on a thousand rows. Everything is removed in the end.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WIDTH = 256
BLOCK = 50_000  # rows that are made at a time


def make(folder: Path, kind: str, rows: int) -> Path:
    """A set of two classes: `WIDTH` numbers a row, or bytes of images for `images`."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=WIDTH).astype(np.float32)
    dtype, shape = (np.uint8, (rows, 16, 16, 1)) if kind == "images" else (np.float32, (rows, WIDTH))
    x = None if kind == "parquet" else np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=dtype, shape=shape)
    labels = []
    for start in range(0, rows, BLOCK):
        block = rng.normal(size=(min(BLOCK, rows - start), WIDTH)).astype(np.float32)
        labels.append((block @ weights > 0).astype(np.int64))
        if x is None:
            import polars as pl

            frame = pl.DataFrame({f"x{i}": block[:, i] for i in range(WIDTH)}).with_columns(y=pl.Series(labels[-1]))
            frame.write_parquet(folder / f"part{start // BLOCK:05d}.parquet", compression="lz4")
        else:
            block = np.clip(block * 40 + 128, 0, 255) if kind == "images" else block
            x[start : start + len(block)] = block.astype(dtype).reshape(-1, *shape[1:])
    if x is not None:
        x.flush()  # type: ignore[attr-defined]
        np.save(folder / "y.npy", np.concatenate(labels))
    return folder


def child(source: Path, stream: bool, network: str, epochs: int) -> None:
    """Train, and print examples a second of the later epochs, and the peak of resident memory."""
    import time

    import pellucid as pc

    class Clock(pc.Callback):
        ends: list[float] = []  # noqa: RUF012
        spent: list[float] = []  # noqa: RUF012

        def epoch_ended(self, event):
            self.ends.append(time.perf_counter())
            self.spent.append(time.process_time())

    began = time.perf_counter()
    run = pc.fit(
        network, source, stream=stream, epochs=epochs, batch_size=256, out=None, baselines=False, inspect=False,
        shuffle=os.environ.get("BENCH_SHUFFLE") or None, callbacks=[Clock()],
    )  # fmt: skip
    rows = run.result["rows"]["train"]
    later = Clock.ends[-1] - Clock.ends[0]
    print(json.dumps({
        "rate": rows * (epochs - 1) / later, "peak": run.result["peak_memory_bytes"], "loss": run.history[-1]["sample"],
        "processor": Clock.spent[-1] - Clock.spent[0],
        "waited": run.result["waiting_seconds"], "seconds": time.perf_counter() - began, "rows": rows,
        "until first epoch": Clock.ends[0] - began,
    }))  # fmt: skip


def measure(source: Path, stream: bool, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--child", str(source), "--network", options.network]
    command += ["--epochs", str(options.epochs), *(["--stream"] if stream else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(options: argparse.Namespace, folder: Path) -> None:
    bytes_a_row = WIDTH * (1 if options.kind == "images" else 4)
    rows = int(options.gb * 1e9 / bytes_a_row)
    some = min(rows, int(options.memory_gb * 1e9 / bytes_a_row))
    print(f"{options.gb:g} GB, {rows:,} rows of {options.kind}, network {options.network}, under {folder}", flush=True)
    base = measure(make(folder / "base", options.kind, 1000), True, options)["peak"]
    part = make(folder / "part", options.kind, some)
    rates: dict[str, list[float]] = {"memory": [], "disk": []}
    spent: dict[str, list[float]] = {"memory": [], "disk": []}
    for number in range(options.rounds):
        for name in rates:
            found = measure(part, name == "disk", options)
            rates[name].append(found["rate"])
            spent[name].append(found["processor"])
            told = ", ".join(f"{k} {v:,.1f}" for k, v in found.items() if isinstance(v, float))
            print(
                f"round {number + 1}, {name:<6} {told}, peak {found['peak'] / 1e6:,.0f} MB, {found['loss']}", flush=True
            )
    ratio = statistics.median(d / m for d, m in zip(rates["disk"], rates["memory"], strict=True))
    print(f"rate from disk / from memory: {ratio:.3f} (median of {options.rounds}), of {some:,} rows")
    ratio = statistics.median(m / d for d, m in zip(spent["disk"], spent["memory"], strict=True))
    print(f"processor time from memory / from disk: {ratio:.3f} (what a busy machine leaves of the comparison)")
    if some < rows:
        shutil.rmtree(part)
        part = make(folder / "whole", options.kind, rows)
    found = measure(part, True, options)
    beyond = (found["peak"] - base) / 1e6
    print(f"whole set: {found['rate']:,.0f} examples/s, peak {found['peak'] / 1e6:,.0f} MB, "
          f"{beyond:,.0f} MB beyond the same network on 1,000 rows ({base / 1e6:,.0f} MB)")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=10.0)
    parser.add_argument("--kind", choices=("arrays", "parquet", "images"), default="arrays")
    parser.add_argument("--memory-gb", type=float, default=4.0, help="of the set that is also trained in memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--network", default="mlp:128")
    parser.add_argument("--folder", type=Path, help="where the set is made; default: a temporary folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.stream, given.network, given.epochs)
    else:
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="pellucid-streaming-") as place:
            os.environ["XDG_CACHE_HOME"] = str(Path(place) / "cache")
            main(given, Path(place))
