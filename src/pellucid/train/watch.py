"""The doctor for any loop over optax: what an update does to each weight, kept in the optimizer's own state.

    optimizer = pc.watch(optax.adam(1e-3))               # in place of optax.adam(1e-3); under jit, scan and vmap
    ...
    record = pc.watched(opt_state, losses=losses)        # when training is over, or whenever one likes
    pc.diagnose(record)

What is watched may be a chain, and the result may stand in one: `optax.chain(optax.clip(1.0),
pc.watch(optax.adam(1e-3)))`. Nothing is called back to Python, and the updates are those of the optimizer alone, but
for the last bit where the compiler fuses them otherwise. Layers are not seen from here, only weights.

The state holds a row for each of the updates 0, 1, 2, 4, 8, ... and for the last `KEPT` of every so many. An update is
measured by where the weights are at the next one, not by what the optimizer returns: so whatever else changes it counts
(a schedule behind it in the chain), and the compiler still fuses the optimizer with what applies it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pellucid.errors import SettingError, nearest
from pellucid.network.probes import moments, sample
from pellucid.signals.journal import Journal
from pellucid.signals.record import Record, number, numbers, spread

EVERY = 100
KEPT = 96  # rows of regular updates; the early ones have places of their own
EARLY = 32  # 1, 2, 4, ...
ROWS = EARLY + KEPT
LARGE = 1 << 14  # elements of a weight, from where copying it costs more than what it takes to avoid that
CHUNK = 100  # steps whose losses are summed up in one line
TOLD = ("task", "loss", "optimizer", "learning_rate", "batch", "rows", "updates", "steps_per_epoch", "classes",
        "trivial_loss")  # fmt: skip


class WatchState(NamedTuple):
    """step: updates made.   steps: [rows], the update of each row, -1 where there is none.   rows: [rows, weights, 7]:
    five sums of the gradient, then the mean squares of update and weight.   kept: samples of the weights before the
    last measured update.   shapes: a tree like the weights', of their shapes.   inner: the optimizer's own state."""

    step: jax.Array
    steps: jax.Array
    rows: jax.Array
    kept: list[jax.Array]
    shapes: Any
    inner: Any


def watch(optimizer: optax.GradientTransformation, every: int = EVERY) -> optax.GradientTransformationExtraArgs:
    """The optimizer, watched: the same updates, and statistics of them in its state, which `watched` reads.

    every: measure each so many updates, besides the first few.

    >>> tx = watch(optax.sgd(0.5))
    >>> weights, gradients = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([2.0, -2.0])}
    >>> state = tx.init(weights)
    >>> for _ in range(2):
    ...     updates, state = tx.update(gradients, state, weights)
    ...     weights = optax.apply_updates(weights, updates)
    >>> [line["weight"]["update"] for line in watched(state).steps]       # the last one is known from the next call on
    [[1.0], ['nan']]
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise SettingError(
            "this cannot be watched", where="optimizer", expected="an optax transformation",
            got=type(optimizer).__name__,
            fix="pc.watch(optax.adam(1e-3)); for PyTorch: pc.connect.torch.watch(model, optimizer)",
        )  # fmt: skip
    if every < 1:
        raise SettingError("a setting is out of range", where="every", expected="a whole number >= 1", got=every)
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> WatchState:
        leaves, tree = jax.tree.flatten(params)
        return WatchState(
            jnp.zeros((), jnp.int32), jnp.full(ROWS, -1, jnp.int32), jnp.zeros((ROWS, len(leaves), 7), jnp.float32),
            [jnp.zeros_like(_sample(a)) for a in leaves],
            tree.unflatten([jnp.array(jnp.shape(a), jnp.int32) for a in leaves]), inner.init(params),
        )  # fmt: skip

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, WatchState]:
        slopes = jax.tree.leaves(updates)
        weights = [jnp.full_like(g, jnp.nan) for g in slopes] if params is None else jax.tree.leaves(params)
        place, before = _place(state.step, every), _place(state.step - 1, every)

        def look(seen, slopes, weights):
            """What is known of an update before it is made, and how far the weights went since the last look."""
            steps, rows, kept = seen
            samples = [_sample(w) for w in weights]
            apart = [_mean_square(w - k) for w, k in zip(samples, kept, strict=True)]
            row = [
                jnp.concatenate([moments(g), jnp.stack([jnp.nan, _mean_square(w)])])
                for g, w in zip(slopes, samples, strict=True)
            ]
            rows = rows.at[before, :, 5].set(jnp.stack(apart).astype(jnp.float32), mode="drop")
            rows = rows.at[place].set(jnp.stack(row).astype(jnp.float32), mode="drop")
            return (steps.at[place].set(step, mode="drop"), rows, samples), jnp.minimum(step, 0)

        def pass_by(seen, slopes, weights):
            return seen, jnp.zeros_like(step)

        step, steps, rows, kept = state.step, state.steps, state.rows, state.kept
        if slopes:
            is_measured = (before < ROWS) | (place < ROWS)
            seen = steps, rows, kept
            (steps, rows, kept), nought = jax.lax.cond(is_measured, look, pass_by, seen, slopes, weights)
            # `nought` is 0, which the compiler does not know: so it sees that the weights are looked at before they
            # change; otherwise it would copy all of them at each step of a loop
            updates = jax.tree.map(lambda g: g - nought.astype(g.dtype) if jnp.size(g) >= LARGE else g, updates)
        updates, after = inner.update(updates, state.inner, params, **extra)
        return updates, WatchState(step + 1, steps, rows, kept, state.shapes, after)

    return optax.GradientTransformationExtraArgs(init, update)


def _place(step: jax.Array, every: int) -> jax.Array:
    """The row of an update; `ROWS` of one that is not measured."""
    regular: Any = (step >= 0) & (step % every == 0)
    early = (step > 0) & (step < every) & (step & (step - 1) == 0)
    power: Any = 31 - jax.lax.clz(jnp.maximum(step, 1))
    otherwise: Any = jnp.where(early, power, ROWS)
    place: Any = jnp.where(regular, EARLY + (step // every) % KEPT, otherwise)
    return place


def _sample(a: Any) -> jax.Array:
    return sample(jnp.asarray(a)).astype(jnp.float32)


def _mean_square(a: jax.Array) -> jax.Array:
    return jnp.square(a).mean()


def watched(
    opt_state: Any, *, losses: Sequence[float] | Any = (), validation: Mapping[int, float] | None = None, **told: Any
) -> Record:
    """The record of a training whose optimizer is `watch(...)`, as far as its state tells.

    opt_state: the optimizer's state, or whatever tree holds it.   losses: one an update, of the last so many updates.
    validation: {updates made: loss}.   told: what the state does not know, in the words of a record: optimizer="adam",
    learning_rate=1e-3, batch=64, task="classification", classes=10, trivial_loss=... (of the best constant answer).
    """
    for name in set(told) - set(TOLD):
        raise SettingError("a record cannot be told this", where=name, fix=nearest(name, TOLD))
    state = _found(opt_state)
    leaves = jax.tree_util.tree_flatten_with_path(state.shapes)[0]
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") or "value" for path, _ in leaves]
    rate = _rate(state.inner)
    setup = {"tool": "optax", "loss": None, **({} if rate is None else {"learning_rate": rate}), **told}
    journal = Journal(CHUNK)
    journal.begin([], paths, [], setup, [np.asarray(shape).tolist() for _, shape in leaves])
    steps, rows, made = np.asarray(state.steps), np.asarray(state.rows, np.float64), int(state.step)
    for place in sorted(np.flatnonzero(steps >= 0), key=lambda place: int(steps[place])):
        journal.step(_line(int(steps[place]), rows[place], rate))
    told_losses = [float(loss) for loss in np.asarray(losses, np.float64).reshape(-1)]
    first = max(made - len(told_losses), 0)
    ends = dict(validation or {})
    events = sorted({*range(first + 1, first + len(told_losses) + 1), *ends})
    for updates in events:
        place = updates - first - 1
        loss = told_losses[place] if 0 <= place < len(told_losses) else None
        journal.log(updates, loss, validation={"loss": ends[updates]} if updates in ends else None)
        if loss is not None and (updates % CHUNK == 0 or place == len(told_losses) - 1):
            journal.chunk(updates)
    journal.close()
    return journal.record


def _line(step: int, row: np.ndarray, rate: float | None) -> dict[str, Any]:
    slopes = spread(row[:, :5])
    return {
        "step": step, **({} if rate is None else {"learning_rate": number(rate)}),
        "weight": {
            "gradient": slopes["rms"], "update": numbers(np.sqrt(row[:, 5])), "rms": numbers(np.sqrt(row[:, 6])),
            "zero": slopes["zero"], "nonfinite": slopes["nonfinite"],
        },
    }  # fmt: skip


def _rate(inner: Any) -> float | None:
    """The learning rate, of an optimizer made by `optax.inject_hyperparams`."""
    for state in jax.tree.leaves(inner, is_leaf=lambda node: hasattr(node, "hyperparams")):
        value = getattr(state, "hyperparams", {}).get("learning_rate")
        if value is not None:
            return float(value)
    return None


def _found(opt_state: Any) -> WatchState:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, WatchState))
    found = [node for node in nodes if isinstance(node, WatchState)]
    if len(found) != 1:
        raise SettingError(
            "there is no watched optimizer in this state" if not found else "more than one watched optimizer is in it",
            where="opt_state", expected="the state of pc.watch(optimizer)", got=f"{len(found)} of them",
            fix="optimizer = pc.watch(optax.adam(1e-3))" if not found else "give the state of one of them",
        )  # fmt: skip
    if found[0].step.ndim:
        raise SettingError(
            "this is the state of several trainings at once", where="opt_state", got=f"{found[0].step.size} of them",
            fix="take one: jax.tree.map(lambda a: a[0], opt_state)",
        )  # fmt: skip
    return found[0]
