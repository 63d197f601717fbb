"""A folder of images loaded for the first time, and from the cache, beside a plain Pillow pool of threads.

    python bench/image_folder.py --tar ../shared/data/cifar10-jpg.tar.xz     # unpacked into a temporary folder
    python bench/image_folder.py --folder photos --rounds 3

The pool decodes the same files, one after the other, into one uint8 array: no labels, no digests, no cache. Both take
the same number of threads, and the files are read once before, so that the disk plays no part.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

THREADS = min(16, os.cpu_count() or 1)  # as many as Pellucid takes
CONTENDERS = ("pellucid, first load", "pellucid, cached", "Pillow pool")


def images(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def pool(folder: Path) -> tuple[int, ...]:
    import numpy as np
    from PIL import Image

    paths = images(folder)
    with Image.open(paths[0]) as first:
        out = np.empty((len(paths), first.height, first.width, 3), np.uint8)

    def one(place: int) -> None:
        with Image.open(paths[place]) as image:
            out[place] = np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(one, range(len(paths))):
            pass
    return out.shape


def ours(folder: Path) -> tuple[int, ...]:
    from pellucid.data import load

    data = load(folder)
    parts = [part for part in (data, data.validation, data.test) if part is not None]
    return (sum(len(part) for part in parts), *parts[0].x.shape[1:])


def child(contender: str, folder: Path) -> None:
    import numpy  # noqa: F401  (imports are no part of it)
    import PIL.Image  # noqa: F401

    began = time.perf_counter()
    shape = pool(folder) if contender == "Pillow pool" else ours(folder)
    print(json.dumps({"seconds": time.perf_counter() - began, "shape": shape}))


def rounds(folder: Path, times: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for path in images(folder):
        Path(path).read_bytes()
    for number in range(1, times + 1):
        with tempfile.TemporaryDirectory() as cache:
            for contender in CONTENDERS:
                command = [sys.executable, __file__, "--folder", str(folder), "--child", contender]
                env = {**os.environ, "XDG_CACHE_HOME": cache}
                done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                seconds[contender].append(found["seconds"])
                print(f"round {number}: {contender:<21} {found['seconds']:7.2f} s  {found['shape']}", flush=True)
    return seconds


@contextmanager
def unpacked(tar: Path | None, folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
    elif tar is not None:
        with tempfile.TemporaryDirectory() as made, tarfile.open(tar) as archive:
            print(f"unpacking {tar} ...", flush=True)
            archive.extractall(made, filter="data")
            yield Path(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", type=Path)
    source.add_argument("--tar", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder)
        return
    with unpacked(args.tar, args.folder) as folder:
        seconds = rounds(folder, args.rounds)
    print(f"\nmedian of {args.rounds} rounds, {THREADS} threads")
    for contender, found in seconds.items():
        print(f"{contender:<21} {statistics.median(found):7.2f} s  ({min(found):.2f}-{max(found):.2f})")


if __name__ == "__main__":
    main()
