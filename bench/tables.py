"""From the journal's lines to tables: medians and quartiles, ratios, shares of the machine's limits, targets met."""

import functools
import statistics
from dataclasses import dataclass, replace
from typing import Any

from bench import flops
from bench.data import load
from bench.journal import Journal
from bench.rows import ROWS, Row

NAMES = {
    "pellucid": "Pellucid", "torch": "PyTorch", "torch-compile": "torch.compile", "keras": "Keras (JAX)",
    "flax": "Flax NNX", "equinox": "Equinox", "sklearn": "scikit-learn", "pellucid-cached": "Pellucid, cache filled",
    "torch-compile-cached": "torch.compile, cache filled",
}  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of all measurements of all rounds, in seconds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, middle, high)

    def __str__(self) -> str:
        shown = shown_time(self.middle)
        if self.low == self.high:
            return shown
        unit = shown.split()[1]
        return f"{shown} ({shown_time(self.low, unit)}-{shown_time(self.high, unit)})".replace(
            f" {unit}-", "-"
        ).replace(f" {unit})", ")")


def shown_time(seconds: float, unit: str | None = None) -> str:
    """Three digits and a unit.

    >>> shown_time(0.0000123), shown_time(0.5), shown_time(2.5), shown_time(0.0123, "µs")
    ('12.3 µs', '500 ms', '2.50 s', '12,300 µs')
    """
    unit = unit or ("µs" if seconds < 1e-3 else "ms" if seconds < 1 else "s")
    value = seconds * {"µs": 1e6, "ms": 1e3, "s": 1.0}[unit]
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


@dataclass(frozen=True)
class Result:
    """What a contender came to in a row, over all rounds; `why`: why it has no time, or why its time does not count."""

    time: Spread | None = None
    memory: int = 0  # bytes, the most of the rounds
    again: int = 0  # the least of them: of a round in which nothing was compiled, where there are several
    loss: float | None = None
    why: str = ""
    line: dict[str, Any] | None = None  # of the last round


def result(journal: Journal, row: Row, contender: str, batch: int | None = None) -> Result | None:
    """None where it has not run."""
    lines = journal.of(row.name, contender)
    good = [line for line in lines if line.get("seconds")]
    if not good:
        last = lines[-1] if lines else None
        return None if last is None else Result(why=last.get("skipped") or f"failed: {last.get('failed')}", line=last)
    key = str(batch)
    values = [s for line in good for s in (line["by_batch"][key] if batch else line["seconds"])]
    losses = [line["loss"] for line in good if line.get("loss") is not None]
    loss = statistics.median(losses) if losses else None
    peaks = [line["peak_memory_bytes"] for line in good]
    return Result(Spread.of(values), max(peaks), min(peaks), loss, line=good[-1])


def results(journal: Journal, row: Row, batch: int | None = None) -> dict[str, Result]:
    """By contender; one whose loss is not Pellucid's did other work, and its `why` says so."""
    found = {c: r for c in row.contenders if (r := result(journal, row, c, batch)) is not None}
    own = found["pellucid"].loss if "pellucid" in found else None
    for contender, one in found.items():
        if own is not None and one.loss is not None and abs(one.loss - own) > row.tolerance * max(own, 1.0):
            why = f"came to another loss: {one.loss:.4f}, Pellucid to {own:.4f}"
            found[contender] = replace(one, why=why)
    return found


def ratio(found: dict[str, Result]) -> tuple[float, str] | None:
    """(how many times Pellucid's time the best other takes, which one); None where either is missing."""
    own = found.get("pellucid")
    others = {
        c: r.time.middle
        for c, r in found.items()
        if c != "pellucid" and not c.endswith("-cached") and r.time is not None and not r.why
    }
    if own is None or own.time is None or not others:
        return None
    best = min(others, key=lambda c: others[c])
    return others[best] / own.time.middle, best


def limits(journal: Journal) -> dict[str, Any] | None:
    """{"sgemm": operations a second, "by": which library, at what size; "triad": bytes a second}, the best of all."""
    lines = [line for line in journal.of("limits") if line.get("sgemm")]
    if not lines:
        return None
    best, size, by = max((v, int(n), line["contender"]) for line in lines for n, v in line["sgemm"].items())
    return {"sgemm": best, "size": size, "by": by, "triad": max((x["triad"] or 0.0) for x in lines) or None}


def shares(row: Row, own: Result, limit: dict[str, Any] | None, batch: int | None) -> tuple[float | None, float | None]:
    """What Pellucid's time is of the machine's limits: (of its SGEMM, of its memory's bandwidth)."""
    if limit is None or own.time is None or row.model is None or row.kind not in ("train", "infer"):
        return None, None
    seconds, model = own.time.middle, row.model
    if row.kind == "infer":
        operations, moved = flops.forward(model) * (batch or 1), flops.parameters(model) * 4
    else:
        operations, moved = flops.training(model) * row.batch, flops.update_bytes(model, row.optimizer)
    moved += example_bytes(row) * (batch or row.batch)
    triad = limit["triad"]
    return operations / seconds / limit["sgemm"], moved / seconds / triad if triad else None


@functools.cache
def example_bytes(row: Row) -> int:
    """Bytes of one example as Pellucid keeps it (images as uint8)."""
    return load(replace(row, batch=1, batches=(), steps=1)).x.nbytes


def verdict(value: float, asked: float | None) -> str:
    if asked is None:
        return ""
    return f"{asked:g}: {'met' if value >= asked else 'missed'}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}" if value >= 0.095 else f"{value:.1%}"


def cell(found: Result | None) -> str:
    if found is None:
        return ""
    if found.time is None:
        return "skipped" if found.line and "skipped" in found.line else "failed"
    return f"{found.time}{' *' if found.why else ''}"


def table(journal: Journal, names: list[str], kind: str) -> list[str]:
    """The lines of a table (Markdown) of the rows of this kind; empty where nothing was measured."""
    rows = [ROWS[n] for n in names if ROWS[n].kind == kind and any(x.get("seconds") for x in journal.of(n))]
    if not rows:
        return []
    ran = [c for c in NAMES if any(journal.of(row.name, c) for row in rows)]
    columns = ["", *(NAMES[c] for c in ran), "best other / Pellucid", "asked"]
    columns += ["of SGEMM", "of bandwidth"] if kind in ("train", "infer") else []
    columns.append("peak memory, MiB: " + ", ".join(NAMES[c] for c in ran[:2]) + " (compiled before)")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    limit = limits(journal)
    for row in rows:
        for batch in row.batches or (None,):
            lines.append("| " + " | ".join(_line(journal, row, batch, ran, limit)) + " |")
    return lines


def _line(journal: Journal, row: Row, batch: int | None, ran: list[str], limit: dict[str, Any] | None) -> list[str]:
    found = results(journal, row, batch)
    compared = ratio(found)
    title = row.title if batch is None else f"{row.title}, batch {batch:,}"
    target = row.target if batch in (None, row.batches[:1] and row.batches[0]) else None
    cells = [title, *(cell(found.get(c)) for c in ran)]
    cells.append(f"**{compared[0]:.2f}** ({NAMES[compared[1]]})" if compared else "")
    cells.append(verdict(compared[0], target) if compared else "")
    if row.kind in ("train", "infer"):
        own = found.get("pellucid") or Result()
        gemm, memory = shares(row, own, limit, batch)
        asked = f" ({verdict(gemm, row.of_limit)})" if gemm is not None and row.of_limit is not None else ""
        cells += [percent(gemm) + asked, percent(memory)]
    cells.append(", ".join(_memory(found.get(c)) for c in ran[:2]))
    return cells


def _memory(found: Result | None) -> str:
    if found is None or not found.time:
        return "-"
    most, least = f"{found.memory / 2**20:,.0f}", f"{found.again / 2**20:,.0f}"
    return most if most == least else f"{most} ({least})"


def remarks(journal: Journal, names: list[str]) -> list[str]:
    """What a table's marks mean, one line each: who was skipped, failed, or did other work."""
    found: dict[str, list[str]] = {}
    for name in names:
        for contender, one in results(journal, ROWS[name]).items():
            if one.why:
                found.setdefault(f"{NAMES[contender]}: {one.why}", []).append(name)
    return [f"- {why} ({', '.join(rows)})" for why, rows in found.items()]
