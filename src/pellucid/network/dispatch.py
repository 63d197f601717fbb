"""On a CPU, a compiled program runs in the thread that calls it, in memory that is kept from call to call.

JAX otherwise hands each program to another thread and waits for it, which takes longer than a small network does: a row
through 784-128-10 took 28 to 60 µs, and takes 16. Results are the same bytes, and Python's lock is let go meanwhile.
(A large NumPy array is still copied by another thread first.)
What is lost is that a caller prepares the next program while the last one runs; training needs no such overlap, for a
chunk of many updates is one program. Any value of `PELLUCID_ASYNC_DISPATCH` in the environment leaves JAX as it is.
"""

import ctypes
import os
import sys
from functools import cache
from typing import Any

import jax
import jax.monitoring

KEEP = "PELLUCID_ASYNC_DISPATCH"
MALLOC = "PELLUCID_MALLOC"
KEPT, TRIMMED = 1 << 28, 1 << 29  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX tells how long the compiler took
LONG = 0.1  # seconds: what a shorter compilation leaves is not worth a look


def run_in_caller() -> None:
    """Ask JAX for it, unless the environment says otherwise. It counts for programs of a process that has used no CPU
    yet; later it changes nothing.

    >>> run_in_caller()
    """
    if not os.environ.get(KEEP):
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_memory() -> bool:
    """Have the C library keep what a program frees for the next one, and say whether it does.

    By itself glibc gives large pieces back to the system at once, so that every call gets its temporaries as fresh
    pages, which the system fills with zeros first: an LSTM of 256 units read 64 sequences in 18 ms so, and reads them
    in 8. Pieces up to 256 MB are kept now, and 512 MB of free memory at most. Any value of `PELLUCID_MALLOC` in the
    environment, or a setting of glibc's own there, leaves it as it is. What only the compiler needed, 100 to 200 MB, is
    given back when it is through (`release`).
    """
    library = _glibc()
    if library is None:
        return False
    _after_compiling()
    return bool(library.mallopt(M_MMAP_THRESHOLD, KEPT)) and bool(library.mallopt(M_TRIM_THRESHOLD, TRIMMED))


def release() -> None:
    """Give free memory back to the system, where it is kept otherwise: after what is not done again and again.

    >>> release()
    """
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, where it is glibc and nobody has told it how to keep memory; else None."""
    own = [name for name in os.environ if name.startswith("MALLOC_") or name in (MALLOC, "GLIBC_TUNABLES")]
    if own or not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError):  # another C library
        return None


@cache
def _after_compiling() -> None:
    def told(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED and duration_secs > LONG:
            release()

    jax.monitoring.register_event_duration_secs_listener(told)
