"""A run directory: where its files lie, who may write, what it says. Plain files; nothing here needs JAX.

recipe.toml  network.json  weights.safetensors  checkpoint/  history/  record.jsonl  clock.jsonl  findings.json
inspection.json  result.json  report.html  control.json  lock
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pellucid import files
from pellucid.errors import RunError, nearest

RUNS = Path("runs")
REQUESTS = ("stop", "save", "pause", "continue")  # what may be asked of a run that goes on


class RunDir:
    """The paths of one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.recipe = self.path / "recipe.toml"
        self.network = self.path / "network.json"
        self.weights = self.path / "weights.safetensors"
        self.checkpoint = self.path / "checkpoint"
        self.history = self.path / "history"
        self.record = self.path / "record.jsonl"
        self.clock = self.path / "clock.jsonl"
        self.findings = self.path / "findings.json"
        self.inspection = self.path / "inspection.json"
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"
        self.control = self.path / "control.json"
        self.lock = self.path / "lock"

    @property
    def exists(self) -> bool:
        return self.recipe.is_file()

    def require(self) -> "RunDir":
        """Itself, or an error that says that there is no run here."""
        if not self.exists:
            near = [run.path.name for run in find_runs(self.path.parent)]
            fix = nearest(self.path.name, near) if near else "list the runs with: pellucid runs"
            raise RunError(
                "there is no run here", where=self.path, expected="a folder that pellucid train wrote", fix=fix
            )
        return self

    def read_result(self) -> dict[str, Any]:
        """result.json, or an error that says what to do."""
        if not self.result.is_file():
            raise RunError("the run has no result yet", where=self.result, fix=f"pellucid train --resume {self.path}")
        return read_json(self.result)

    @property
    def running(self) -> bool:
        """Whether a process is writing this run now. A lock file that a killed process left behind does not count."""
        if not self.lock.is_file():
            return False
        with suppress(OSError), open(self.lock, "a+b") as file:
            try:
                _lock(file)
            except OSError:
                return True
        return False

    def request(self, name: str) -> None:
        """Ask the process that writes this run for one of `REQUESTS`, beside what was asked and is not read yet."""
        waiting: Any = {}
        with suppress(OSError, ValueError):
            waiting = json.loads(self.control.read_text(encoding="utf-8"))
        before = {key: True for key in REQUESTS if isinstance(waiting, dict) and waiting.get(key)}
        for other in {"pause": ("continue",), "continue": ("pause",)}.get(name, ()):  # the later word counts
            before.pop(other, None)
        files.write_json(self.control, {**before, name: True})

    def requests(self) -> set[str]:
        """What another process asks of the run. Read once: the file is taken away."""
        if not self.control.exists():
            return set()
        with suppress(OSError, ValueError):
            asked = json.loads(self.control.read_text(encoding="utf-8"))
            self.control.unlink()
            return {name for name in REQUESTS if isinstance(asked, dict) and asked.get(name)}
        return set()


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise RunError("a file of the run is damaged", where=path, got=error) from error


def new_run(parent: Path, name: str) -> RunDir:
    """A fresh folder `<date>-<time>-<name>` under `parent`, made now; a second run in the same second gets a number."""
    files.make_folder(parent)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug(name)}"
    for number in range(1, 1000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        with files.disk_errors(path):
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise
                continue
            return RunDir(path)
    raise RunError("no free name for the run", where=parent / stem)


def slug(name: str) -> str:
    """A name that every file system takes.

    >>> slug("My data (v2).csv")
    'my-data-v2-csv'
    """
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:60] or "run"


def find_runs(parent: Path) -> Iterator[RunDir]:
    """The runs under a folder, oldest first."""
    if parent.is_dir():
        with files.disk_errors(parent):
            for path in sorted(parent.iterdir()):
                run = RunDir(path)
                if run.exists:
                    yield run


class Lock:
    """One writer at a time. The operating system holds the lock, so it goes when the process does, however it ends."""

    def __init__(self, path: Path):
        self.path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> "Lock":
        with files.disk_errors(self.path):
            file = open(self.path, "a+b")
        try:
            _lock_soon(file)
        except OSError as error:
            file.seek(0)
            holder = file.read(40).decode(errors="replace").strip()
            file.close()
            raise RunError(
                "another process is writing this run", where=self.path.parent,
                got=f"process {holder}" if holder else None,
                fix="wait until it ends, or stop it with Ctrl-C there",
            ) from error  # fmt: skip
        with files.disk_errors(self.path):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with suppress(OSError):
                self.path.unlink()


def _lock_soon(file: BinaryIO) -> None:
    """As `_lock`, past the moment for which somebody who only looks (`RunDir.running`) holds it."""
    for wait in (0.02, 0.05, 0.1, None):
        try:
            return _lock(file)
        except OSError:
            if wait is None:
                raise
            time.sleep(wait)


def _lock(file: BinaryIO) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # a place beyond the text, so that others may read who holds it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
