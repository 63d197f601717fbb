"""What a network turns out to be for a given input: it is run once on shapes alone."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.dtypes

from pellucid.network.layer import Context, Layer, Leaf, Param, nest

# numbers of the largest array that one block may hold: on a processor it should stay in a cache
BLOCK_NUMBERS, BLOCK_ON_CPU = 8_000_000, 2_000_000


class Traced(NamedTuple):
    """What a network turns out to be for a given input: every weight it declares, and every leaf with its shapes."""

    declared: dict[str, Param]
    leaves: tuple[Leaf, ...]
    y: Any


def trace(layer: Layer, x: Any) -> Traced:
    """Run `layer` on shapes alone. `x`: arrays or `jax.ShapeDtypeStruct`s with a batch axis."""
    shapes = jax.tree.map(lambda a: (tuple(a.shape), _dtype_of(a)), x, is_leaf=_is_array)
    leaves, treedef = jax.tree.flatten(shapes)
    return _trace(layer, tuple(leaves), treedef)


def operations(layer: Layer, x: Any) -> int:
    """Multiplications and additions of one example's forward pass."""
    return sum(leaf.layer.operations(leaf.x, leaf.y) for leaf in trace(layer, x).leaves)


def block_rows(layer: Layer, x: Any) -> int:
    """How many examples to compute at once where no gradient is asked for: few of large ones, so that memory stays
    bounded; a power of two from 8 to 1,024."""
    leaves = trace(layer, x).leaves
    sizes = [a.size for leaf in leaves for a in jax.tree.leaves((leaf.x, leaf.y))] + [_inside(leaf) for leaf in leaves]
    most = BLOCK_ON_CPU if jax.default_backend() == "cpu" else BLOCK_NUMBERS
    return min(max(floor_power(most // max(sizes, default=1)), 8), 1024)


def _inside(leaf: Leaf) -> int:
    """Numbers that a layer's widest matrix gives at all places of what arrives, as the gates of a recurrent layer at
    all steps: more than comes out of it, where only the last step does."""
    places = max((math.prod(a.shape[1:-1]) for a in jax.tree.leaves(leaf.x)), default=1)
    matrices = [param.shape[-1] for param in leaf.layer.declare(leaf.x).values() if len(param.shape) > 1]
    return places * max(matrices, default=0)


def floor_power(n: int) -> int:
    """The largest power of two that is not above n; 1 for less."""
    return 1 << max(n.bit_length() - 1, 0)


def carried_over(layer: Layer, x: Any) -> dict[str, Any]:
    """What the layers keep from piece to piece of sequences, by path, as shapes; x: shapes with the batch axis."""
    declared = trace(layer, x).declared

    def forward(arrays, x):
        split = lambda trained: nest({k: v for k, v in arrays.items() if declared[k].trained is trained})  # noqa: E731
        ctx = Context(state=split(False), carried={})
        ctx.run(layer, split(True), x)
        return ctx.kept

    arrays = {path: jax.ShapeDtypeStruct(param.shape, param.dtype) for path, param in declared.items()}
    return jax.eval_shape(forward, arrays, x)


def _dtype_of(a: Any) -> str:
    """The type that JAX will make of it: NumPy's float64 becomes float32, and asking for float64 is warned of."""
    return str(jax.dtypes.canonicalize_dtype(a.dtype, allow_extended_dtype=True))


def _is_array(a: Any) -> bool:
    return hasattr(a, "shape") and hasattr(a, "dtype")


@lru_cache(maxsize=256)
def _trace(layer: Layer, leaves: tuple, treedef) -> Traced:
    shapes = jax.tree.unflatten(treedef, leaves)
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(*a), shapes, is_leaf=lambda a: _is_pair(a))
    met: list[Leaf] = []
    declared: dict[str, Param] = {}

    def forward(x):
        return Context(declared=declared, leaves=met).run(layer, {}, x)

    y = jax.eval_shape(forward, x)
    return Traced(declared, tuple(met), y)


def _is_pair(a: Any) -> bool:
    return isinstance(a, tuple) and len(a) == 2 and isinstance(a[0], tuple) and isinstance(a[1], str)
