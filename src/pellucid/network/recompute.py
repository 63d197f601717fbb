"""Computing again instead of keeping: `jax.checkpoint`, and what takes its place on a CPU, where XLA undoes it.

There the barrier that keeps the second computation apart from the first is dropped, the two are found to be equal, and
one is left: memory as before (JAX 0.9 and 0.10). Here the second computation waits for the gradient in a way that no
compiler sees through: to its input min(|g|, 0) is added, g being one number of the gradient that arrives. That is 0.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def recomputed(f: Callable[[Any], Any], x: Any, reverse_only: bool) -> Any:
    """f(x), of which only x is kept for the way back. reverse_only: nobody will ask for a derivative forwards.

    >>> slope = jax.jit(jax.grad(lambda x: recomputed(jnp.sin, x, True)))
    >>> bool(jnp.allclose(slope(2.0), jnp.cos(2.0)))
    True
    """
    if not reverse_only or jax.default_backend() != "cpu":
        return jax.checkpoint(f)(x)
    pure, outer = jax.closure_convert(f, x)  # weights and probes that f took from around it become arguments

    @jax.custom_vjp
    def once(x, *outer):
        return pure(x, *outer)

    def back(kept, slopes):
        x, outer = kept
        return jax.vjp(pure, _after(x, slopes), *outer)[1](slopes)

    once.defvjp(lambda x, *outer: (pure(x, *outer), (x, outer)), back)
    return once(x, *outer)


def _after(x: Any, slopes: Any) -> Any:
    """`x`, which cannot be computed with before the gradient is there."""
    floats = [g for g in jax.tree.leaves(slopes) if jnp.issubdtype(g.dtype, jnp.floating) and g.size]
    if not floats:
        return x
    zero = jnp.minimum(jnp.abs(floats[0].ravel()[0]), 0)
    return jax.tree.map(lambda a: a if a.dtype == bool else a + zero.astype(a.dtype), x)
