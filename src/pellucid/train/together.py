"""Several trainings side by side in one compiled program: loops that differ in numbers alone (a learning rate, a decay)
take their chunks under one `vmap`, on the same batches.

    run_together([loop, slower, faster], until=400)         # as each one's own run(), to rounding

On a CPU this takes as long as one after the other; on a GPU a small network fills a fraction of it, and ten take about
as long as one. Signals are not measured.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.network.compiling import compiled
from pellucid.train.loop import Loop
from pellucid.train.program import Carry
from pellucid.train.stack import APART, one_of, shapes, stacked
from pellucid.train.step import effort, run_chunk


def alike(a: Loop, b: Loop) -> bool:
    """Whether two loops can go side by side: one program, numbers of the same names, the same moment and batches."""
    same = a.program == b.program and a.numbers.keys() == b.numbers.keys() and a.chunk_steps == b.chunk_steps
    moment = (a.step, a.epoch, a.epoch_start) == (b.step, b.epoch, b.epoch_start)
    budget = a.settings.updates == b.settings.updates and a.settings.seed == b.settings.seed
    return same and moment and budget and shapes(a.carry) == shapes(b.carry)


def run_together(loops: Sequence[Loop], until: int) -> None:
    """Train all of them, until so many updates are made or each has stopped (its patience ended, it diverged).

    The loops are `alike`, and none has signals (`Settings(signals=False)`). One that has stopped is carried along: its
    best epoch stays what it was, its count of updates goes on with the others'.
    """
    assert loops and all(alike(loops[0], loop) and not loop.program.watched for loop in loops)
    first = loops[0]
    carries = stacked([loop.carry for loop in loops])
    while not all(loop.finished for loop in loops):
        if first.step >= _epoch_end(first):
            carries = _close_epochs(loops, carries)
        elif first.step < until:
            carries = _chunk(loops, carries, until)
        else:
            break
    for place, loop in enumerate(loops):
        if not loop.finished:
            loop.carry = one_of(carries, place)


def _epoch_end(loop: Loop) -> int:
    return min(loop.epoch_start + loop.program.steps_per_epoch, loop.settings.updates)


def _chunk(loops: Sequence[Loop], carries: Carry, until: int) -> Carry:
    first = loops[0]
    order = first._shuffled()
    for loop in loops[1:]:
        loop._shuffled()  # the same order; it notes where its epoch's text begins
    data, places, skipped = first.feed.chunk(order, first.step - first.epoch_start)
    done = first.step - first.epoch_start
    last = first.epoch_start + (done // first.chunk_steps + 1) * first.chunk_steps
    last = min(last, _epoch_end(first), until)
    segments = np.array([[last - first.step, 0]], np.int32)
    numbers = {name: jnp.asarray([loop.numbers[name] for loop in loops]) for name in first.numbers if name != "skipped"}
    carries, losses = _run(
        first.program, first.chunk_steps, carries, data, places, numbers, skipped, first.key, first.epoch_start,
        segments,
    )  # fmt: skip
    losses = np.asarray(losses, np.float64)[:, : last - first.step]
    for loop, own in zip(loops, losses, strict=True):
        if not np.isfinite(own).all() and not loop.finished:
            loop.stopped, loop.bad = "diverged", first.step + int(np.argmin(np.isfinite(own)))
    for loop in loops:
        loop.step = last
    return carries


def _close_epochs(loops: Sequence[Loop], carries: Carry) -> Carry:
    """Each loop scores and judges its own weights; those that have stopped are no longer looked at."""
    for place, loop in enumerate(loops):
        if loop.finished:
            loop.epoch, loop.epoch_start = loop.epoch + 1, loop.step
        else:
            loop.carry = one_of(carries, place)
            loop._close_epoch()
    zeros = {name: jax.tree.map(jnp.zeros_like, getattr(carries, name)) for name in ("loss", "weight", "carried")}
    return carries._replace(**zeros)


@partial(compiled, effort=effort, static_argnames=("program", "most_steps"), donate_argnames=("carries",))
def _run(program, most_steps, carries, data, order, numbers, skipped, key, first, segments):
    def one(carry: Carry, own: dict[str, Any]) -> Any:
        carry, losses, _, _ = run_chunk.function(
            program, most_steps, carry, data, order, {**own, "skipped": skipped}, key, first, segments, 1
        )
        return carry, losses

    return jax.vmap(one, in_axes=(APART, 0), out_axes=(APART, 0))(carries, numbers)
