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

import jax

KEEP = "PELLUCID_ASYNC_DISPATCH"
MALLOC = "PELLUCID_MALLOC"
KEPT, TRIMMED = 1 << 28, 1 << 29  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


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
    environment, or a setting of glibc's own there, leaves it as it is.
    """
    own = [name for name in os.environ if name.startswith("MALLOC_") or name in (MALLOC, "GLIBC_TUNABLES")]
    if own or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, TRIMMED))
