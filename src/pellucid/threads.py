"""How many threads NumPy's and scikit-learn's own libraries use, while JAX's threads are at work beside them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, matrix products of NumPy and SciPy (of the whole process) and OpenMP (of this thread) use one thread.

    Theirs wait for each other by spinning: for small products that costs more than they bring, and beside a training,
    or on a busy machine, ten or a hundred times as much. Where several threads are inside at once, the last one out
    puts back what the first one found. A library that is loaded inside is not reached: load it before.

    >>> from threadpoolctl import threadpool_info
    >>> with one_thread():
    ...     {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} <= {1}
    True
    """
    from threadpoolctl import threadpool_limits

    global _inside, _limits
    with _lock:
        if not _inside:
            _limits = threadpool_limits(1, user_api="blas")
        _inside += 1
    try:
        with threadpool_limits(1, user_api="openmp"):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.restore_original_limits()
