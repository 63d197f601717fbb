"""Numbers of 16 bits where they do, of 32 where they are needed. The rule, which `Context` keeps:

    weights      float32 in the run; a layer gets a copy of the low type, unless it says `full_precision`
    what passes  between layers is of the low type: what leaves a leaf is rounded to it
    sums         means, variances, softmax and losses are taken in float32, by `wide`

bfloat16 has float32's range (1e-38 to 3e38) and 3 digits; float16 has 4 digits and a range from 6e-8 to 65,504.
Micikevicius et al. 2018; Kalamkar et al. 2019.
"""

from typing import Any

import jax
import jax.numpy as jnp

LOW = ("bfloat16", "float16")  # beside float32, which is no precision of its own: nothing is rounded


def wide(x: Any) -> Any:
    """`x` in float32 where it has fewer bits, else as it is: sums are taken of this.

    >>> wide(jnp.ones(1, "bfloat16")).dtype, wide(jnp.ones(1, "int8")).dtype
    (dtype('float32'), dtype('int8'))
    """
    return x.astype(jnp.float32) if is_low(x) else x


def is_low(x: Any) -> bool:
    """Whether an array's numbers have 16 bits."""
    return str(x.dtype) in LOW


def lowered(tree: Any, precision: str | None) -> Any:
    """Every floating array of a tree in this type; None: as it is. Others (ids, masks, keys) stay what they are.

    >>> lowered((jnp.ones(1), jnp.ones(1, "int32")), "float16")[0].dtype
    dtype('float16')
    """
    if precision is None:
        return tree
    return jax.tree.map(lambda a: a.astype(precision) if _floating(a) else a, tree)


def as_were(tree: Any, like: Any) -> Any:
    """A tree's arrays in the types of `like`, one by one: what goes round a loop keeps its type."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)


def _floating(a: Any) -> bool:
    return hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating)
