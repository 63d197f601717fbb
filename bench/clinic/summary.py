"""docs/clinic.md, from the rows of results: definitions, tables, intervals, and the command behind each figure."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median
from typing import Any

import families
import numpy as np
from check import LEAST, beyond_noise
from intervals import clustered, share

Row = dict[str, Any]
Rows = list[Row]

COST = (
    "Cost of a step: `python bench/overhead.py` prints it beside that of a run without signals (docs/performance.md).\n"
)
WORST = -20.0  # what a run that diverged counts as
DEFINITIONS = Path(__file__).with_name("definitions.md")


def write(rows: Rows, path: Path, source: Path) -> None:
    latest = list({(r["id"], r["seed"], r["repair"]): r for r in rows}.values())
    found = [r for r in latest if not r["repair"]] or latest
    parts = [_definitions(), f"All figures: `python bench/clinic/run.py --seeds {_seeds(found)}`, then "
             "`python bench/clinic/run.py --summary docs/clinic.md`.\n"]  # fmt: skip
    for half in ("report", "develop"):
        mine = [r for r in found if r["half"] == half]
        if mine:
            parts.append(_half(mine, half))
    if repaired := [r for r in latest if r.get("repaired")]:
        parts.append(_repairs(repaired))
    parts.append(COST)
    parts.append(_left_out())
    text = "\n".join(parts)
    title, rest = text.split("\n", 1)
    text = f"{title}\n\n{_by_hand(path)}{rest}"
    path.write_text(text)
    print(text)


def _by_hand(path: Path) -> str:
    """What a person wrote on the page, between its two marks, which stays."""
    begin, end = "<!-- by hand: begin -->", "<!-- by hand: end -->"
    old = path.read_text() if path.is_file() else ""
    return f"{begin}{old.split(begin, 1)[1].split(end, 1)[0]}{end}\n" if begin in old and end in old else ""


def _definitions() -> str:
    import healthy
    import published

    every = families.cases()
    return DEFINITIONS.read_text().format(
        published=len(published.cases()), generated=len(every), healthy=len(healthy.cases()),
        families=len({c.family for c in every}),
    )  # fmt: skip


def _seeds(rows: Rows) -> int:
    return 1 + max((r["seed"] for r in rows), default=0)


# -- what a row says ----------------------------------------------------------------------------------------------


def alarms(row: Row) -> list[Row]:
    return [f for f in row["findings"] if f["severity"] != "note"]


def detected(row: Row) -> bool:
    return bool(alarms(row))


def named_first(row: Row) -> bool:
    found = alarms(row)
    return bool(found) and found[0]["problem"] in row["right"]


def named(row: Row) -> bool:
    return any(f["problem"] in row["right"] for f in alarms(row))


def located(row: Row) -> bool:
    places = [f["layer"] or "" for f in alarms(row) if f["problem"] in row["right"]]
    return any(p == layer or p.startswith(layer + "/") for p in places for layer in row["layers"])


def after(row: Row) -> float | None:
    """When the right cause began, as a share of the run; None where it is not named, or no step is told."""
    steps = row["result"].get("steps") or 0
    found = [f["step"] for f in alarms(row) if f["problem"] in row["right"] and f["step"] is not None]
    return min(found) / steps if found and steps else None


def faulty(rows: Iterable[Row]) -> Rows:
    """With a fault that has a name in the doctor's words."""
    return [r for r in rows if r["causes"]]


def healthy(rows: Iterable[Row]) -> Rows:
    return [r for r in rows if r["family"] == "healthy" or r["part"] == "healthy"]


# -- tables -------------------------------------------------------------------------------------------------------


def _rate(rows: Rows, what: Callable[[Row], bool]) -> str:
    if not rows:
        return "-"
    hits = [what(r) for r in rows]
    text = share(sum(hits), len(rows))
    cases = {r["id"] for r in rows}
    if len(cases) == len(rows):
        return text
    low, high = clustered([(r["id"], float(h)) for r, h in zip(rows, hits, strict=True)])
    return f"{text}; by cases {100 * low:.1f} to {100 * high:.1f}"


def _half(rows: Rows, half: str) -> str:
    lines = [f"## The {half} half\n", "| part | cases | runs | detected | root cause first | named at all |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    groups = [
        ("published, tier A", [r for r in rows if r["tier"] == "A"]),
        ("published, tiers B and C", [r for r in rows if r["tier"] in ("B", "C")]),
        ("generated", [r for r in rows if r["part"] == "generated"]),
    ]
    for title, group in groups:
        group = faulty(group)
        lines.append(
            f"| {title} | {len({r['id'] for r in group})} | {len(group)} | {_rate(group, detected)} | "
            f"{_rate(group, named_first)} | {_rate(group, named)} |"
        )
    lines += [
        "",
        _troubles(rows),
        "",
        *_healthy(rows),
        "",
        *_where_and_when(rows),
        "",
        *_by_problem(rows),
        "",
        *_confusion(rows),
        "",
    ]
    return "\n".join(lines)


def _troubles(rows: Rows) -> str:
    """Runs that ended in another way than with a result: none of them counts as detected unless findings came of it."""
    kinds = Counter((r["trouble"] or "").splitlines()[0].partition(":")[0] for r in rows if r["trouble"])
    return "Runs that did not end well: " + (", ".join(f"{k} ({n})" for k, n in kinds.most_common()) or "none") + "."


def _healthy(rows: Rows) -> list[str]:
    every = healthy(rows)
    fine = [r for r in every if r["fine"]]
    lines = ["| controls | cases | healthy runs | false alarms | notes |", "|---|---|---|---|---|"]
    kinds = sorted({r["family"] for r in fine})
    for title, group in [("all", fine), *((k, [r for r in fine if r["family"] == k]) for k in kinds)]:
        notes = sum(any(f["severity"] == "note" for f in r["findings"]) for r in group)
        cases = len({r["id"] for r in group})
        lines.append(f"| {title} | {cases} | {len(group)} | {_rate(group, detected)} | {notes} runs |")
    said = Counter(f["problem"] for r in fine for f in alarms(r))
    told = ", ".join(f"{name} ({count})" for name, count in said.most_common()) or "nothing"
    return [*lines, "", f"What the false alarms said: {told}. "
            f"{len(every) - len(fine)} runs of controls turned out not to be healthy, and are left out."]  # fmt: skip


def _where_and_when(rows: Rows) -> list[str]:
    placed = [r for r in rows if r["layers"] and named(r)]
    times = [t for r in faulty(rows) if (t := after(r)) is not None]
    when = "-"
    if times:
        low, high = clustered([(r["id"], t) for r in faulty(rows) if (t := after(r)) is not None])
        when = f"median {100 * median(times):.1f} %, mean {100 * mean(times):.1f} % of a run"
        when += f" ({100 * low:.1f} to {100 * high:.1f})"
    return [
        f"Located: {_rate(placed, located)}.",
        "",
        f"Updates until the named cause began: {when} ({len(times)} runs).",
    ]


def _by_problem(rows: Rows) -> list[str]:
    lines = ["| planted | cases | runs | detected | root cause first |", "|---|---|---|---|---|"]
    group = [r for r in rows if r["part"] == "generated"]
    for family in sorted({r["family"] for r in group}):
        mine = [r for r in group if r["family"] == family]
        cases = len({r["id"] for r in mine})
        lines.append(f"| {family} | {cases} | {len(mine)} | {_rate(mine, detected)} | {_rate(mine, named_first)} |")
    return lines if len(lines) > 2 else []


def _confusion(rows: Rows) -> list[str]:
    """What was named first instead."""
    lines = ["| planted | named first instead (runs) |", "|---|---|"]
    wrong = [r for r in faulty(rows) if not named_first(r)]
    label = lambda r: r["family"] if r["part"] == "generated" else f"{r['id']} ({r['tier']})"  # noqa: E731
    for planted in sorted({label(r) for r in wrong}):
        said = Counter(alarms(r)[0]["problem"] if alarms(r) else "nothing" for r in wrong if label(r) == planted)
        lines.append(f"| {planted} | {', '.join(f'{name} ({n})' for name, n in said.most_common())} |")
    return lines


REPAIRED = (
    "cases | runs | repaired by the doctor | by random search | doctor less random | worse by the doctor | trainings |"
)


def _repairs(rows: Rows) -> str:
    """Repaired, by the doctor and by random search, over the cases that are repairable."""
    known = families.checked()
    by: dict[str, Rows] = {}
    for row in rows:
        if known.get(row["id"], {}).get("repairable"):
            by.setdefault(row["id"], []).append(row)
    lines = [
        "## Repair\n",
        f"`python bench/clinic/run.py --part generated --repair --seeds {_seeds(rows)}`. A gain is more than "
        "0.03 of a score or 0.05 of a loss, and beyond the noise of the seeds where there are several. `trainings`: "
        "what the doctor spent on trials and trainings, in whole ones of the run; random search had as many.\n",
        f"| half | {REPAIRED}", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    halves = {half: [group for group in by.values() if group[0]["half"] == half] for half in ("report", "develop")}
    lines += [_repair_line(half, groups) for half, groups in halves.items() if groups]
    for half, groups in halves.items():
        if groups:
            lines += ["", f"| planted ({half}) | {REPAIRED}", "|---|---|---|---|---|---|---|---|"]
        for family in sorted({group[0]["family"] for group in groups}):
            lines.append(_repair_line(family, [group for group in groups if group[0]["family"] == family]))
    return "\n".join([*lines, ""])


def _repair_line(title: str, groups: list[Rows]) -> str:
    """Of all the cases of a half or a family."""
    verdicts = [_gains(group) for group in groups]
    good, random, worse = (sum(v[i] for v in verdicts) for i in range(3))
    n = len(groups)
    low, high = clustered([(g[0]["id"], float(v[0]) - float(v[1])) for g, v in zip(groups, verdicts, strict=True)])
    ahead = f"{100 * (good - random) / n:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f})"
    tries = mean(r["repaired"]["tries"] for group in groups for r in group)
    shares = " | ".join((share(good, n), share(random, n), ahead, share(worse, n)))
    return f"| {title} | {n} | {sum(map(len, groups))} | {shares} | {tries:.1f} |"


def _gains(group: Rows) -> tuple[bool, bool, bool]:
    """Whether the doctor gained, random search gained, the doctor lost: beyond the noise of the seeds, and by as much
    as counts as harm (`check.LEAST`)."""
    read = lambda name: np.clip([float(r["repaired"][name]) for r in group], WORST, 1e6)  # noqa: E731
    least = LEAST[families.measure_of(group[0]["id"])]
    doctor, random = read("doctor") - read("unchanged"), read("random") - read("unchanged")

    def beyond(gain: np.ndarray) -> bool:
        return bool(gain.mean() > least and (len(gain) == 1 or beyond_noise(gain)))

    return beyond(doctor), beyond(random), beyond(-doctor)


def _left_out() -> str:
    import published

    lines = ["## What is left out\n"]
    lines += [f"- {id}: {why}" for id, why in published.LEFT_OUT.items()]
    known = json.loads(families.CHECKED.read_text()) if families.CHECKED.is_file() else {}
    harmless = Counter(
        c.family for c in families.cases(all_planted=True) if not known.get(c.id, {}).get("harmful", True)
    )
    lines += [f"- {family}: {count} planted faults that do no harm" for family, count in sorted(harmless.items())]
    lines.append(
        "- nonfinite_data is not planted: gaps in tables are filled, and refused elsewhere, before a network sees them"
    )
    return "\n".join([*lines, ""])
