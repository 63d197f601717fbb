"""On a CPU, a compiled program runs in the thread that calls it.

JAX otherwise hands each program to another thread and waits for it, which takes longer than a small network does: a row
through 784-128-10 took 28 to 60 µs, and takes 16. Results are the same bytes, and Python's lock is let go meanwhile.
(A large NumPy array is still copied by another thread first.)
What is lost is that a caller prepares the next program while the last one runs; training needs no such overlap, for a
chunk of many updates is one program. Any value of `PELLUCID_ASYNC_DISPATCH` in the environment leaves JAX as it is.
"""

import os

import jax

KEEP = "PELLUCID_ASYNC_DISPATCH"


def run_in_caller() -> None:
    """Ask JAX for it, unless the environment says otherwise. It counts for programs of a process that has used no CPU
    yet; later it changes nothing.

    >>> run_in_caller()
    """
    if not os.environ.get(KEEP):
        jax.config.update("jax_cpu_enable_async_dispatch", False)
