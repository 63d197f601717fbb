"""The clinic: does the doctor find what is wrong, name its cause, and stay silent where nothing is?

    python bench/clinic/run.py                                   # all cases, 5 seeds; goes on where it stopped
    python bench/clinic/run.py --part generated --half develop --seeds 1
    python bench/clinic/run.py --summary docs/clinic.md          # the tables, from results.jsonl
    python bench/clinic/run.py --id dead_units --seeds 1 --show  # cases whose id has this in it, told one by one
    python bench/clinic/run.py --half report --shard 1/2 &       # the cases with odd numbers; beside it --shard 2/2

Three parts: published faulty programs (`published.py`), faults planted into networks that learn (`families.py`), and
healthy controls (`healthy.py`). Each case belongs to one of two halves, by a hash of its id: thresholds may be looked
for on "develop", and never on "report".

It runs at the lowest priority and can be stopped at any time (Ctrl-C, SIGTERM); the same command goes on, for each run
is a line of the results, written as a whole when it is done.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from case import HALVES, PARTS, Case

CASES_A_PROCESS = 40  # what XLA compiled stays in memory: begin anew after so many


class OverTime(Exception):
    pass


def all_cases(part: str) -> list[Case]:
    import families
    import healthy
    import published

    return {"published": published, "generated": families, "healthy": healthy}[part].cases()


def chosen(args: argparse.Namespace) -> list[Case]:
    found = [case for part in args.part or PARTS for case in all_cases(part)]
    found = [c for c in found if args.half in (None, c.half) and any(i in c.id for i in args.id or [""])]
    if args.repair:  # what no setting mends tells nothing of repairs
        from families import repairable

        found = [c for c in found if repairable(c)]
    number, of = args.shard
    found = found[number - 1 :: of]
    if args.limit and args.limit < len(found):  # spread over all families
        found = [found[i * len(found) // args.limit] for i in range(args.limit)]
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    """Every whole line of the results."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["id"], row["seed"], row["repair"], row["fingerprint"]


def pending(args: argparse.Namespace) -> list[tuple[Case, int]]:
    """(case, seed) still to be run: all seeds of a case together, for they share what is compiled."""
    done = {key(row) for row in rows(args.out)}
    wanted = [(case, seed) for case in chosen(args) for seed in range(args.seeds)]
    return [(c, s) for c, s in wanted if (c.id, s, args.repair, c.fingerprint()) not in done]


def work(args: argparse.Namespace) -> None:
    """In a process of its own: the next cases, a line each."""
    from execute import examine
    from repair import examine_with_repair

    signal.signal(signal.SIGALRM, _over_time)
    left = pending(args)
    ids = list(dict.fromkeys(case.id for case, _ in left))[:CASES_A_PROCESS]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for case, seed in left:
        if case.id not in ids:
            return
        signal.alarm(args.seconds_per_case)
        more = {"out": args.keep / case.id.replace("/", "-")} if args.keep else {}
        try:
            row = (examine_with_repair if args.repair else examine)(case, seed, **more)
        except OverTime:
            row = lost(case, seed, args, f"over {args.seconds_per_case} s")
        finally:
            signal.alarm(0)
        append(args.out, row)
        if args.show:
            tell(row)


def append(path: Path, row: dict[str, Any]) -> None:
    """A line in one piece, so that two shards may write to one file."""
    with path.open("ab", buffering=0) as out:
        out.write((json.dumps(row) + "\n").encode())


def _over_time(*_: Any) -> None:
    raise OverTime


def lost(case: Case, seed: int, args: argparse.Namespace, why: str) -> dict[str, Any]:
    """The row of a run that gave none."""
    return {
        "id": case.id, "seed": seed, "repair": args.repair, "fingerprint": case.fingerprint(), "part": case.part,
        "family": case.family, "half": case.half, "tier": case.tier, "causes": list(case.causes),
        "right": sorted(case.right), "layers": list(case.layers), "trouble": why, "score": "nan", "result": {},
        "fine": None, "findings": [], "wall": None,
    }  # fmt: skip


def tell(row: dict[str, Any]) -> None:
    """A row for a person, on standard error."""
    named = [f"{f['severity']} {f['problem']}" + (f" ({f['layer']})" if f["layer"] else "") for f in row["findings"]]
    wanted = "/".join(row["causes"]) or "nothing"
    more = f", {row['trouble']}" if row["trouble"] else ""
    more += ", not healthy" if row["fine"] is False else ""
    line = (
        f"{row['id']} seed {row['seed']}: score {row['score']}, wanted {wanted}, said {'; '.join(named) or 'nothing'}"
    )
    print(f"{line}{more}; {row['wall']} s", file=sys.stderr, flush=True)


def supervise(args: argparse.Namespace) -> None:
    """Worker after worker until nothing is left. A worker that dies is answered for by a row of the case it died in."""
    signal.signal(signal.SIGTERM, _stop)
    while left := pending(args):
        print(f"{len(left)} runs to go", file=sys.stderr, flush=True)
        worker = subprocess.Popen([sys.executable, *sys.argv, "--child"], preexec_fn=lambda: os.nice(19))
        try:
            code = worker.wait()
        except KeyboardInterrupt:
            worker.kill()
            worker.wait()
            raise SystemExit(f"stopped with {len(pending(args))} runs to go; the same command goes on") from None
        if code:
            died = pending(args)
            if not died or (len(died) == len(left) and code == 1):
                raise SystemExit("the worker failed before its first case")
            case, seed = died[0]
            append(args.out, lost(case, seed, args, f"the process ended with {code}"))


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def shard(text: str) -> tuple[int, int]:
    """
    >>> shard("2/4")
    (2, 4)
    """
    number, of = (int(part) for part in text.split("/"))
    if not 1 <= number <= of:
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 to N, as in 1/2")
    return number, of


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--half", choices=HALVES)
    parser.add_argument("--id", action="append", help="only cases with this in their id")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="every Nth case, from the Ith on")
    parser.add_argument("--limit", type=int, help="so many cases, spread evenly")
    parser.add_argument("--seconds-per-case", type=int, default=300)
    parser.add_argument(
        "--repair", action="store_true", help="let the doctor repair, beside no change and random search"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("clinic-results.jsonl"), help="appended to; what is there is not run again"
    )
    parser.add_argument("--keep", type=Path, help="keep every run's folder under this one")
    parser.add_argument("--show", action="store_true", help="tell each run")
    parser.add_argument("--list", action="store_true", help="name the cases, and run nothing")
    parser.add_argument("--summary", type=Path, help="write the tables of all results to this file, and run nothing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.list:
        for case in chosen(args):
            print(case.part, case.half, case.tier or "-", case.id, ",".join(case.causes) or "healthy", sep="\t")
    elif args.summary:
        from summary import write

        write(rows(args.out), args.summary, args.out)
    elif args.child:
        work(args)
    else:
        supervise(args)


if __name__ == "__main__":
    main()
