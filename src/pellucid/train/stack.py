"""The carries of several trainings as one, for `vmap`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pellucid.train.program import Carry
from pellucid.train.step import copied

# what differs from one to the other: all but the number of updates made, so that batches are taken at once for all
APART = Carry(params=0, state=0, optimizer=0, step=None, loss=0, weight=0, carried=0, scale=0)  # pyright: ignore


def stacked(carries: Sequence[Carry]) -> Carry:
    """Carries of one moment as one, with an axis in front of all that differs."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    return both._replace(step=copied(carries[0].step))


def one_of(carries: Carry, place: int) -> Carry:
    """Of those that are together, one."""
    own = jax.tree.map(lambda leaf: leaf[place], carries._replace(step=()))
    return own._replace(step=copied(carries.step))


def shapes(tree: Any) -> Any:
    """(shape, dtype) of each array."""
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), str(jnp.asarray(leaf).dtype)), tree)
