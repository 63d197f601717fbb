"""States from the middle of a run, kept in memory while it trains, from which trials can begin.

    states = States()                        # a callback of the run's
    state = states.before(step)              # the last one kept at or before that many updates; None: the beginning
    state is not None and put(loop, state)   # a loop that has not begun goes on from there

A finding that began at update 4,000 is tried from there: a short branch from the initial weights would never come to
it. Kept are the ends of at most 16 epochs, evenly spread, within 256 MB.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.session import Callback, Session
from pellucid.train.loop import EpochEnded, Loop
from pellucid.train.program import Carry

MOST, MOST_BYTES = 16, 256 * 2**20


class State(NamedTuple):
    """All that changes while a run trains, as it was at the end of an epoch; arrays on the host."""

    step: int
    epoch: int
    carry: Carry
    optimizer: str
    plateau: dict[str, Any]
    factor: float


class States(Callback):
    """Keeps the states of the run that it is a callback of."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES):
        self.most, self.most_bytes = most, most_bytes
        self.kept: list[State] = []
        self.every, self.epochs = 1, 0
        self.loop: Loop | None = None

    def started(self, session: Session) -> None:
        self.loop = session.loop
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(self.loop.carry))
        self.most = min(self.most, self.most_bytes // max(size, 1))

    def epoch_ended(self, event: EpochEnded) -> None:
        self.epochs += 1
        if self.loop is None or self.most < 2 or self.epochs % self.every or self.loop.finished:
            return
        if len(self.kept) >= self.most:
            self.kept, self.every = self.kept[1::2], 2 * self.every
            if self.epochs % self.every:
                return
        self.kept.append(taken(self.loop))

    def before(self, step: int) -> State | None:
        """The last state after at most so many updates; None where the beginning is the nearest.

        >>> states = States()
        >>> states.kept = [State(step, 0, None, "", {}, 1.0) for step in (100, 200, 300)]
        >>> states.before(250).step, states.before(99)
        (200, None)
        """
        return max((s for s in self.kept if s.step <= step), key=lambda s: s.step, default=None)


def taken(loop: Loop) -> State:
    """A copy of a loop's state, between two epochs."""
    carry = jax.tree.map(lambda leaf: np.array(leaf, copy=True), loop.carry)
    return State(loop.step, loop.epoch, carry, loop.program.optimizer.name, loop.plateau, loop.numbers["plateau"])


def put(loop: Loop, state: State) -> bool:
    """Let a loop that has not begun go on from this state; False where its weights are others, and nothing is done.

    An optimizer of another kind begins anew. The loop counts updates and epochs from there, and its best epoch is
    looked for from there on.
    """
    old, new = state.carry, loop.carry
    if _shapes((old.params, old.state)) != _shapes((new.params, new.state)):
        return False
    optimizer = new.optimizer
    same = state.optimizer == loop.program.optimizer.name
    if same and _leaves(old.optimizer) == _leaves(new.optimizer):  # clipping has no state: the leaves are the same
        kept = [jnp.array(leaf) for leaf in jax.tree.leaves(old.optimizer)]
        optimizer = jax.tree.unflatten(jax.tree.structure(new.optimizer), kept)
    loop.carry = new._replace(
        params=jax.tree.map(jnp.array, old.params), state=jax.tree.map(jnp.array, old.state), optimizer=optimizer,
        step=jnp.array(old.step),
    )  # fmt: skip
    loop.step = loop.epoch_start = state.step
    loop.epoch = state.epoch
    if state.plateau.keys() == loop.plateau.keys():  # of an equal kind of schedule
        loop.plateau, loop.numbers["plateau"] = state.plateau, state.factor
    return True


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (np.shape(leaf), str(leaf.dtype)), tree)


def _leaves(tree: Any) -> list[Any]:
    return [(np.shape(leaf), str(leaf.dtype)) for leaf in jax.tree.leaves(tree)]
