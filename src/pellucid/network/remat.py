"""Rematerialisation: of a network's blocks only what lies between them is kept for the way back, and what happens
inside one is computed again when the gradient gets there. About a third more arithmetic, for a fraction of the memory.

A block is a stretch of a `Sequential`. Where it is cut follows from the sizes of what its parts give: with the cuts
B, the most that lies in memory is sum(what crosses each cut) + the largest inside of a block. Chen et al. 2016, who
find sqrt(n) blocks of n equal layers by the same sum.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple

import jax

from pellucid.network.composite import Sequential, replace_layers, walk
from pellucid.network.layer import Context, Layer, join
from pellucid.network.trace import trace

WORTH = 0.75  # of what lies in memory without it; less is not gained where layers are fused or recompute by themselves


@dataclass(frozen=True)
class Blocks(Layer):
    """`whole`, computed block by block: parts cuts[i] to cuts[i + 1]. The last block is not computed twice, for the way
    back begins with it. Weights have the paths that they have in `whole`; it is made for a run and never written down.
    """

    name: ClassVar[str] = "blocks"

    whole: Sequential
    cuts: tuple[int, ...]

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        for first, last in pairwise(self.cuts):

            def block(ctx: Context, x: Any, first: int = first, last: int = last) -> Any:
                return ctx.chain(self.whole.layers[first:last], p, x)

            x = ctx.remat(block, x) if last < self.cuts[-1] else block(ctx, x)
        return x


class Plan(NamedTuple):
    """kept: numbers of one example that lie in memory at most, of `all` without it. They are counted from what the
    leaves give, so they compare plans and are no bytes."""

    layer: Layer
    kept: int
    all: int
    blocks: int


def in_blocks(layer: Layer, x: Any) -> Plan | None:
    """The network cut into blocks where that keeps the least; None where nothing can be cut to any use.

    x: shapes with a batch axis of 1.

    >>> import jax.numpy as jnp
    >>> from pellucid.network.activations import ReLU
    >>> from pellucid.network.dense import Dense
    >>> net = Sequential(*[part for _ in range(8) for part in (Dense(4), ReLU())])
    >>> plan = in_blocks(net, jax.ShapeDtypeStruct((1, 4), "float32"))
    >>> plan.blocks, plan.kept, plan.all
    (4, 28, 64)
    """
    sizes = [(leaf.path, sum(a.size for a in jax.tree.leaves(leaf.y))) for leaf in trace(layer, x).leaves]
    total, best = sum(size for _, size in sizes), None
    for path, part in walk(layer):
        if not isinstance(part, Sequential) or len(part.layers) < 2:
            continue
        inside, gives = [], []
        for name, _ in part.layers:
            own = [size for at, size in sizes if at == join(path, name) or at.startswith(join(path, name) + "/")]
            inside.append(sum(own))
            gives.append(own[-1] if own else 0)
        cuts, kept = _cut(inside, gives)
        kept += total - sum(inside)
        if kept < (WORTH * total if best is None else best[0]) and len(cuts) > 2:
            best = kept, part, cuts
    if best is None:
        return None
    kept, chosen, cuts = best
    made = replace_layers(layer, lambda part: Blocks(chosen, cuts) if part is chosen else part)
    return Plan(made, kept, total, len(cuts) - 1)


def _cut(inside: list[int], gives: list[int]) -> tuple[tuple[int, ...], int]:
    """(where to cut, what is kept): of all bounds on a block's inside the one that keeps the least."""
    best: tuple[int, tuple[int, ...]] | None = None
    sums = [0, *accumulate(inside)]
    for bound in sorted({b - a for a in sums for b in sums if b - a >= max(inside)}):
        cuts, held = [0], 0
        for place, size in enumerate(inside):
            if held and held + size > bound:
                cuts.append(place)
                held = 0
            held += size
        cuts.append(len(inside))
        largest = max(sums[b] - sums[a] for a, b in pairwise(cuts))
        kept = largest + sum(gives[at - 1] for at in cuts[1:-1])
        if best is None or kept < best[0]:
            best = kept, tuple(cuts)
    assert best is not None
    return best[1], best[0]
