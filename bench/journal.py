"""What was measured, one JSON object a line, so that a stopped benchmark goes on where it was.

The first line says of what: machine, versions, and a digest of Pellucid's and the benchmark's source. A journal of
something else is put aside, never mixed with.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any

from bench.process import ROOT

LIBRARIES = ("jax", "jaxlib", "numpy", "optax", "torch", "keras", "flax", "equinox", "scikit-learn")


def versions() -> dict[str, str | None]:
    """The libraries that are installed, and None for the others."""

    def of(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return {name: of(name) for name in LIBRARIES}


def subject() -> dict[str, Any]:
    """What a journal is about: two with the same subject can be one."""
    digest = hashlib.sha256()
    found = importlib.util.find_spec("pellucid")
    package = Path(found.origin).parent if found and found.origin else ROOT / "src" / "pellucid"
    for folder in (package, ROOT / "bench"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".so"):
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return {
        "python": platform.python_version(), "cpu": cpu(), "cores": os.cpu_count(), "versions": versions(),
        "source": digest.hexdigest()[:16],
    }  # fmt: skip


def cpu() -> str:
    """The processor's name, as far as the system tells it, with the family and model that one name may hide."""
    try:
        with open("/proc/cpuinfo") as file:
            told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in file)}
    except OSError:
        told = {}
    name = told.get("model name") or platform.processor() or platform.machine()
    kind = [f"{what} {told[key]}" for what, key in (("family", "cpu family"), ("model", "model")) if key in told]
    return f"{name} ({', '.join(kind)})" if kind else name


class Journal:
    """lines: what was measured so far.   resumed: so many of them an earlier run left."""

    def __init__(self, path: Path, fresh: bool = False):
        self.path, self.lines = path, []
        about = subject()
        if path.exists():
            found = _read(path)
            if not fresh and found and found[0].get("about") == about:
                self.lines = found[1:]
            else:
                aside = path.with_suffix(f".{int(path.stat().st_mtime)}{path.suffix}")
                path.rename(aside)
        self.resumed = len(self.lines)
        path.parent.mkdir(parents=True, exist_ok=True)
        # written anew, which drops a last line that was cut short
        path.write_text("".join(json.dumps(line) + "\n" for line in [{"about": about}, *self.lines]))

    def add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, row: str, contender: str | None = None) -> list[dict[str, Any]]:
        """The lines of a row, or of a contender in it."""
        return [line for line in self.lines if line["row"] == row and contender in (None, line["contender"])]

    def has(self, row: str, contender: str, round_: int) -> bool:
        return any(line["round"] == round_ for line in self.of(row, contender))


def _read(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break  # cut short when it was stopped
    return found
