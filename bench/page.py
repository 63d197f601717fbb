"""The whole of what was found, as Markdown; and its place in docs/performance.md, between two marks."""

import datetime
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from bench import alternate, tables
from bench.journal import Journal, cpu, versions
from bench.process import ROOT
from bench.rows import ROWS

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- python -m bench --write: begin -->", "<!-- python -m bench --write: end -->"
BUSY = 0.1  # the share of the machine that others may take before a warning
HEADINGS = {
    "train": ("A training step", "One step of training, batches gathered, evaluation left out."),
    "infer": ("Inference", "One call, from a NumPy array to a NumPy array: `net(x)` and what others have for it."),
    "reach": ("Time to a score", "From the data in memory to the score, compiling and evaluations included."),
    "cold": ("Cold start", "From the start of the process, imports and compiling included, without a compile cache."),
    "shell": (
        "From a cold shell to a result",
        "The whole process, no compile cache: `pellucid train` with signals, doctor, baselines, checkpoints and "
        "report, and a short PyTorch script that does nothing but train (`bench/scripts/mnist_torch.py`).",
    ),
}


def markdown(journal: Journal, names: list[str], command: str) -> str:
    """All tables, with what they stand on."""
    parts = [header(journal, command)]
    for kind, (title, about) in HEADINGS.items():
        if lines := tables.table(journal, names, kind):
            parts.append(f"### {title}\n\n{about}\n\n" + "\n".join(lines))
    if remarks := tables.remarks(journal, names):
        parts.append("Not in the ratios (`*`, skipped, failed):\n\n" + "\n".join(remarks))
    parts.append(summary(journal, names))
    return "\n\n".join(parts) + "\n"


def header(journal: Journal, command: str) -> str:
    """Machine, versions, command, date, load, limits."""
    found = ", ".join(f"{name} {v}" for name, v in versions().items() if v)
    times = [line["at"] for line in journal.lines] or [0.0]
    day = datetime.datetime.fromtimestamp(min(times), datetime.UTC).date()
    loads = [line["load"] for line in journal.lines if line.get("load") is not None]
    lines = [
        f"Measured on {day} on {cpu()}, {len(_cores())} cores, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}: {found}. By `{command}`."
    ]
    if loads:
        lines.append(f"Load average before a process: {min(loads)} to {max(loads)}, median {statistics.median(loads)}.")
    if warning := busy(journal):
        lines.append(warning)
    if limit := tables.limits(journal):
        triad = f", memory bandwidth (triad) {limit['triad'] / 1e9:.1f} GB/s" if limit["triad"] else ""
        lines.append(
            f"The machine's limits, measured in the same run: SGEMM {limit['sgemm'] / 1e9:.0f} GFLOP/s ({limit['by']}, "
            f"{limit['size']} x {limit['size']}){triad}."
        )
    if kernels := native():
        lines.append(f"`pellucid verify --machine` says:\n\n```\n{kernels}\n```")
    elif used := sorted({line["kernels"] for line in journal.lines if "kernels" in line}):
        lines.append(f"Pellucid's kernels: {'; '.join(used)}.")
    lines.append(
        "Every contender ran in a process of its own, in turn, on the same cores, from the same initial weights over "
        "the same batches in float32, and came to the same loss. Medians, and quartiles in brackets; ratios above 1 "
        "are in Pellucid's favour. Shares of SGEMM count the products of `bench/models.py`; shares of bandwidth what "
        "a step must read and write at the least (weights, moments, batch), which may lie in a cache."
    )
    return "\n\n".join(lines)


def busy(journal: Journal) -> str:
    """A warning where others used the machine meanwhile; empty where they did not, or it cannot be told."""
    shares = [line["others"] for line in journal.lines if line.get("others") is not None]
    high = sum(share > BUSY for share in shares)
    if not high:
        return ""
    worst = max(shares)
    return (
        f"**The machine was not quiet**: during {high} of {len(shares)} processes others took more than {BUSY:.0%} "
        f"of it (at most {worst:.0%})."
    )


def summary(journal: Journal, names: list[str]) -> str:
    """Which targets are met, and which are not."""
    met, missed, compiling, before = [], [], [], []
    for name in names:
        row = ROWS[name]
        batch = row.batches[0] if row.batches else None
        found = tables.results(journal, row, batch)
        own, torch = found.get("pellucid"), found.get("torch")
        compared = tables.ratio(found)
        if row.target is not None and compared is not None:
            (met if compared[0] >= row.target else missed).append(f"{name} ({compared[0]:.2f} of {row.target:g})")
        if row.of_limit is not None and own is not None:
            share, _ = tables.shares(row, own, tables.limits(journal), batch)
            if share is not None:
                told = f"{name} ({share:.0%} of SGEMM, of {row.of_limit:.0%})"
                (met if share >= row.of_limit else missed).append(told)
        if own and torch and own.time and torch.time and row.kind in ("train", "infer"):
            compiling += [name] if own.memory > torch.memory else []
            before += [name] if own.again > torch.memory else []
    lines = [f"Targets met: {', '.join(met) or 'none'}.", f"Missed: {', '.join(missed) or 'none'}."]
    if any(ROWS[name].kind in ("train", "infer") for name in names):
        lines.append(
            f"More memory than PyTorch where Pellucid compiles: {', '.join(compiling) or 'none'}. "
            f"Compiled before: {', '.join(before) or 'none'}."
        )
    return "### Targets\n\n" + "\n\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the marks of the page; all else stays as it is."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines\n{BEGIN}\n{END}\nbetween which to write")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def native() -> str:
    """What `pellucid verify --machine` says of native kernels; empty where there is no such command."""
    command = [sys.executable, "-m", "pellucid", "verify", "--machine"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=alternate.environment(ROOT, "", "cold")
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cores() -> set[int]:
    import os

    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
