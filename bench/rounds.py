"""What the benchmarks share: each contender in a process of its own, those of a round one after the other."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def arguments(about: str | None, rows: Iterable[str], contenders: Iterable[str]) -> argparse.Namespace:
    """`--row`, `--contender`, `--rounds`, and `--child`, by which a process is told to run one contender."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=rows, action="append")
    parser.add_argument("--contender", choices=contenders, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def told(rounds: int) -> str:
    return f"Python {platform.python_version()}, {platform.machine()}; median of {rounds} rounds, alternating"


def answer(one: Callable[[str, str], dict[str, Any]], args: argparse.Namespace) -> None:
    """What a child process prints: what `one(contender, row)` found, and its peak memory."""
    found = one(args.contender[0], args.row[0])
    from pellucid.outcome import peak_memory  # not before: what it imports is no part of another library's memory

    print(json.dumps({**found, "peak_memory_bytes": peak_memory()}))


def alternate(
    script: str, row: str, contenders: Sequence[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, int], int]:
    """(median seconds of an epoch in each round, peak memory in bytes, steps of an epoch), by contender."""
    times: dict[str, list[float]] = {c: [] for c in contenders}
    memory: dict[str, int] = dict.fromkeys(contenders, 0)
    steps = 1
    for _ in range(rounds):
        for contender in contenders:
            command = [sys.executable, script, "--child", "--row", row, "--contender", contender]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{contender} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            times[contender].append(statistics.median(found["seconds"]))
            memory[contender] = max(memory[contender], found["peak_memory_bytes"])
            steps = found["steps"]
    return times, memory, steps
