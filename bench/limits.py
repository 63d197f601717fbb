"""What this machine can do at best: its largest product of float32 matrices, and its memory's bandwidth.

Each library in a process of its own; the limit is the best of them all, so that a share of it is no library's favour.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = (512, 1024, 2048, 4096)
TRIAD = 1 << 26  # numbers in each of three arrays of 256 MiB: many times any cache
CONTENDERS = ("numpy", "torch", "jax")


def measured(library: str) -> dict[str, Any]:
    """{"sgemm": {size: operations a second}, "triad": bytes a second or None} of one library."""
    product, triad = {"numpy": with_numpy, "torch": with_torch, "jax": with_jax}[library]()
    gemm = {str(n): 2 * n**3 / best(product(n)) for n in SIZES}
    return {"sgemm": gemm, "triad": 12 * TRIAD / best(triad()) if triad else None}


def best(call: Callable[[], Any], seconds: float = 0.6) -> float:
    """The shortest time of a call, tried for so long."""
    call()
    shortest, end, calls = float("inf"), time.perf_counter() + seconds, 0
    while time.perf_counter() < end or calls < 3:
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
        calls += 1
    return shortest


def square(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, n), np.float32)


def with_numpy() -> tuple[Any, Any]:
    def product(n: int) -> Callable[[], Any]:
        a, out = square(n), np.empty((n, n), np.float32)
        return lambda: np.matmul(a, a, out=out)

    return product, None  # NumPy's sums run on one thread


def with_torch() -> tuple[Any, Any]:
    import torch as t

    t.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

    def product(n: int) -> Callable[[], Any]:
        a, out = t.tensor(square(n)), t.empty(n, n)
        return lambda: t.mm(a, a, out=out)

    def triad() -> Callable[[], Any]:
        a, b, c = t.empty(TRIAD), t.ones(TRIAD), t.ones(TRIAD)
        return lambda: t.add(b, c, alpha=3.0, out=a)

    return product, triad


def with_jax() -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    def product(n: int) -> Callable[[], Any]:
        a, multiply = jax.device_put(square(n)), jax.jit(jnp.matmul)
        return lambda: multiply(a, a).block_until_ready()

    def triad() -> Callable[[], Any]:
        b, c, add = jnp.ones(TRIAD), jnp.ones(TRIAD), jax.jit(lambda b, c: b + 3.0 * c)
        return lambda: add(b, c).block_until_ready()

    return product, triad
