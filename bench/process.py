"""One process at a time, watched: how long it took, its memory, and what else the machine was doing meanwhile."""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Done:
    """code: the exit code, None where it ran out of time.   seconds: from start to end.   others: the share of the
    machine's processors that other processes (and the hypervisor) took; None where the system does not tell."""

    code: int | None
    out: str
    error: str
    seconds: float
    others: float | None

    @property
    def trouble(self) -> str:
        """Why it failed, in one line; empty where it did not."""
        if self.code is None:
            return f"took longer than {self.seconds:.0f} s"
        if self.code == 0:
            return ""
        lines = [line for line in self.error.strip().splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.code}"


def run(command: list[str], cap: float, env: dict[str, str]) -> Done:
    """Run a command from the repository's root, ended with all its children after `cap` seconds."""
    before, used, start = _busy(), _children(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(command, stdout=out, stderr=error, env=env, cwd=ROOT, start_new_session=True)
        try:
            code: int | None = process.wait(cap)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        seconds = time.perf_counter() - start
        out.seek(0), error.seek(0)
        told, wrong = out.read(), error.read()
    others = None
    if before is not None and (after := _busy()) is not None:
        elsewhere = (after - before) - (_children() - used)
        others = max(elsewhere, 0.0) / max(seconds * (os.cpu_count() or 1), 1e-9)
    return Done(code, told, wrong, seconds, others)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: its compilers and workers with it
        else:
            process.kill()
        process.wait()


def _busy() -> float | None:
    """Seconds that all processors together have worked, for whomever."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, soft, steal = (int(v) for v in file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _children() -> float:
    """Seconds that this process and its ended children have worked."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
