"""The machine at hand: JAX's settings, the time it spends compiling, and the signals that ask a run to end."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import jax

from pellucid import LOGS_QUIET, files
from pellucid.errors import Interrupted
from pellucid.train import hosts

_ready = False
_spans: list[tuple[float, float]] = []  # when JAX traced and compiled; of nested spans only the outermost
_EVENTS = ("/jax/core/compile/",)

MOST_MAPS = 25_000  # memory maps of this process, before compiled programs are forgotten


def set_up() -> None:
    """Once a process: keep compiled programs on disk, and count the seconds that compiling takes."""
    global _ready
    if _ready:
        return
    _ready = True
    jax.monitoring.register_event_duration_secs_listener(_count)  # type: ignore[arg-type]
    noisy = jax.__version_info__ < (0, 10) and not LOGS_QUIET
    if not getattr(jax.config, "jax_compilation_cache_dir", None) and not noisy:
        folder = files.cache_folder() / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK)
        except OSError:
            usable = False
        if usable:
            jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # or short compilations are not kept
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # a cache that another process writes to at the same moment may be read half; JAX then compiles, and says so
    warnings.filterwarnings(
        "ignore", message="Error (reading|writing) persistent compilation cache", category=UserWarning
    )
    warnings.filterwarnings("ignore", message="Some donated buffers were not usable", category=UserWarning)


def make_room() -> bool:
    """Forget the compiled programs of this process if they take up too many memory maps: whether it did.

    Linux gives a process some 65,530 of them, XLA needs several a program, and a process that runs out dies by a
    segmentation fault (seen after some hundred networks of unlike shapes). What is still needed comes from the disk.
    """
    try:
        with open("/proc/self/maps", "rb") as file:
            used = sum(1 for _ in file)
    except OSError:  # no Linux, no such bound
        return False
    if used > MOST_MAPS:
        jax.clear_caches()
    return used > MOST_MAPS


def _count(event: str, seconds: float, /, **_: Any) -> None:
    """An event comes when its span ends, so those that lie inside it have come before."""
    if event.startswith(_EVENTS):
        end = time.perf_counter()
        begin = end - seconds
        while _spans and _spans[-1][0] >= begin:
            _spans.pop()
        _spans.append((max(begin, _spans[-1][1]) if _spans else begin, end))


def compile_seconds() -> float:
    """Seconds spent tracing and compiling in this process since `set_up`, none of them counted twice."""
    return sum(end - begin for begin, end in _spans)


class Interruptions:
    """Within it, Ctrl-C and SIGTERM only leave a mark, so that the run can save first; a second Ctrl-C ends at once.

    Signals can be caught in the main thread alone; elsewhere the mark is that of the main thread's, if it is within one
    too.
    """

    main: ClassVar["Interruptions | None"] = None  # the main thread's

    def __init__(self) -> None:
        self.marked: int = 0
        self.known = False  # to all processes that train together
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            Interruptions.main = self
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.marked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.marked = number

    def __exit__(self, *_: object) -> None:
        if Interruptions.main is self:
            Interruptions.main = None
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @property
    def received(self) -> int:
        """The number of the signal that came, or 0."""
        return self.marked or (Interruptions.main.marked if Interruptions.main is not None else 0)

    @property
    def asked_to_end(self) -> bool:
        """Whether a signal came: to this process, or, where several train together, to one of them and all know."""
        return bool(self.received) if hosts.count() == 1 else self.known

    def agreed(self, asked: set[str]) -> set[str]:
        """What any process asks, a signal among it. All processes that train together ask together."""
        if hosts.count() == 1:
            return set(asked)
        found = hosts.agree(asked | ({hosts.SIGNALS[signal.Signals(self.received)]} if self.received else set()))
        for number, word in hosts.SIGNALS.items():
            if word in found:
                self.marked, self.known = int(number), True
        return found - set(hosts.SIGNALS.values())

    def leave(self, path: Path | None) -> None:
        """Raise what a stopped run ends with."""
        raise Interrupted(path, self.received)
