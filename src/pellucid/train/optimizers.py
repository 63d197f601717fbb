"""The optimizers, from plain gradient descent to Muon. `optimizer.py` says what an optimizer is, and what all can do.

In every formula g is the gradient (clipped, and with L2 decay, where asked for), w a weight, t the number of updates.
"""

from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from pellucid.spec import register
from pellucid.train.optimizer import Optimizer


@register
class GradientDescent(Optimizer):
    """w -= rate * gradient over the whole training set: the direction of steepest decrease. Cauchy 1847.

    One update an epoch, so that its budget counts in updates. Above 2 / curvature a rate diverges: with 0.1 a network
    of 64 hidden units does so on diabetes (squared error), with half of that it learns there and on digits.
    """

    learning_rate: float = 0.05
    default_batch: ClassVar = "all"
    default_updates: ClassVar = 2_000

    def rule(self, n):
        return optax.identity()


@register("sgd")
class SGD(Optimizer):
    """w -= rate * gradient of a single example (or of a mini-batch, on request). Robbins & Monro 1951.

    The rate is small, for a single example's gradient is noisy and grows with the number of inputs.
    """

    learning_rate: float = 0.01
    default_batch: ClassVar = 1
    default_updates: ClassVar = 50_000

    def rule(self, n):
        return optax.identity()


@register
class Momentum(Optimizer):
    """v = momentum * v + g;  w -= rate * v.   Polyak 1964. Steady gradients move 1 / (1 - momentum) as far, hence a
    tenth of plain gradient descent's rate."""

    learning_rate: float = 0.01
    momentum: float = 0.9

    def rule(self, n):
        return optax.trace(n["momentum"])


@register
class Nesterov(Optimizer):
    """v = momentum * v + g;  w -= rate * (g + momentum * v): the gradient is taken as if one step ahead. Nesterov 1983,
    in the form of Sutskever et al. 2013."""

    learning_rate: float = 0.01
    momentum: float = 0.9

    def rule(self, n):
        return optax.trace(n["momentum"], nesterov=True)


@register("rmsprop")
class RMSProp(Optimizer):
    """s = decay * s + (1 - decay) * g^2;  w -= rate * g / (sqrt(s) + eps).   Hinton 2012, lecture 6e, with its rate."""

    learning_rate: float = 1e-3
    decay: float = 0.9
    eps: float = 1e-8

    def rule(self, n):
        return optax.scale_by_rms(n["decay"], n["eps"], eps_in_sqrt=False)


@register("adagrad")
class AdaGrad(Optimizer):
    """s = s + g^2;  w -= rate * g / sqrt(s + eps).   Duchi et al. 2011. Steps only shrink, hence the larger rate."""

    learning_rate: float = 0.01
    eps: float = 1e-10

    def rule(self, n):
        return optax.scale_by_rss(initial_accumulator_value=0.0, eps=n["eps"])


@register
class Adam(Optimizer):
    """m = b1 * m + (1 - b1) * g;  v = b2 * v + (1 - b2) * g^2;  w -= rate * m' / (sqrt(v') + eps),

    with m' = m / (1 - b1^t), v' = v / (1 - b2^t) to undo the start at 0. Kingma & Ba 2015, with their defaults.
    """

    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def rule(self, n):
        return scale_by_adam(n["b1"], n["b2"], n["eps"])


def scale_by_adam(b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, and its state, at half the time on a CPU: to undo the start at 0 it divides two numbers,

        m' / (sqrt(v') + eps) = a * m / (sqrt(v) + b * eps),   b = sqrt(1 - b2^t),   a = b / (1 - b1^t),

    where optax divides every weight's m and v, and what a step costs is its divisions.

    >>> rule = scale_by_adam(0.9, 0.999, 1e-8)
    >>> rule.update(jnp.array([4.0, -0.5]), rule.init(jnp.zeros(2)))[0].round(3).tolist()
    [1.0, -1.0]
    """

    def moved(old, new, decay):
        return jax.tree.map(lambda m, g: (1 - decay) * g + decay * m, old, new)

    def update(updates, state, params=None):
        m, v = moved(state.mu, updates, b1), moved(state.nu, jax.tree.map(jnp.square, updates), b2)
        t = optax.safe_increment(state.count)
        a, b = from_zero(b1, b2, t)
        steps = jax.tree.map(lambda m, v: (a * m / (jnp.sqrt(v) + b * eps)).astype(m.dtype), m, v)
        return steps, optax.ScaleByAdamState(count=t, mu=m, nu=v)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def from_zero(b1: Any, b2: Any, t: Any) -> tuple[Any, Any]:
    """(a, b) of `scale_by_adam`'s formula at update t, counted from 1."""
    b = jnp.sqrt(1 - b2**t)
    return b / (1 - b1**t), b


@register("adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= rate * (m' / (sqrt(v') + eps) + weight_decay * w).

    Loshchilov & Hutter 2019. The decay of 0.01 is PyTorch's.
    """

    weight_decay: float = field(default=0.01, kw_only=True)
    decoupled: ClassVar = True


@register
class Lion(Optimizer):
    """w -= rate * (sign(b1 * m + (1 - b1) * g) + weight_decay * w);  m = b2 * m + (1 - b2) * g.   Chen et al. 2023.

    Each weight moves by the full rate each time, hence a rate 3 to 10 times smaller than Adam's.
    """

    learning_rate: float = 1e-4
    b1: float = 0.9
    b2: float = 0.99
    decoupled: ClassVar = True

    def rule(self, n):
        return optax.scale_by_lion(n["b1"], n["b2"])


@register
class Muon(Optimizer):
    """m = momentum * m + (1 - momentum) * g;  w -= rate * 0.2 * sqrt(max(rows, columns)) * O,

    for matrices, O being the orthogonal matrix nearest to momentum * m + (1 - momentum) * g (Nesterov's look ahead).
    All other arrays are left to Adam with b1, b2 and eps. Jordan 2024, whose `steps` of a quintic Newton-Schulz
    iteration bring all singular values near 1 (0.7 to 1.2, mostly). The factor (Liu et al. 2025, "Muon is scalable for
    LLM training") gives the step the size of Adam's, so that one rate serves both.
    """

    learning_rate: float = 1e-3
    momentum: float = 0.95
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    steps: int = 5
    decoupled: ClassVar = True

    def rule(self, n):
        adam = scale_by_adam(n["b1"], n["b2"], n["eps"])
        return optax.partition(
            {"matrix": self.orthogonal(n["momentum"]), "other": adam},
            lambda weights: jax.tree.map(lambda w: "matrix" if w.ndim == 2 else "other", weights),
        )

    def orthogonal(self, momentum: Any) -> optax.GradientTransformation:
        # optax.contrib has one too, but experimental: its updates differ between 0.2.6 and 0.2.8
        def mix(old, new):
            return jax.tree.map(lambda a, b: momentum * a + (1 - momentum) * b, old, new)

        def update(updates, state, params=None):
            m = mix(state, updates)
            ahead = mix(m, updates)
            return jax.tree.map(lambda u: 0.2 * max(u.shape) ** 0.5 * orthogonalized(u, self.steps), ahead), m

        return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def orthogonalized(x: jax.Array, steps: int) -> jax.Array:
    """U V^T of x = U S V^T, nearly: x <- a x + b (x x^T) x + c (x x^T)^2 x on x / |x|. Jordan 2024.

    >>> x = orthogonalized(jnp.array([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]), steps=5)
    >>> bool(jnp.allclose(x @ x.T, jnp.eye(2), atol=0.5))
    True
    """
    wide = x.shape[0] <= x.shape[1]
    x = x / (jnp.linalg.norm(x) + 1e-7)
    x = x if wide else x.T  # the smaller product
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.T
