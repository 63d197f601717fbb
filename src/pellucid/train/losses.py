"""The losses: mean squared and absolute error, Huber, cross-entropy, binary cross-entropy, the perceptron's, and sums.

`loss.py` says what a loss is. In every formula o are the network's raw outputs, y the targets, l the loss of one
example; where one example has several outputs, l is their mean. Of sequences with a target at every step, outputs
[n, steps, k] beside y [n, steps], l is the mean over the steps that have one: y is neither NaN nor a class below 0.
"""

from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from pellucid.spec import register
from pellucid.train.loss import Loss, aligned, counted, misfit, over_rest

TINY = 1e-7  # probabilities are kept this far from 0 and 1 before a logarithm is taken, as Keras does in float32


@register
class MeanSquaredError(Loss):
    """l = mean_j (y_j - o_j)^2.   outputs, y: [n, k], or both [n] -> [n]. Gauss 1809; Bishop 2006, 3.1.

    Classes as integers beside k > 1 outputs are made one-hot (wrong but legal, and slower to learn than cross-entropy).

    >>> MeanSquaredError().per_example(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])).tolist()
    [2.0]
    """

    def per_example(self, outputs, y):
        y, real = counted(outputs, y)
        return over_rest((outputs - aligned(self, outputs, y)) ** 2, real)


@register
class MeanAbsoluteError(Loss):
    """l = mean_j |y_j - o_j|.   outputs, y: [n, k], or both [n] -> [n]. Its best constant is the median.

    >>> MeanAbsoluteError().per_example(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])).tolist()
    [1.0]
    """

    def per_example(self, outputs, y):
        y, real = counted(outputs, y)
        return over_rest(jnp.abs(outputs - aligned(self, outputs, y)), real)


@register
class Huber(Loss):
    """l = mean_j (r^2 / 2 where |r| <= delta, else delta * (|r| - delta / 2)),   r = y_j - o_j. Huber 1964.

    Squared near zero, absolute far away: outliers pull with a force of `delta` at most. Shapes as mean squared error.

    >>> Huber(delta=1.0).per_example(jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """

    delta: float = 1.0

    def check(self):
        if not self.delta > 0:
            self.refuse("delta", "a number > 0")

    def per_example(self, outputs, y):
        y, real = counted(outputs, y)
        r = jnp.abs(outputs - aligned(self, outputs, y))
        return over_rest(jnp.where(r <= self.delta, 0.5 * r**2, self.delta * (r - 0.5 * self.delta)), real)


@register
class CrossEntropy(Loss):
    """l = -sum_c q_c * log p_c,   p = softmax(outputs) = exp(o_c) / sum_k exp(o_k).   Bishop 2006, 4.3.4.

    outputs [n, C] with y class numbers [n] or distributions [n, C]; or outputs [n, ..., C] with y [n, ...], averaged
    over the axes between; of these, y < 0 does not count (a step that only fills up a sequence). `label_smoothing` e
    makes q = (1 - e) * q + e / C (Szegedy et al. 2016).
    `from_probabilities`: the outputs are p already (kept at least 1e-7 from 0).

    >>> losses = CrossEntropy().per_example(jnp.array([[0.0, 0.0], [1e4, -1e4]]), jnp.array([1, 1]))
    >>> [round(float(l), 3) for l in losses]
    [0.693, 20000.0]
    """

    label_smoothing: float = 0.0
    from_probabilities: bool = False
    link: ClassVar = "softmax"

    def check(self):
        if not 0 <= self.label_smoothing < 1:
            self.refuse("label_smoothing", "a number in [0, 1)")

    def scored(self):
        return replace(self, label_smoothing=0.0)

    def per_example(self, outputs, y):
        classes, e = outputs.shape[-1], self.label_smoothing
        if y.shape == outputs.shape:
            q = y.astype(outputs.dtype)
        elif y.shape == outputs.shape[:-1] and not jnp.issubdtype(y.dtype, jnp.floating):
            q = jax.nn.one_hot(y, classes, dtype=outputs.dtype)  # no gather: its gradient would be a scatter, and slow
        else:
            raise misfit(self, outputs, y, "class numbers without the last axis, or distributions of the same shape")
        q = (1 - e) * q + e / classes if e else q
        log_p = self.log_probabilities(outputs)
        losses = -jnp.where(q > 0, q * log_p, 0.0).sum(-1)  # 0 * log 0 = 0
        return over_rest(losses, counted(outputs, y)[1])

    def log_probabilities(self, outputs: jax.Array) -> jax.Array:
        if self.from_probabilities:
            return jnp.log(jnp.maximum(outputs, TINY))
        return jax.nn.log_softmax(outputs, axis=-1)  # shifted by the largest, so that no exp overflows


@register
class BinaryCrossEntropy(Loss):
    """l = mean_j -(y_j * log p_j + (1 - y_j) * log(1 - p_j)),   p = sigmoid(o) = 1 / (1 + exp(-o)).

    outputs [n] or [n, k], y in {0, 1} of the same shape (k yes-or-no labels), or [n] beside [n, 1]; or class numbers
    [n] beside k > 1 outputs (one against the rest). `label_smoothing` e moves y to y * (1 - e) + e / 2.
    `from_probabilities`: the outputs are p already. Bishop 2006, 4.3.2.

    >>> losses = BinaryCrossEntropy().per_example(jnp.array([0.0, -1e4, 1e4]), jnp.array([1, 1, 1]))
    >>> [round(float(l), 3) for l in losses]
    [0.693, 10000.0, 0.0]
    """

    label_smoothing: float = 0.0
    from_probabilities: bool = False
    link: ClassVar = "sigmoid"

    def check(self):
        if not 0 <= self.label_smoothing < 1:
            self.refuse("label_smoothing", "a number in [0, 1)")

    def scored(self):
        return replace(self, label_smoothing=0.0)

    def per_example(self, outputs, y):
        y, real = counted(outputs, y)
        y = aligned(self, outputs, y)
        y = y * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.from_probabilities:
            p = jnp.clip(outputs, TINY, 1 - TINY)
            return over_rest(-y * jnp.log(p) - (1 - y) * jnp.log1p(-p), real)
        # softplus(-o) = -log p, exact where p rounds to 0 or 1
        return over_rest(y * jax.nn.softplus(-outputs) + (1 - y) * jax.nn.softplus(outputs), real)


@register
class Perceptron(Loss):
    """The perceptron criterion, l = max(0, -t * s), of one score s and t = ±1 (from y in {0, 1}); and for the scores of
    several classes l = max_c s_c - s_y.   outputs [n], [n, 1] or [n, C]; y [n] -> [n].   Bishop 2006, 4.1.7.

    One step of gradient descent on it, rate 1 and batch 1, *is* Rosenblatt's rule of 1958: where wrong, w += t * x. A
    score of zero (a tie) counts as wrong, or zero weights would never learn. y [n, k] trains k perceptrons (their sum).

    >>> jax.grad(Perceptron())(jnp.zeros(1), jnp.array([1])).tolist()
    [-1.0]
    """

    def per_example(self, outputs, y):
        if outputs.shape == (*y.shape, outputs.shape[-1]) and outputs.shape[-1] > 1:
            return self.against_best_rival(outputs, y.astype(jnp.int32))
        t = 2 * aligned(self, outputs, y) - 1
        losses = jnp.where(t * outputs <= 0, -t * outputs, 0.0)
        return losses.reshape(losses.shape[0], -1).sum(-1)  # a sum: each unit takes its own full step

    def against_best_rival(self, s: jax.Array, y: jax.Array) -> jax.Array:
        y, real = counted(s, y)
        own = jax.nn.one_hot(y, s.shape[-1], dtype=bool)
        best = jnp.argmax(jnp.where(own, -jnp.inf, s), -1)  # one rival, even among equals
        rival = jax.nn.one_hot(best, s.shape[-1], dtype=bool)
        margin = (jnp.where(rival, s, 0.0) - jnp.where(own, s, 0.0)).sum(-1)
        return over_rest(jnp.where(margin >= 0, margin, 0.0), real)

    def apply_link(self, outputs):
        """A single unit fires or not (the step function); several give their scores, of which the largest wins."""
        single = outputs.ndim == 1 or outputs.shape[-1] == 1
        return (outputs > 0).astype(outputs.dtype) if single else outputs


@register
class Joint(Loss):
    """The sum of losses over slices of the outputs, for several targets at once: `parts` = ((loss, start, stop), ...).

    outputs [n, width]; y [n, k] as floats: column i belongs to part i, as a class number (rounded) where the part has
    several outputs or a softmax, as a value otherwise.

    >>> both = Joint(((CrossEntropy(), 0, 2), (MeanSquaredError(), 2, 3)))
    >>> round(float(both(jnp.array([[0.0, 0.0, 5.0]]), jnp.array([[1.0, 3.0]]))), 3)
    4.693
    """

    parts: tuple[tuple[Loss, int, int], ...]

    def check(self):
        if not self.parts or any(not 0 <= start < stop for _, start, stop in self.parts):
            self.refuse("parts", "at least one (loss, start, stop) with 0 <= start < stop")

    @property
    def width(self) -> int:
        return max(stop for _, _, stop in self.parts)

    def scored(self):
        return Joint(tuple((part.scored(), start, stop) for part, start, stop in self.parts))

    def per_example(self, outputs, y):
        if y.ndim != 2 or y.shape[1] != len(self.parts) or outputs.shape[-1] != self.width:
            raise misfit(self, outputs, y, f"{self.width} outputs and targets of shape [n, {len(self.parts)}]")
        losses = jnp.zeros(outputs.shape[0], outputs.dtype)
        for column, (part, start, stop) in enumerate(self.parts):
            target = y[:, column]
            if stop - start > 1 or part.link == "softmax":
                target = jnp.round(target).astype(jnp.int32)
            losses += part.per_example(outputs[:, start:stop], target)
        return losses

    def apply_link(self, outputs):
        return jnp.concatenate([part.apply_link(outputs[:, a:b]) for part, a, b in self.parts], axis=-1)


def class_weight_vector(y: jax.Array, weights: Any) -> jax.Array:
    """One weight an example from one weight a class: y [n] class numbers, weights [C] -> [n].

    >>> class_weight_vector(jnp.array([0, 1, 1]), [1.0, 3.0]).tolist()
    [1.0, 3.0, 3.0]
    """
    return jnp.asarray(weights)[y]
