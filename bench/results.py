"""The scores of the defaults, beside simple models on the same splits. Writes the tables of docs/results.md.

    python bench/results.py                    # all sets, 5 seeds (iris and diabetes, with small test parts: 20)
    python bench/results.py --set digits --seeds 20

Every seed draws its own split and its own initial weights; the best epoch is chosen on validation and the score is the
test's (of texts: the validation loss). MNIST, CIFAR-10 (a tar.xz of class folders, unpacked on first use) and
tinyshakespeare are read from ../shared/data and left out where that is not there.
"""

import argparse
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from pellucid.fit import fit

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MNIST, TEXT = SHARED / "mnist", SHARED / "tinyshakespeare.txt"
CIFAR = Path(tempfile.gettempdir()) / "pellucid-bench-cifar10"
SETS: dict[str, tuple[Any, str, int, str, dict[str, Any]]] = {  # source, network, seeds, what is asked for, settings
    "iris": ("iris", "mlp", 20, "accuracy >= 0.94", {}),
    "wine": ("wine", "mlp", 5, "accuracy >= 0.94", {}),
    "breast-cancer": ("breast-cancer", "mlp", 5, "accuracy >= 0.94", {}),
    "digits": ("digits", "mlp", 5, "accuracy >= 0.97", {}),
    "diabetes": ("diabetes", "mlp", 20, "R² >= ridge - 0.03", {}),
    "mnist-100": (MNIST, "mlp:100", 5, "accuracy >= 0.978", {}),
    "mnist-512-256": (MNIST, "mlp:512,256", 5, "accuracy >= 0.983", {}),
    "mnist-cnn": (MNIST, "cnn", 3, "accuracy >= 0.992 in 5 epochs", {"epochs": 5}),
    "cifar-cnn": (CIFAR, "cnn", 1, "accuracy >= 0.75 in 15 minutes", {"epochs": 12, "augment": "flip,crop:4"}),
    "shakespeare-lstm": (TEXT, "lstm:256", 1, "loss <= 1.58", {"epochs": 8}),
    "shakespeare-transformer": (
        TEXT, "transformer", 1, "loss <= 1.88", {"steps": 2000, "batch_size": 12, "context": 64},
    ),
}  # fmt: skip


def one(name: str, seeds: int | None) -> str:
    source, network, usual, wanted, settings = SETS[name]
    scores, linear, trees, seconds = [], [], [], []
    for seed in range(seeds or usual):
        began = time.perf_counter()
        result = fit(network, source, seed=seed, out=None, baselines=isinstance(source, str), **settings).result
        seconds.append(time.perf_counter() - began)
        metric = result["metric"]
        scores.append(result["test" if metric != "loss" else "validation"][metric])
        other = {b["name"]: b["test"] for b in result["baselines"]}
        linear.append(other.get("linear", float("nan")))
        trees.append(other.get("boosted trees", float("nan")))
    shown = [f"{statistics.mean(v):.4f}" if v[0] == v[0] else "" for v in (linear, trees)]
    low, high = min(scores), max(scores)
    return (
        f"| {name} | `{network}` | {len(scores)} | **{statistics.mean(scores):.4f}** ({low:.4f} to {high:.4f}) | "
        f"{shown[0]} | {shown[1]} | {wanted} | {statistics.median(seconds):.1f} s |"
    )


def there(source: Any) -> bool:
    if source == CIFAR and not CIFAR.is_dir() and (SHARED / "cifar10-jpg.tar.xz").is_file():
        with tarfile.open(SHARED / "cifar10-jpg.tar.xz") as archive:
            archive.extractall(CIFAR, filter="data")
    return isinstance(source, str) or source.exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, action="append")
    parser.add_argument("--seeds", type=int)
    args = parser.parse_args()
    print("| set | network | seeds | test: mean (least to most) | linear | boosted trees | asked for | a run takes |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.set or SETS:
        if there(SETS[name][0]):
            print(one(name, args.seeds), flush=True)


if __name__ == "__main__":
    main()
