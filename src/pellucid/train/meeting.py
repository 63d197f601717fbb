"""Several trainings side by side, each driven by code of its own: they meet where a chunk of steps is due, and those
that are alike take it in one compiled program, under one `vmap`.

    first, second = Meeting().run([train_first, train_second])        # each drives a `Loop`, or a whole session

Each has a thread, of which one runs at a time: so what they share needs no care, and only chunks go side by side. They
may differ in data (of one shape), weights, random numbers and rates; whoever is not alike (another network, another
moment of its epoch) takes its chunk by itself, and where memory does not hold all, as many as it holds go together. The
numbers are those of a training alone, to rounding.

On a CPU this takes longer than one after the other; on a GPU a small network fills a fraction of it, and eight take
about as long as one.
"""

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.memory import COPIES, SHARE, free_memory
from pellucid.network.compiling import compiled
from pellucid.train import step as alone
from pellucid.train.stack import APART, one_of, shapes, stacked

T = TypeVar("T")
MOST = 64  # chunks that are taken together
_present: ContextVar["Meeting | None"] = ContextVar("meeting", default=None)


def run_chunk(*asked: Any) -> Any:
    """As `step.run_chunk`; inside a meeting, together with the others'."""
    meeting, program = _present.get(), asked[0]
    if meeting is None or program.mesh is not None:
        return alone.run_chunk(*asked)
    return meeting.chunk(asked)


@dataclass
class _Asked:
    """A chunk that is due, by the arguments of `step.run_chunk`, and what came of it."""

    arguments: tuple[Any, ...]
    result: Any = None
    error: BaseException | None = None
    done: bool = False

    def alike(self) -> Any:
        program, most, carry, data, order, numbers, key, first, segments, count = self.arguments
        moment = int(carry.step), int(first), np.asarray(segments).tobytes(), int(count)
        return program, most, moment, tuple(numbers), str(shapes((carry, data, order, key)))


class Meeting:
    """`run(tasks)` calls each task in a thread, gives what they return, and raises what the first of them raised."""

    def __init__(self) -> None:
        self.baton = threading.Condition()  # who holds it runs; it is let go of while one waits for the others
        self.there = 0  # tasks that have not ended
        self.waiting: list[_Asked] = []
        self.most: dict[Any, int] = {}  # by program: how many took a chunk together at first
        self.broken = False
        self.joined = 0  # chunks that several took together

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        found: list[Any] = [None] * len(tasks)
        errors: list[BaseException] = []

        def live(place: int, task: Callable[[], T]) -> None:
            with self.baton:
                _present.set(self)
                try:
                    found[place] = task()
                except BaseException as error:  # told by the thread that began the meeting
                    errors.append(error)
                finally:
                    self.there -= 1
                    self._meet()

        self.there = len(tasks)
        threads = [
            threading.Thread(target=copy_context().run, args=(live, place, task), daemon=True, name=f"side-{place}")
            for place, task in enumerate(tasks)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.05)  # seconds: a signal is answered between them
        except BaseException:
            self.broken = True  # each ends where its next chunk is due
            raise
        if errors:
            raise errors[0]
        return found

    def chunk(self, arguments: tuple[Any, ...]) -> Any:
        """Wait until all others are where a chunk is due, or have ended; then it is taken."""
        asked = _Asked(arguments)
        self.waiting.append(asked)
        self._meet()
        while not asked.done and not self.broken:
            self.baton.wait(1.0)  # seconds, after which it looks whether all is broken off
        if self.broken:
            raise KeyboardInterrupt
        if asked.error is not None:
            raise asked.error
        return asked.result

    def _meet(self) -> None:
        if not self.waiting or len(self.waiting) < self.there:
            return
        groups: dict[Any, list[_Asked]] = {}
        for asked in self.waiting:
            groups.setdefault(asked.alike(), []).append(asked)
        for members in groups.values():
            try:
                self._take(members)
            except Exception as error:
                for asked in members:
                    asked.error = error
        for asked in self.waiting:
            asked.done = True
        self.waiting = []
        self.baton.notify_all()

    def _take(self, members: list[_Asked]) -> None:
        full = 1
        if len(members) > 1:  # decided once a program: another number would be compiled anew
            asked = members[0].arguments
            full = self.most.setdefault(asked[0], min(len(members), fitting(asked)))
        for first in range(0, len(members), full):
            some = members[first : first + full]
            if len(some) > 1:
                self._take_together(some, full)
            else:
                some[0].result = alone.run_chunk(*some[0].arguments)

    def _take_together(self, members: list[_Asked], full: int) -> None:
        program, most_steps, *_ = members[0].arguments
        self.joined += 1
        carries, data, orders, numbers, keys = ([asked.arguments[i] for asked in members] for i in (2, 3, 4, 5, 6))
        empty = max(full - len(members), 0)  # places of those that have ended are filled, lest it is compiled again
        both = [list(values) + [values[-1]] * empty for values in (data, orders, numbers, keys)]
        carries += [alone.copied(carries[-1]) for _ in range(empty)]
        first, segments, count = members[0].arguments[7:]
        results = _taken(program, most_steps, carries, *both, first, segments, count)
        for asked, result in zip(members, results, strict=False):
            asked.result = result


def fitting(arguments: tuple[Any, ...]) -> int:
    """How many chunks like this one the device's free memory takes at once, 1 at the least. Together they hold their
    data once more, and what a step needs beside weights and moments is guessed generously (`memory.COPIES`)."""
    _, _, carry, data, order, *_ = arguments
    free = free_memory()
    if free is None:
        return MOST

    def size(tree: Any) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))

    need = size((data, order)) + COPIES * size((carry.params, carry.state, carry.optimizer))
    return max(min(int(SHARE * free / max(need, 1)), MOST), 1)


@partial(compiled, effort=alone.effort, static_argnames=("program", "most_steps"), donate_argnames=("carries",))
def _taken(program, most_steps, carries, data, orders, numbers, keys, first, segments, count):
    """The results of `step.run_chunk` for each."""

    def one(carry, data, order, numbers, key):
        return alone.run_chunk.function(program, most_steps, carry, data, order, numbers, key, first, segments, count)

    both = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *values) for values in (data, orders, numbers, keys)]
    carry, *told = jax.vmap(one, in_axes=(APART, 0, 0, 0, 0), out_axes=(APART, 0, 0, 0))(stacked(carries), *both)
    return [(one_of(carry, i), *jax.tree.map(lambda leaf: leaf[i], told)) for i in range(len(carries))]  # noqa: B023
