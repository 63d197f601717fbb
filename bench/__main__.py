"""One command for the whole benchmark.

    python -m bench                       every row and contender, 3 rounds; prints tables
    python -m bench --quick               the headline rows, Pellucid beside PyTorch
    python -m bench --rows wide,cnn28 --peers torch,flax --rounds 5
    python -m bench --write               puts the tables into docs/performance.md

Stopped at any time, the same command goes on where it was: what is measured lies in a file of JSON lines (--journal).
Needs the `bench` extra; a library that is not installed is left out, and the table says so.
"""

import argparse
import os
import sys
from pathlib import Path

from bench import alternate, page
from bench.journal import Journal
from bench.process import ROOT
from bench.rows import ROWS, TRAINING


def names(text: str, known: list[str], what: str) -> list[str]:
    """Names from a list with commas; an unknown one ends the program with those there are."""
    chosen = [name for name in text.split(",") if name]
    for name in chosen:
        if name not in known:
            raise SystemExit(f"there is no {what} {name!r}; there are: {', '.join(known)}")
    return [name for name in known if name in chosen]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows, peers = list(ROWS), list(TRAINING[1:])
    parser.add_argument("--rows", type=lambda t: names(t, rows, "row"), help=f"which rows: {', '.join(rows)}")
    parser.add_argument("--peers", type=lambda t: names(t, peers, "peer"), help=f"beside whom: {', '.join(peers)}")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contender (default 3)")
    parser.add_argument("--quick", action="store_true", help="the headline rows, beside PyTorch alone")
    parser.add_argument("--cap", type=float, default=150.0, help="seconds that a process may take (default 150)")
    parser.add_argument("--cores", type=int, help="use so many processors, for all contenders alike")
    parser.add_argument("--journal", type=Path, default=ROOT / "build" / "bench.jsonl", help="what was measured")
    parser.add_argument("--fresh", action="store_true", help="begin anew; an older journal is put aside")
    parser.add_argument("--show", action="store_true", help="measure nothing: tables of what the journal holds")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    found = parser.parse_args(argv)
    if found.rounds < 1:
        parser.error("--rounds: at least 1")
    return found


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    chosen = args.rows or [name for name, row in ROWS.items() if row.quick or not args.quick]
    peers = args.peers or (["torch"] if args.quick else None)
    if args.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])  # children have the same
    journal = Journal(args.journal, args.fresh)
    tell = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    if journal.resumed:
        tell(f"going on with {args.journal}, which holds {journal.resumed} measurements; --fresh begins anew")
    if not args.show:
        alternate.alternate(journal, chosen, peers, args.rounds, args.cap, tell)
    given = [a for a in (sys.argv[1:] if argv is None else argv) if a not in ("--write", "--show", "--fresh")]
    text = page.markdown(journal, chosen, " ".join(["python -m bench", *given]))
    print(text)
    if warning := page.busy(journal):
        tell(warning)
    if args.write:
        page.write(text)


if __name__ == "__main__":
    main()
