"""Run the examples that stand in the pages, and write their outputs anew.

    python docs/refresh.py                  # docs/concepts.md and README.md (`make docs`)
    python docs/refresh.py docs/concepts.md

A page holds ```python fences with `>>>` examples and ```console fences with `$ pellucid ...` commands. In docs/ every
one of them runs; in README.md those that stand under a line `<!-- tested -->`. The examples before a page's first
heading run before each section, so that every section stands alone. `...` in an output stands for anything, and stays
where it is when the output is written anew. tests/test_docs.py uses the same functions to compare.
"""

import contextlib
import difflib
import doctest
import itertools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "concepts.md", ROOT / "README.md")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MARK = "<!-- tested -->"
SECONDS = 300  # for one command; a machine may be busy


@dataclass
class Block:
    """What stands inside one fence. line: the first line of it, counted from 0."""

    kind: str
    line: int
    text: str


@dataclass
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Outcome:
    """One example that was run. line, count: where its output stands in the page."""

    kind: str
    source: str
    want: str
    got: str
    line: int
    count: int
    same: bool
    raised: bool = False  # an error that the page does not announce, or announces otherwise

    def __str__(self) -> str:
        want, got = self.want.rstrip(), self.got.rstrip()
        return f"line {self.line + 1}: {self.source.strip()}\nexpected:\n{want}\ngot:\n{got}"


# -- reading a page -------------------------------------------------------------------------------------------------


def sections(text: str, marked_only: bool = False) -> list[Section]:
    """The sections that have something to run. A page whose examples are marked is one section: a reader's session."""
    found, kind, start, marked = [Section("the beginning")], None, 0, False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if kind is not None:
            if line.strip() == "```":
                block = Block(kind, start, "\n".join(lines[start:number]) + "\n")
                if kind in ("python", "console") and (marked or not marked_only):
                    found[-1].blocks.append(block)
                kind, marked = None, False
        elif line.startswith("```"):
            kind, start = line[3:].strip() or "text", number + 1
        elif line.startswith("## ") and not marked_only:
            found.append(Section(line[3:].strip()))
        elif line.strip():
            marked = line.strip() == MARK
    return [section for section in found if section.blocks]


def commands(block: Block) -> Iterator[tuple[str, str, int]]:
    """(command, expected output, line at which the output begins) of each `$ ` in a console block."""
    lines = block.text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")] + [len(lines)]
    for this, following in itertools.pairwise(starts):
        want = "".join(line + "\n" for line in lines[this + 1 : following])
        yield lines[this][2:], want, block.line + this + 1


# -- running --------------------------------------------------------------------------------------------------------


class Recorder(doctest.DocTestRunner):
    """Keeps what each example printed."""

    def __init__(self) -> None:
        super().__init__(optionflags=FLAGS)
        self.found: list[tuple[doctest.Example, str, bool, bool]] = []

    def report_start(self, out: Any, test: Any, example: Any) -> None:
        pass

    def report_success(self, out: Any, test: Any, example: Any, got: str) -> None:
        self.found.append((example, example.want if example.exc_msg else got, True, False))

    def report_failure(self, out: Any, test: Any, example: Any, got: str) -> None:
        self.found.append((example, got, False, example.exc_msg is not None))

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        self.found.append((example, f"{exc_info[0].__name__}: {exc_info[1]}\n", False, True))


def run_python(block: Block, names: dict[str, Any]) -> list[Outcome]:
    """Run the `>>>` examples of a block in the namespace `names`."""
    examples = doctest.DocTestParser().get_examples(block.text)
    recorder = Recorder()
    test = doctest.DocTest(examples, {}, "page", None, 0, None)
    test.globs = names  # the very dict and no copy, so that the next block goes on with it
    recorder.run(test, out=lambda _: None, clear_globs=False)
    outcomes = []
    for example, got, same, raised in recorder.found:
        line, want = block.line + example.lineno + example.source.count("\n"), example.want
        outcomes.append(Outcome("python", example.source, want, got, line, want.count("\n"), same, raised))
    return outcomes


def run_console(block: Block, folder: Path) -> list[Outcome]:
    """Run the commands of a block as processes in `folder`; what they print on stdout is their output."""
    outcomes = []
    for command, want, line in commands(block):
        program, *words = shlex.split(command, comments=True)
        if program != "pellucid":
            raise ValueError(f"line {line}: only pellucid is run here, got: {command}")
        done = subprocess.run(
            [sys.executable, "-m", "pellucid", *words], cwd=folder, env=environment(), capture_output=True,
            encoding="utf-8", timeout=SECONDS,
        )  # fmt: skip
        got = "".join(text.rstrip() + "\n" for text in done.stdout.strip().splitlines())
        if done.returncode != 0:
            got += f"[exit code {done.returncode}]\n{done.stderr}"
        same, failed = matches(want, got), done.returncode != 0
        outcomes.append(Outcome("console", command, want, got, line, want.count("\n"), same, failed))
    return outcomes


def environment() -> dict[str, str]:
    """As in a terminal of 80 columns without colours, whatever is set outside."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PELLUCID_HOME")}
    source = os.pathsep.join(p for p in (str(ROOT / "src"), kept.get("PYTHONPATH", "")) if p)
    return {
        "JAX_PLATFORMS": "cpu", **kept, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONUTF8": "1", "PYTHONPATH": source,
    }  # fmt: skip


def matches(want: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(want, got, FLAGS)


def run(section: Section, folder: Path, before: Section | None = None) -> list[Outcome]:
    """Run a section's blocks in order, in `folder`, after the Python examples of `before`.

    A copy of examples/ lies there, so that a page can name its files as a reader in a clone would.
    """
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    names: dict[str, Any] = {"__name__": "__main__"}
    outcomes: list[Outcome] = []
    with contextlib.chdir(folder):
        for block in before.blocks if before is not None and before is not section else ():
            if block.kind == "python":
                run_python(block, names)
        for block in section.blocks:
            outcomes += run_python(block, names) if block.kind == "python" else run_console(block, folder)
    return outcomes


def read(page: Path) -> list[Section]:
    return sections(page.read_text(encoding="utf-8"), marked_only=page.name == "README.md")


def opening(found: list[Section]) -> Section | None:
    """What stands before the first heading, and is run before each section."""
    return found[0] if found and found[0].title == "the beginning" else None


# -- writing outputs anew -------------------------------------------------------------------------------------------


def trimmed(old: str, new: str) -> str:
    """The new output, with `...` where the old one had it; whole where that cannot be.

    >>> print(trimmed("this network  0.97\\n...\\nrun  a\\n", "this network  0.98\\nloss  0.1\\nrun  a\\n"), end="")
    this network  0.98
    ...
    run  a
    """
    if "..." not in old:
        return new
    kept, rest = [], new.splitlines()
    for line in old.splitlines():
        if "..." in line:
            kept.append(line)
        elif near := difflib.get_close_matches(line, rest, n=1, cutoff=0.5):
            kept.append(near[0])
            rest = rest[rest.index(near[0]) + 1 :]
    text = "".join(line + "\n" for line in kept)
    return text if matches(text, new) else new


def refreshed(text: str, outcomes: list[Outcome]) -> str:
    """The page with the outputs that changed written anew; the others keep their form."""
    lines = text.splitlines()
    for outcome in sorted(outcomes, key=lambda o: -o.line):  # from the end, so that line numbers hold
        if not outcome.same:
            new = trimmed(outcome.want, outcome.got).splitlines()
            if outcome.kind == "python":
                new = [line.rstrip() or "<BLANKLINE>" for line in new]
            lines[outcome.line : outcome.line + outcome.count] = new
    return "\n".join(lines) + "\n"


def main() -> int:
    failed = 0
    for page in [Path(p) for p in sys.argv[1:]] or [p for p in PAGES if p.is_file()]:
        found = read(page)
        outcomes: list[Outcome] = []
        for section in found:
            with tempfile.TemporaryDirectory() as folder:
                outcomes += run(section, Path(folder), opening(found))
        broken = [o for o in outcomes if not o.same and o.raised]
        for outcome in broken:
            print(f"{page.name}, {outcome}\n", file=sys.stderr)
        failed += len(broken)
        changed = [o for o in outcomes if not o.same and o not in broken]
        text = page.read_text(encoding="utf-8")
        page.write_text(refreshed(text, changed), encoding="utf-8")
        print(f"{page.name}: {len(outcomes)} examples, {len(changed)} outputs written anew, {len(broken)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
