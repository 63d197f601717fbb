"""Several devices as a mesh of two axes, and where arrays lie on it.

    --mesh data=4             four devices: each holds all weights and learns from a quarter of every batch
    --mesh data=2,shard=4     eight: the weights and the optimizer's state are cut into four, too ("fully sharded")

Both axes together divide the batch; `shard` alone divides weights. The step stays one pure function of global arrays:
XLA partitions it (GSPMD, Xu et al. 2021), so that means over a batch, batch norm's statistics among them, are exact.
Fully sharded weights follow ZeRO (Rajbhandari et al. 2020): a weight is gathered where it is used, dropped after it,
gathered anew in the backward pass, and its gradient is summed into the slices that the optimizer's state has.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pellucid.errors import SettingError
from pellucid.train import hosts

AXES = ("data", "shard")
SMALL = 1024  # numbers; a smaller array is not cut, for fetching its pieces would take longer than it saves


def parse(words: str, devices: int) -> tuple[int, int]:
    """(data, shard) of `data=4` or `data=2,shard=2`; an axis without a number takes the devices that are left.

    >>> parse("data=4", 8), parse("shard=2", 8), parse("data,shard=2", 8)
    ((4, 1), (1, 2), (4, 2))
    """
    sizes: dict[str, int] = {}
    for part in words.split(","):
        name, sign, number = (text.strip() for text in part.partition("="))
        fine = name in AXES and name not in sizes and (not sign or (number.isdecimal() and int(number) > 0))
        if not fine:
            raise SettingError(
                "this is no mesh", where="train.mesh", expected="such as data=4, shard=4, or data=2,shard=4", got=words
            )
        sizes[name] = int(number) if sign else 0
    open_axes = [name for name, size in sizes.items() if size == 0]
    if len(open_axes) > 1:
        raise SettingError("two axes without a number", where="train.mesh", got=words, fix=f"data,shard={devices}")
    for name in open_axes:
        sizes[name] = max(devices // max(math.prod(size for size in sizes.values() if size), 1), 1)
    return sizes.get("data", 1), sizes.get("shard", 1)


def build(words: str | None) -> Mesh | None:
    """The mesh of these words over the devices of all processes, or None where it would be a mesh of one."""
    processes = hosts.count()
    if words is None:
        if processes > 1:
            raise SettingError(
                "several processes train one network on a mesh, and none is given", where="train.mesh",
                got=f"{processes} processes", fix=f"--mesh data={len(jax.devices())}",
            )  # fmt: skip
        return None
    devices = jax.devices()
    data, shard = parse(words, len(devices))
    size = data * shard
    wrong = size > len(devices) or len(devices) % size or (processes > 1 and size != len(devices))
    if wrong:
        found = f"{len(devices)} ({devices[0].platform}, {processes} process{'es' if processes > 1 else ''})"
        raise SettingError(
            "the mesh does not divide the devices", where=f"train.mesh = {words}",
            expected=f"{size} devices" + ("" if processes > 1 else f", or a multiple of {size}"), got=found,
            fix=_fix(size),
        )  # fmt: skip
    return None if size == 1 else Mesh(np.array(devices[:size]).reshape(data, shard), AXES)


def _fix(size: int) -> str:
    devices = len(jax.devices())
    said = f"--mesh data={devices}"
    if jax.default_backend() == "cpu" and hosts.count() == 1:
        said += f"; to try it out on one CPU: XLA_FLAGS=--xla_force_host_platform_device_count={size} in front"
    return said


def written(mesh: Mesh) -> str:
    """A mesh as the recipe has it."""
    data, shard = (mesh.shape[axis] for axis in AXES)
    return f"data={data}" + (f",shard={shard}" if shard > 1 else "")


def shards_of(mesh: Mesh | None, asked: int | None) -> int:
    """Into how many shards the rows are dealt: as many as asked, or one for each device."""
    size = 1 if mesh is None else mesh.size
    if asked is not None and asked % size:
        fits = [n for n in range(1, asked + 1) if asked % n == 0]
        raise SettingError(
            "the mesh does not divide the shards", where=f"train.shards = {asked}",
            expected=f"a mesh of {', '.join(map(str, fits[:-1]))} or {fits[-1]} devices" if fits[1:] else "one device",
            got=f"{size} devices", fix="leave shards out; the rows are then dealt anew",
        )  # fmt: skip
    return asked or size


def check_batch(batch: int, rows: int, shards: int) -> None:
    """A batch has as many rows of each shard; one that takes every row may be filled up."""
    if rows < shards:
        raise SettingError("there are fewer training rows than shards", expected=f"at least {shards}", got=rows)
    if batch % shards and batch < rows:
        near = max(round(batch / shards), 1) * shards
        raise SettingError(
            "the mesh does not divide the batch", where="train.batch_size", expected=f"a multiple of {shards}",
            got=batch, fix=f"--batch-size {near}",
        )  # fmt: skip


# -- where arrays lie ---------------------------------------------------------------------------------------------


def whole(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis divided among all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def of_weight(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Of a weight, or of what the optimizer keeps for it: cut along its longest axis that the axis `shard` divides."""
    parts = mesh.shape["shard"]
    fitting = [axis for axis, size in enumerate(shape) if size % parts == 0 and size >= parts]
    if parts == 1 or math.prod(shape) < SMALL or not fitting:
        return whole(mesh)
    longest = max(fitting, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*(None,) * longest, "shard"))


def of_carry(mesh: Mesh, carry: Any) -> Any:
    """A tree like `carry`, of shardings."""
    placed = jax.tree.map(lambda a: of_weight(mesh, a.shape), carry)

    def stream(a: Any) -> NamedSharding:
        return by_rows(mesh) if a.ndim and a.shape[0] % mesh.size == 0 else whole(mesh)

    return placed._replace(
        state=jax.tree.map(lambda _: whole(mesh), carry.state), carried=jax.tree.map(stream, carry.carried)
    )


def put(sharding: Any, value: Any) -> jax.Array:
    """A global array of `value`, anything that slices; only the pieces of this process's own devices are taken."""
    return jax.make_array_from_callback(value.shape, sharding, lambda index: np.asarray(value[index]))


def from_first(tree: Any) -> Any:
    """Host arrays as the first process has them: those of others may differ in their last bits, where their processors
    do."""
    if hosts.count() == 1:
        return tree
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def key(mesh: Mesh | None, seed: int) -> jax.Array:
    """`jax.random.key(seed)`, on every device."""
    if mesh is None:
        return jax.random.key(seed)
    return jax.jit(lambda: jax.random.key(seed), out_shardings=whole(mesh))()


def put_like(mesh: Mesh | None, carry: Any, zero: Any, carried: Any) -> dict[str, Any]:
    """What a carry begins an epoch with, placed as the carry's own."""
    if mesh is None:
        return {"loss": zero, "weight": zero + 0, "carried": carried}
    fresh = carry._replace(loss=zero, weight=zero, carried=carried)
    places = of_carry(mesh, fresh)
    return {
        name: jax.tree.map(lambda a, s: put(s, np.asarray(a)), getattr(fresh, name), getattr(places, name))
        for name in ("loss", "weight", "carried")
    }


def readable(a: Any) -> bool:
    """Whether this process alone can read all of it."""
    return not isinstance(a, jax.Array) or a.is_fully_addressable or a.is_fully_replicated


def fetch(a: Any) -> Any:
    """A global array as a NumPy array. Where it is cut over processes, all of them must call this together."""
    if readable(a):
        return np.asarray(a)
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(a, tiled=True))


def local(tree: Any) -> Any:
    """Global arrays as arrays of one device of this process, for what each process computes by itself."""

    def one(a: Any) -> Any:
        return a.addressable_data(0) if a.is_fully_replicated else fetch(a)

    return jax.tree.map(one, tree)


@contextmanager
def on(mesh: Mesh | None) -> Iterator[None]:
    """What is compiled within it knows that it runs on this mesh (see `native.devices`)."""
    if mesh is None:
        yield
    else:
        with jax.set_mesh(mesh):
            yield


# -- inside the step ----------------------------------------------------------------------------------------------


def settled(mesh: Mesh | None, carry: Any) -> Any:
    """The carry after a step, held where it was before it."""
    return carry if mesh is None else jax.lax.with_sharding_constraint(carry, of_carry(mesh, carry))


def replicated(mesh: Mesh | None, tree: Any) -> Any:
    """Held whole by every device, so that every process can read it."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, jax.tree.map(lambda _: whole(mesh), tree))


def sliced(mesh: Mesh | None, gradients: dict[str, Any]) -> dict[str, Any]:
    """Gradients by path, each summed into the slices in which its weight lies."""
    if mesh is None or mesh.shape["shard"] == 1:
        return gradients
    places = {path: of_weight(mesh, g.shape) for path, g in gradients.items()}
    return jax.lax.with_sharding_constraint(gradients, places)


def gathered(mesh: Mesh | None, weights: dict[str, Any]) -> dict[str, Any]:
    """Weights by path, whole: for the forward pass."""
    if mesh is None or mesh.shape["shard"] == 1:
        return weights

    def cut(a: jax.Array) -> bool:
        return not of_weight(mesh, a.shape).is_fully_replicated

    return {path: jax.lax.with_sharding_constraint(a, whole(mesh)) if cut(a) else a for path, a in weights.items()}


def regathering(mesh: Mesh | None, objective: Callable[..., Any]) -> Callable[..., Any]:
    """`objective`, whose backward pass gathers the weights anew rather than keep them whole all the while."""
    if mesh is None or mesh.shape["shard"] == 1:
        return objective

    def kept(primitive: Any, *_: Any, **__: Any) -> bool:
        return primitive.name != "sharding_constraint"

    return jax.checkpoint(objective, policy=kept)
