"""What computes: how many cores there are, and whether what is being compiled will be divided among devices."""

import os


def cores() -> int:
    """How many this process may use.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def several() -> bool:
    """Whether the program that is being traced runs on a mesh of more than one device that XLA divides by itself.

    A custom call (a native kernel) has no rule for how it is divided: XLA would gather what goes into it on every
    device. So layers take plain JAX where this is true. Inside `jax.shard_map`, where a device sees its own part and
    no more, it is false. The mesh in force (`jax.set_mesh`) is part of what JAX's caches tell apart, so the answer may
    decide what is traced.

    >>> several()
    False
    """
    import jax

    mesh = jax.sharding.get_abstract_mesh()
    kinds = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    return any(size > 1 and kind != jax.sharding.AxisType.Manual for size, kind in kinds)
