"""An encoder and a decoder learn to reverse and to sort strings. (Sutskever et al. 2014; Luong et al. 2015)

Pairs of random lower-case strings of 1 to 8 letters, one pair a line and a tab between, are written to a file, and a
network `seq2seq` learns from it what happens to the letters. No string of the test part is in the training part; one is
right where all its letters and its end are. The same with the command line:

    python examples/reverse_and_sort.py --write pairs               # pairs/reverse.tsv and pairs/sort.tsv, no training
    pellucid train pairs/sort.tsv --task pairs --network seq2seq:128 --epochs 12 --batch-size 64 --out runs/sort
    pellucid predict runs/sort new.tsv                              # a column named source, a string a line

    python examples/reverse_and_sort.py                             # a few minutes on two cores
    python examples/reverse_and_sort.py --quick                     # seconds; learns nothing
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import pellucid as pc

TASKS = {"reverse": lambda text: text[::-1], "sort": lambda text: "".join(sorted(text))}
NEW = ["pellucid", "network", "memory", "zyxw", "banana", "a"]
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def strings(n, seed, longest=8):
    """`n` different strings of 1 to `longest` letters, none of them in NEW."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < n:
        found["".join(LETTERS[rng.integers(0, 26, rng.integers(1, longest + 1))])] = True
        for text in NEW:
            found.pop(text, None)
    return list(found)


def write_pairs(path, texts, change):
    """A file of pairs with a header, as `pellucid train` reads it."""
    lines = [f"{text}\t{change(text)}\n" for text in texts]
    path.write_text("source\ttarget\n" + "".join(lines), encoding="utf-8")
    return path


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--quick", action="store_true", help="tiny settings that only show that it runs")
    words.add_argument("--write", metavar="DIR", help="only write the pairs, into this folder")
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    n, width, epochs = (500, 16, 1) if given.quick else (20_000, 128, 12)
    texts = strings(n, given.seed)
    if given.write:
        folder = Path(given.write)
        folder.mkdir(parents=True, exist_ok=True)
        for name, change in TASKS.items():
            print(f"{len(texts):,} pairs in {write_pairs(folder / f'{name}.tsv', texts, change)}")
        return
    for name, change in TASKS.items():
        with tempfile.TemporaryDirectory() as folder:
            pairs = write_pairs(Path(folder) / f"{name}.tsv", texts, change)
            run = pc.fit(
                f"seq2seq:{width}", pairs, task="pairs", epochs=epochs, batch_size=64, patience=1000, seed=given.seed,
                out=None, baselines=False,
            )  # fmt: skip
        rows, test = run.result["rows"], run.result["test"]
        print(
            f"{name}: exact match {test['exact_match']:.4f} of {rows['test']:,} unseen strings, {rows['train']:,} to "
            f"learn from, {run.result['steps']:,} updates, {run.result['seconds']:.0f} s"
        )
        for text, answer in zip(NEW, run.network.predict(NEW), strict=True):
            print(f"    {text:10} -> {answer:10} {'right' if answer == change(text) else 'wrong'}")


if __name__ == "__main__":
    main()
