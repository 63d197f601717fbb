"""Statistics of what passes between layers, taken inside the compiled step.

Activations are tapped where a leaf's output leaves it. Gradients come by a probe: an identity whose backward pass hands
the statistics of the cotangent to a dummy argument, so that `jax.grad` with respect to that dummy *is* the measurement.
Every statistic is a sum, so it adds over time steps, devices and hosts; means and norms are derived when read.
With probes off nothing is inserted, and the program is the one without them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.signals.sampling import stride

FIELDS = ("count", "sum", "square", "zero", "nonfinite")


def sample(x: jax.Array) -> jax.Array:
    """At most `signals.sampling.SAMPLE` elements, evenly strided."""
    step = stride(x.shape)
    return x.reshape(-1) if step == 1 else x.reshape(-1)[::step]


def moments(x: jax.Array) -> jax.Array:
    """[count, sum, sum of squares, zeros, non-finite] of a sample of `x`, float32.

    >>> moments(jnp.array([0.0, 3.0, -1.0])).tolist()
    [3.0, 2.0, 10.0, 1.0, 0.0]
    """
    v = sample(x).astype(jnp.float32)
    rows = jnp.stack([v, jnp.square(v), (v == 0).astype(jnp.float32), (~jnp.isfinite(v)).astype(jnp.float32)])
    # a product with ones: XLA's own sum goes one number after the other on a CPU
    sums = jnp.dot(rows, jnp.ones(v.size, jnp.float32), precision="highest")
    return jnp.concatenate([jnp.full(1, v.size, jnp.float32), sums])


def time_of(path: str) -> str:
    """The slot of a recurrent layer's gradient through time."""
    return f"{path}@time"


def is_time(path: str) -> bool:
    """Whether a slot is one of `time_of`."""
    return path.endswith("@time")


@jax.custom_vjp
def probe(x: jax.Array, slot: jax.Array) -> jax.Array:
    """`x` itself; the gradient with respect to `slot` is `moments` of the gradient that reaches `x`."""
    return x


def _probe_forward(x, slot):
    return x, None


def _probe_backward(_, g):
    return g, moments(g)


probe.defvjp(_probe_forward, _probe_backward)


BINS = 16  # places in time that a sequence's gradient is told at


def through_time(g: jax.Array) -> jax.Array:
    """Mean squares of g [steps, ...] in `BINS` stretches of time, the first steps first; of fewer steps each is told
    several times.

    >>> through_time(jnp.array([[1.0], [2.0]]))[jnp.array([0, 7, 8, 15])].tolist()
    [1.0, 1.0, 4.0, 4.0]
    """
    squares = jnp.square(g.astype(jnp.float32)).reshape(g.shape[0], -1).mean(-1)  # -> [steps]
    steps, first = np.arange(g.shape[0]), np.arange(BINS) * g.shape[0] // BINS
    after = np.maximum((np.arange(BINS) + 1) * g.shape[0] // BINS, first + 1)
    inside = ((steps >= first[:, None]) & (steps < after[:, None])).astype(np.float32)  # [BINS, steps]
    return jnp.asarray(inside / inside.sum(1, keepdims=True)) @ squares


@jax.custom_vjp
def probe_time(z: jax.Array, slot: jax.Array) -> jax.Array:
    """`z` [steps, ...] itself; the gradient with respect to `slot` is `through_time` of the one that reaches `z`."""
    return z


probe_time.defvjp(lambda z, slot: (z, None), lambda _, g: (g, through_time(g)))


class Probes:
    """The slots (zeros, one a watched layer) that gradients report to, and the activations' moments taken so far."""

    def __init__(self, slots: dict[str, jax.Array]):
        self.slots = slots
        self.taken: dict[str, jax.Array] = {}

    @staticmethod
    def empty(paths: tuple[str, ...], timed: tuple[str, ...] = ()) -> dict[str, jax.Array]:
        """timed: recurrent layers, whose gradient is told step by step too."""
        slots = {path: jnp.zeros(len(FIELDS), jnp.float32) for path in paths}
        return {**slots, **{time_of(path): jnp.zeros(BINS, jnp.float32) for path in timed}}

    def tap_time(self, path: str, z: jax.Array, gates: int = 1) -> jax.Array:
        """gates: so many arrays lie side by side in z; the means of each are to add up."""
        slot = self.slots.get(time_of(path))
        return z if slot is None else probe_time(z, slot * gates)

    def tap(self, path: str, y: Any) -> Any:
        if path not in self.slots:
            return y
        self.add({path: moments(jax.lax.stop_gradient(y))})
        return probe(y, self.slots[path])

    def add(self, taken: dict[str, jax.Array]) -> None:
        for path, values in taken.items():
            self.taken[path] = self.taken[path] + values if path in self.taken else values
