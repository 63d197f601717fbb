"""The compiled part of training: one pure step, and a chunk of many steps as one program.

A chunk runs segments: some plain steps, then at most one measured step, whose activation, gradient and update
statistics go into a row of a buffer. Both lengths are traced, so one compilation serves every chunk, the last and
shorter one too. There is no `lax.cond` around the weights: on a CPU it would copy them.
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pellucid.network.compiling import Effort, compiled, effort_for
from pellucid.network.layer import Context, Layer, nest
from pellucid.network.network import merge_updates
from pellucid.network.precision import as_were, wide
from pellucid.network.probes import BINS, Probes, sample, time_of
from pellucid.train import mesh as meshes
from pellucid.train import precision
from pellucid.train import shards as sharded
from pellucid.train.accumulate import Batch, in_parts
from pellucid.train.augment import augment as augmented
from pellucid.train.dense_steps import swift
from pellucid.train.loss import Loss
from pellucid.train.metrics import Metric
from pellucid.train.program import Arrays, Carry, Data, Measured, Program


def start(program: Program, params: Arrays, state: Any, numbers: dict[str, float], carried: Any = ()) -> Carry:
    """The carry before the first step. It owns its arrays, for the chunks donate them. carried: shapes, of streams."""
    if program.mesh is not None:
        return _start_on_mesh(program, program.mesh, params, state, numbers, carried)
    params, state = _copied_at_once((params, state))
    opt = _optimizer_state(program, program.trained(params), numbers)
    step, loss, weight = (jnp.zeros((), kind) for kind in (jnp.int32, jnp.float32, jnp.float32))
    streams = zeros_like(carried) if program.streams else ()
    return Carry(params, state, opt, step, loss, weight, streams, precision.begin(program.precision))


@partial(compiled, effort="little", static_argnames=("program",))
def _optimizer_state(program: Program, trained: Arrays, numbers: dict[str, float]) -> Any:
    # copied: what a compiled function gives back as it came is not a copy
    return copied(program.optimizer.transform(numbers).init(trained))


def _start_on_mesh(program: Program, mesh: Any, params: Arrays, state: Any, numbers, carried: Any) -> Carry:
    """As `start`: every process with the first one's weights, no device with more of the optimizer's state than it
    keeps."""
    params, state = meshes.from_first((params, state))
    params = {path: meshes.put(meshes.of_weight(mesh, np.shape(a)), np.asarray(a)) for path, a in params.items()}

    def rest(params: Arrays) -> Carry:
        opt = program.optimizer.transform(numbers).init(program.trained(params))
        zero = jnp.zeros((), jnp.float32)
        streams = zeros_like(carried) if program.streams else ()
        scale = precision.begin(program.precision)
        return Carry({}, {}, opt, jnp.zeros((), jnp.int32), zero, zero + 0, streams, scale)

    places = meshes.of_carry(mesh, jax.eval_shape(rest, params))
    made = jax.jit(rest, out_shardings=places)(params)
    whole = meshes.whole(mesh)
    return made._replace(params=params, state=jax.tree.map(lambda a: meshes.put(whole, np.asarray(a)), state))


def copied(tree: Any) -> Any:
    """Arrays of its own: of what is donated nothing else may hold a part."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


_copied_at_once = compiled(copied, effort="little")


def zeros_like(shapes: Any) -> Any:
    """Arrays of zeros of these shapes."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _batch(program: Program, data: Data, order: jax.Array, position: jax.Array, numbers) -> tuple[Any, Any, Any, Any]:
    """Batch number `position` of the epoch, its example weights and its mask (None where every row counts)."""
    if program.shards > 1:
        return sharded.batch(program, data, order, position, numbers)
    if program.takes_all:
        return data.x, data.y, data.weight, None
    first = position * program.batch
    rows = jax.lax.dynamic_slice(order, (first - numbers["skipped"],), (program.batch,))

    def take(a):
        return jax.tree.map(lambda v: v.at[rows].get(mode="promise_in_bounds"), a)

    weight = None if data.weight is None else take(data.weight)
    context = program.context
    x, y = sharded.pieces(context, data.x, rows, numbers["offset"]) if context else (take(data.x), take(data.y))
    if program.rows % program.batch == 0:
        return x, y, weight, None
    mask = first + jnp.arange(program.batch) < program.rows  # the last batch is filled up with rows that do not count
    weight = mask.astype(jnp.float32) if weight is None else jnp.where(mask, weight, 0)
    return x, y, weight, mask


def _step(program: Program, data: Data, order, numbers, key, first, carry: Carry, measure: bool):
    x, y, weight, mask = _batch(program, data, order, carry.step - first, numbers)
    counted = sharded.counted(program, data, carry.step - first)
    key = jax.random.fold_in(key, carry.step)
    x, mix = augmented(program.augment, key, x) if program.augment else (x, None)
    trained = program.trained(carry.params)
    slots = Probes.empty(program.watched, program.timed) if measure else {}

    def slopes(batch: Batch, key, state, carried, total=None):
        objective = _objective(program, carry, batch, key, state, carried, total, measure)
        return jax.value_and_grad(meshes.regathering(program.mesh, objective), (0, 1), True)(trained, slots)

    batch, fine = Batch(x, y, weight, mask, mix, y), None
    if program.accumulate == 1:
        found = slopes(batch, key, carry.state, carry.carried, None if weight is None else counted)
    else:
        zeros = zeros_like(trained), slots, Probes.empty(program.watched) if measure else {}
        found = in_parts(program.accumulate, slopes, batch, key, carry.state, carry.carried, zeros)
    (loss, (summed, total, state, taken, kept)), (grads, felt) = found
    grads = meshes.sliced(program.mesh, grads)
    scale = carry.scale
    if scale:
        loss, grads, felt = precision.unscaled(scale, loss, grads, felt)
        fine, scale = precision.judged(scale, grads)
    rate = program.rate(carry.step, numbers)
    transform = program.optimizer.transform({**numbers, "learning_rate": rate})
    updates, opt = transform.update(grads, carry.optimizer, trained)
    updates = _by_group(program, numbers, cast(Arrays, updates))
    params = {**carry.params, **cast(Arrays, optax.apply_updates(trained, updates))}
    carried = kept if program.streams else ()
    if fine is not None:
        kept_as_is = (carry.params, carry.state, carry.optimizer)
        params, state, opt = precision.made(fine, (params, state, opt), kept_as_is)
        updates, rate = precision.made(fine, (updates, rate), (zeros_like(updates), jnp.nan))
    new = Carry(params, state, opt, carry.step + 1, carry.loss + summed, carry.weight + total, carried, scale)
    new = meshes.settled(program.mesh, new)
    if not measure:
        return new, loss, None
    return new, loss, Measured(
        carry.step, loss, jnp.asarray(rate, jnp.float32), _stack(taken, program.watched), _stack(felt, program.watched),
        _weights(program, carry.params, grads, updates), _by_time(program, felt),
    )  # fmt: skip


def _objective(program: Program, carry: Carry, batch: Batch, key, state, carried, total, measure: bool):
    """What is differentiated by (trained weights, probes' slots): their loss on these rows, and what comes with it.

    total: what the sum of the losses is divided by; None: the weight of these rows themselves.
    """
    x, y, weight, mask, mix, whole = batch
    low = None if program.precision == "float32" else program.precision

    def objective(trained, slots):
        ctx = Context(
            train=True, key=key, state=state, mask=mask, reverse_only=True, precision=low,
            carried=carried if program.streams else None, probes=Probes(slots) if measure else None,
        )  # fmt: skip
        weights = meshes.gathered(program.mesh, {**carry.params, **trained})
        outputs = jax.tree.map(wide, ctx.run(program.layer, nest(weights), x))
        losses = cast(jax.Array, program.loss.per_example(outputs, y))  # [batch]
        if mix is not None:
            partner, share = mix
            losses = share * losses + (1 - share) * program.loss.per_example(outputs, whole[partner])
        if weight is None:
            own, summed = jnp.float32(program.batch), jnp.sum(losses)
        else:
            own, summed = jnp.sum(weight), jnp.sum(cast(jax.Array, jnp.where(weight > 0, losses * weight, 0)))
        taken = ctx.probes.taken if ctx.probes else {}
        over = own if total is None else total
        mean = summed / (over if weight is None else jnp.where(over > 0, over, 1))
        kept = as_were(ctx.kept, carried) if program.streams and low else ctx.kept
        after = merge_updates(state, ctx.updates)
        after = after if low is None else as_were(after, state)
        return precision.scaled(mean, carry.scale), (summed, over, after, taken, kept)

    return objective


def _by_time(program: Program, felt: Arrays) -> jax.Array:
    rows = [felt[time_of(path)] for path in program.timed]
    return jnp.stack(rows) if rows else jnp.zeros((0, BINS), jnp.float32)


def _by_group(program: Program, numbers, updates: Arrays) -> Arrays:
    """Each group's updates times its own factor; all of these optimizers' updates are linear in the rate."""
    if not program.groups:
        return updates
    groups = {path: program.group_of(path) for path in updates}
    return {p: u if (g := groups[p]) is None else u * numbers[f"rate:{g}"] for p, u in updates.items()}


def _stack(taken: Arrays, watched: tuple[str, ...]) -> jax.Array:
    return jnp.stack([taken[path] for path in watched]) if watched else jnp.zeros((0, 5), jnp.float32)


def _weights(program: Program, params: Arrays, grads: Arrays, updates: Arrays) -> jax.Array:
    def mean_square(a):
        v = sample(a).astype(jnp.float32)
        return jnp.dot(v, v, precision="highest") / v.size

    zero = jnp.zeros((), jnp.float32)
    rows = [
        jnp.stack(
            [
                mean_square(grads[path]) if path in grads else zero,
                mean_square(updates[path]) if path in updates else zero,
                mean_square(params[path]),
            ]
        )
        for path in params
    ]
    return jnp.stack(rows) if rows else jnp.zeros((0, 3), jnp.float32)


def effort(program: Program, *_: Any) -> Effort:
    """That the compiler makes for a chunk."""
    return effort_for(program.layer)


@partial(compiled, effort=effort, static_argnames=("program", "most_steps"), donate_argnames=("carry",))
def run_chunk(program: Program, most_steps: int, carry: Carry, data: Data, order, numbers, key, first, segments, count):
    """Run `count` segments. segments: int32 [most, 2]: plain steps, then measured steps (0 or 1).

    first: the step at which the epoch began.   most_steps: no chunk is longer.   Returns the carry, the losses of the
    chunk's steps [most_steps], the measurements ([most, ...], row i of segment i), and the exact sum of squares of each
    weight after the chunk.
    """
    at_once = swift(program, carry, data, order, numbers, first, most_steps)
    if at_once is not None:
        return at_once(segments, count)
    step = partial(_step, program, data, order, numbers, key, first)
    began = carry.step

    def empty(*shape: int, dtype: Any = jnp.float32) -> jax.Array:
        return jnp.zeros((segments.shape[0], *shape), dtype)

    layers = len(program.watched)
    rows = Measured(  # written down, for to ask JAX for the shapes would trace the whole step once more
        empty(dtype=jnp.int32), empty(), empty(), empty(layers, 5), empty(layers, 5), empty(len(carry.params), 3),
        empty(len(program.timed), BINS),
    )  # fmt: skip

    def noted(losses, carry, loss):
        return losses.at[carry.step - 1 - began].set(loss, mode="promise_in_bounds")

    def plain(_, both):
        carry, loss, _ = step(both[0], measure=False)
        return carry, noted(both[1], carry, loss)

    def segment(i, all):
        carry, losses, rows = all
        carry, losses = jax.lax.fori_loop(0, segments[i, 0], plain, (carry, losses))

        def measured(_, all):
            carry, loss, row = step(all[0], measure=True)
            rows = jax.tree.map(lambda whole, one: whole.at[i].set(one), all[2], row)
            return carry, noted(all[1], carry, loss), rows

        if not program.watched:
            return carry, losses, rows
        return jax.lax.fori_loop(0, segments[i, 1], measured, (carry, losses, rows))

    losses = jnp.zeros((most_steps,), jnp.float32)
    carry, losses, rows = jax.lax.fori_loop(0, count, segment, (carry, losses, rows))
    told = losses, rows, {path: jnp.square(value).sum() for path, value in carry.params.items()}
    return carry, *meshes.replicated(program.mesh, told)


@partial(compiled, effort=lambda layer, *_: effort_for(layer), static_argnames=("layer", "loss", "metric"))
def evaluate_block(
    layer: Layer,
    loss: Loss,
    metric: Metric | None,
    params: Arrays,
    state: Any,
    x: Any,
    y: Any,
    weight: Any,
    carried: Any = None,
) -> Any:
    """Additive sums over one block of rows: (loss, weight, the metric's sums), and what recurrent layers keep for the
    next pieces of the same texts, if `carried` is given. Rows of weight 0 do not count."""
    ctx = Context(state=state, carried=carried)
    outputs = ctx.run(layer, nest(params), x)
    losses = cast(jax.Array, jnp.where(weight > 0, loss.per_example(outputs, y) * weight, 0))  # [rows]
    sums = () if metric is None else metric.update(metric.zeros(), loss.apply_link(outputs), y, weight)
    return (jnp.sum(losses), jnp.sum(weight), sums), ctx.kept
