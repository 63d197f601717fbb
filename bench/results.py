"""The scores of the defaults, beside simple models on the same splits. Writes the table of docs/results.md.

    python bench/results.py                    # all sets, 5 seeds (iris and diabetes, with small test parts: 20)
    python bench/results.py --set digits --seeds 20

Every seed draws its own split and its own initial weights; the best epoch is chosen on validation and the score is the
test's. MNIST is read from ../shared/data/mnist and left out where that is not there.
"""

import argparse
import statistics
import time
from pathlib import Path

from pellucid.fit import fit

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
SETS = {  # name: (source, network, seeds, what is asked for)
    "iris": ("iris", "mlp", 20, "accuracy >= 0.94"),
    "wine": ("wine", "mlp", 5, "accuracy >= 0.94"),
    "breast-cancer": ("breast-cancer", "mlp", 5, "accuracy >= 0.94"),
    "digits": ("digits", "mlp", 5, "accuracy >= 0.97"),
    "diabetes": ("diabetes", "mlp", 20, "R² >= ridge - 0.03"),
    "mnist-100": (MNIST, "mlp:100", 5, "accuracy >= 0.978"),
    "mnist-512-256": (MNIST, "mlp:512,256", 5, "accuracy >= 0.983"),
}


def one(name: str, seeds: int | None) -> str:
    source, network, usual, wanted = SETS[name]
    scores, linear, trees, seconds = [], [], [], []
    for seed in range(seeds or usual):
        began = time.perf_counter()
        small = source != MNIST
        result = fit(network, source, seed=seed, out=None, baselines=small).result
        seconds.append(time.perf_counter() - began)
        metric = result["metric"]
        scores.append(result["test"][metric])
        other = {b["name"]: b["test"] for b in result["baselines"]}
        linear.append(other.get("linear", float("nan")))
        trees.append(other.get("boosted trees", float("nan")))
    shown = [f"{statistics.mean(v):.4f}" if v[0] == v[0] else "" for v in (linear, trees)]
    low, high = min(scores), max(scores)
    return (
        f"| {name} | `{network}` | {len(scores)} | **{statistics.mean(scores):.4f}** ({low:.4f} to {high:.4f}) | "
        f"{shown[0]} | {shown[1]} | {wanted} | {statistics.median(seconds):.1f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, action="append")
    parser.add_argument("--seeds", type=int)
    args = parser.parse_args()
    print("| set | network | seeds | test: mean (least to most) | linear | boosted trees | asked for | a run takes |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.set or SETS:
        if SETS[name][0] == MNIST and not MNIST.is_dir():
            continue
        print(one(name, args.seeds), flush=True)


if __name__ == "__main__":
    main()
