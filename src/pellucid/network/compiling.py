"""`compiled`: `jax.jit` where the compiler is to try less than its best, which often takes longer than it saves."""

from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from typing import Any, Generic, Literal, TypeVar

import jax

R = TypeVar("R")
Options = dict[str, bool | str | int]
Effort = Literal["less", "little"]
LEVEL = "xla_backend_optimization_level"  # 3 by itself
# what to ask for, the best first; the second option is not known to XLA from JAX 0.12 on
OPTIONS: dict[Effort, tuple[Options, ...]] = {
    "less": ({LEVEL: 1},),
    "little": ({LEVEL: 0, "xla_cpu_use_fusion_emitters": False}, {LEVEL: 0}),
}


class Compiled(Generic[R]):
    """What `compiled` gives: called, or asked (`lower`, `clear_cache`), as what `jax.jit` gives. That is made when it
    is first wanted, for only then is it known what it runs on."""

    def __init__(self, function: Callable[..., R], effort: Effort, how: dict[str, Any]):
        self.function, self.effort, self.how = function, effort, how
        update_wrapper(self, function)

    @cached_property
    def jitted(self) -> Any:
        return jax.jit(self.function, compiler_options=_options(self.effort) or None, **self.how)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self.jitted(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)


def compiled(function: Callable[..., R], effort: Effort, **how: Any) -> Compiled[R]:
    """As `jax.jit(function, **how)`, but on a CPU compiled with less effort. Results are the same, to rounding.

    "less": for what runs long. Training steps were as fast so, of every kind of network tried, and compiled in half to
    nine tenths of the time (a small ResNet-18: 7 s in place of 17).   "little": for what runs a few times. A look at a
    small convolutional network takes 0.3 s to compile and 0.1 s to run, in place of 1.8 s and 0.02 s.

    It cannot be called inside another compiled function; its `function` can.

    >>> compiled(lambda x: x + 1, "little")(1).item()
    2
    """
    return Compiled(function, effort, how)


@cache
def _options(effort: Effort) -> Options:
    """What this backend's compiler knows of `OPTIONS`."""
    if jax.default_backend() != "cpu":
        return {}
    for options in OPTIONS[effort]:
        try:
            jax.jit(lambda: 0, compiler_options=options)()
        except jax.errors.JaxRuntimeError:  # no such option
            continue
        return options
    return {}
