"""The rounds: each contender in a process of its own, those of a round one after the other, all measured alike."""

import compileall
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench import limits, process
from bench.journal import Journal
from bench.process import ROOT
from bench.rows import MAIN, ROWS, Row

NEEDS = {"pellucid": "jax", "sklearn": "sklearn"}  # the module of a contender, where it has another name
NEAR = 1.5  # one that took so many times the least in the first round does not run in the further ones
KEPT = ("train", "infer", "limits")  # kinds of rows whose compiled programs are kept from round to round
Tell = Callable[[str], None]


def missing(contender: str) -> str:
    """Why this contender cannot run here; empty where it can."""
    base = contender.partition("-")[0]
    if importlib.util.find_spec(NEEDS.get(base, base)) is None:
        return f"{base} is not installed"
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if contender.startswith("torch-compile") and not any(c and shutil.which(c) for c in compilers):
        return "there is no C++ compiler"
    return ""


def environment(folder: Path, contender: str, kind: str) -> dict[str, str]:
    """The environment of a contender's process. Steps and calls are timed with compiled programs kept in `folder` from
    round to round, for all libraries alike; of a start, only for a contender "-cached"."""
    # an installed Pellucid is the one that is measured, for it has the native kernels that were built with it
    source = "" if importlib.util.find_spec("pellucid") else str(ROOT / "src")
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), source, str(ROOT))))
    env = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    env["BENCH_STARTED"] = repr(time.time())
    if kind not in KEPT:
        env |= {"XDG_CACHE_HOME": str(folder), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
        env.pop("JAX_COMPILATION_CACHE_DIR", None)
    else:
        env |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "jax"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
        env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return env


def measure(row: str, kind: str, contender: str, cap: float, cache: Path) -> dict[str, Any]:
    """What one process of a contender finds, or {"failed": why}."""
    if kind == "shell":
        from bench import shell

        with tempfile.TemporaryDirectory() as folder:
            return shell.measured(contender, cap, environment(Path(folder), contender, kind), Path(folder))
    command = [sys.executable, "-W", "ignore", "-m", "bench.child", kind, row, contender]
    if kind in KEPT:
        return _told(process.run(command, cap, environment(cache, contender, kind)))
    with tempfile.TemporaryDirectory() as folder:  # an empty cache; filled by a first, uncounted run where it is asked
        if contender.endswith("-cached"):
            process.run(command, cap, environment(Path(folder), contender, kind))
        return _told(process.run(command, cap, environment(Path(folder), contender, kind)))


def _told(done: process.Done) -> dict[str, Any]:
    facts = {"others": done.others, "process_seconds": done.seconds}
    if done.trouble:
        return {"failed": done.trouble, **facts}
    return {**json.loads(done.out.splitlines()[-1]), **facts}


def alternate(
    journal: Journal, names: Iterable[str], peers: Iterable[str] | None, rounds: int, cap: float, tell: Tell
) -> None:
    """Run what the journal does not hold yet: the machine's limits, then row by row, round by round."""
    cache = journal.path.with_suffix(".cache").resolve()
    _as_installed()
    for library in limits.CONTENDERS:
        _one(journal, Row("limits", "", "limits"), library, 1, cap, cache, tell)
    wanted = None if peers is None else {"pellucid", *peers}
    for name in names:
        row = ROWS[name]
        chosen = [c for c in row.contenders if wanted is None or c in wanted or c.removesuffix("-cached") in wanted]
        for round_ in range(1, min(rounds, row.rounds) + 1):
            for contender in chosen if round_ == 1 else near(journal, row, chosen):
                _one(journal, row, contender, round_, cap, cache, tell)


def _as_installed() -> None:
    """Pellucid's byte code is there before its first start, as pip leaves it, and as that of the others is."""
    found = importlib.util.find_spec("pellucid")
    source = Path(found.origin).parent if found and found.origin else ROOT / "src" / "pellucid"
    compileall.compile_dir(source, quiet=2)


def near(journal: Journal, row: Row, chosen: list[str]) -> list[str]:
    """Those whom another round could move: Pellucid, PyTorch, and who came near the best in the first."""
    first = {c: line["seconds"] for c in chosen for line in journal.of(row.name, c) if line.get("seconds")}
    middle = {c: statistics.median(seconds) for c, seconds in first.items()}
    return [c for c in chosen if c in middle and (c in MAIN or middle[c] <= NEAR * min(middle.values()))]


def _one(journal: Journal, row: Row, contender: str, round_: int, cap: float, cache: Path, tell: Tell) -> None:
    if journal.has(row.name, contender, round_):
        return
    about = {"row": row.name, "contender": contender, "round": round_, "at": time.time(), "load": load()}
    found = {"skipped": why} if (why := missing(contender)) else measure(row.name, row.kind, contender, cap, cache)
    journal.add({**about, **found})
    tell(f"{row.name:<16} round {round_}  {contender:<20} {said(found)}")


def load() -> float | None:
    """The system's load average of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def said(found: dict[str, Any]) -> str:
    """One line about what a process found."""
    if "skipped" in found:
        return f"skipped: {found['skipped']}"
    if "failed" in found:
        return f"failed: {found['failed']}"
    busy = found.get("others")
    warning = f"   others took {busy:.0%} of the machine" if busy is not None and busy > 0.1 else ""
    if "sgemm" in found:
        return f"{max(found['sgemm'].values()) / 1e9:.0f} GFLOP/s{warning}"
    from bench.tables import shown_time

    return f"{shown_time(statistics.median(found['seconds']))}{warning}"
