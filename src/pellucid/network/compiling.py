"""`compiled`: `jax.jit` where the compiler is to try less than its best, which often takes longer than it saves.

Any value of `PELLUCID_COMPILER` in the environment has it try its best everywhere.
"""

import os
from collections.abc import Callable
from functools import cache, lru_cache, update_wrapper
from typing import Any, Generic, Literal, TypeVar

import jax

from pellucid.network.attention import Attention
from pellucid.network.composite import walk
from pellucid.network.conv import Conv
from pellucid.network.layer import Layer
from pellucid.network.recurrent import Recurrent

R = TypeVar("R")
Options = dict[str, bool | str | int]
Effort = Literal["less", "lean", "little"]
BEST = "PELLUCID_COMPILER"
LEVEL, EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"  # 3 and True by themselves
# what to ask for, the best first: from JAX 0.12 on XLA has no choice of emitters
OPTIONS: dict[str, tuple[Options, ...]] = {
    "less": ({LEVEL: 1},),
    "lean": ({LEVEL: 1, EMITTERS: False}, {LEVEL: 1}),
    "little": ({LEVEL: 0, EMITTERS: False}, {LEVEL: 0}),
}


class Compiled(Generic[R]):
    """What `compiled` gives. It is called, or asked, as what `jax.jit` gives; that is made when it is first wanted, for
    only then is it known what it runs on."""

    def __init__(self, function: Callable[..., R], effort: Effort | Callable[..., Effort], how: dict[str, Any]):
        self.function, self.effort, self.how = function, effort, how
        self.made: dict[tuple[tuple[str, bool | str | int], ...], Any] = {}
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self._for(args)(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        return self._for(args).lower(*args, **kwargs)

    def clear_cache(self) -> None:
        for one in self.made.values():
            one.clear_cache()

    def _cache_size(self) -> int:
        return sum(one._cache_size() for one in self.made.values())

    def _for(self, args: tuple[Any, ...]) -> Any:
        options = _options(self.effort(*args) if callable(self.effort) else self.effort)
        asked = tuple(options.items())  # efforts may ask for the same, and JAX keeps for both what either has compiled
        if asked not in self.made:
            self.made[asked] = jax.jit(self.function, compiler_options=options or None, **self.how)
        return self.made[asked]


def compiled(function: Callable[..., R], effort: Effort | Callable[..., Effort], **how: Any) -> Compiled[R]:
    """As `jax.jit(function, **how)`, but on a CPU compiled with less effort. Results are the same, to rounding.

    "less": for what runs long. Training steps were as fast so, of every kind of network tried, and compiled in half to
    nine tenths of the time (a small ResNet-18: 7 s in place of 17).   "lean": as "less", in 110 to 150 MB less memory;
    for what the native kernels do most of (`effort_for`).   "little": for what runs a few times. A look at a small
    convolutional network takes 0.3 s to compile and 0.1 s to run, in place of 1.8 s and 0.02 s.
    A function of the arguments may say which.

    It cannot be called inside another compiled function; its `function` can.

    >>> compiled(lambda x: x + 1, "little")(1).item()
    2
    """
    return Compiled(function, effort, how)


@lru_cache(maxsize=64)  # of layers, which it keeps
def effort_for(layer: Layer) -> Effort:
    """For programs that run a network many times. XLA's emitters of fused loops take memory, and pay where much is left
    to XLA: attention, and what is dense.

    >>> from pellucid.network.composite import Sequential
    >>> effort_for(Sequential(Conv(3))), effort_for(Sequential())
    ('lean', 'less')
    """
    kinds = [type(part) for _, part in walk(layer)]
    attends = any(issubclass(kind, Attention) for kind in kinds)
    return "lean" if not attends and any(issubclass(kind, Conv | Recurrent) for kind in kinds) else "less"


@cache
def _options(effort: str) -> Options:
    """What this backend's compiler knows of `OPTIONS`."""
    if jax.default_backend() != "cpu" or os.environ.get(BEST):
        return {}
    for options in OPTIONS[effort]:
        try:
            jax.jit(lambda: 0, compiler_options=options)()
        except jax.errors.JaxRuntimeError:  # no such option
            continue
        return options
    return {}
