"""Every registered loss against an independent formula in NumPy float64, its gradient against finite differences, its
JSON, and its behaviour at ±1e4. A newcomer joins by an entry in CASES."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import hinge_loss, log_loss, mean_absolute_error, mean_squared_error

from pellucid.errors import SettingError
from pellucid.train.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    Joint,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Perceptron,
    class_weight_vector,
)

Array = np.ndarray


class Case(NamedTuple):
    """loss; targets(rng, n, k); an independent formula (outputs, y) -> [n]; and whether outputs are probabilities."""

    loss: Loss
    targets: Callable[[np.random.Generator, int, int], Array]
    formula: Callable[[Array, Array], Array]
    outputs: Callable[[np.random.Generator, int, int], Array] = lambda rng, n, k: rng.normal(size=(n, k)) * 3
    link: Callable[[Array], Array] = lambda o: o


def values(rng, n, k):
    return rng.normal(size=(n, k)) * 3


def classes(rng, n, k):
    return rng.integers(0, k, n)


def labels(rng, n, k):
    return rng.integers(0, 2, (n, k)).astype(float)


def distributions(rng, n, k):
    return rng.dirichlet(np.ones(k), n)


def probabilities(rng, n, k):
    return softmax(rng.normal(size=(n, k)), -1)


def one_hot(y, k):
    return np.eye(k)[y.astype(int)]


def huber(o, y, delta):
    r = np.abs(o - y)
    return np.array([np.mean([0.5 * a * a if a <= delta else delta * a - 0.5 * delta**2 for a in row]) for row in r])


def binary(o, y, e=0.0):
    y = y * (1 - e) + e / 2
    return -(y * log_expit(o) + (1 - y) * log_expit(-o)).mean(1)


def cross(o, q, e=0.0):
    return -((q * (1 - e) + e / o.shape[1]) * log_softmax(o, -1)).sum(1)


def rosenblatt(o, y):
    return np.array([max(np.max(np.delete(row, c)) - row[c], 0) for row, c in zip(o, y, strict=True)])


def two_parts(rng, n, k):
    return np.stack([rng.integers(0, k, n), rng.normal(size=n)], 1)


CASES: dict[str, Case] = {
    "mean_squared_error": Case(
        MeanSquaredError(), values, lambda o, y: np.array([mean_squared_error(a, b) for a, b in zip(y, o, strict=True)])
    ),
    "mean_squared_error on classes": Case(
        MeanSquaredError(), classes, lambda o, y: ((o - one_hot(y, o.shape[1])) ** 2).mean(1) if o.shape[1] > 1
        else (o[:, 0] - y) ** 2,
    ),
    "mean_absolute_error": Case(
        MeanAbsoluteError(), values,
        lambda o, y: np.array([mean_absolute_error(a, b) for a, b in zip(y, o, strict=True)]),
    ),
    "huber": Case(Huber(), values, lambda o, y: huber(o, y, 1.0)),
    "huber:2.5": Case(Huber(2.5), values, lambda o, y: huber(o, y, 2.5)),
    "cross_entropy": Case(
        CrossEntropy(), classes, lambda o, y: cross(o, one_hot(y, o.shape[1])), link=lambda o: softmax(o, -1)
    ),
    "cross_entropy smoothed": Case(
        CrossEntropy(0.1), classes, lambda o, y: cross(o, one_hot(y, o.shape[1]), 0.1), link=lambda o: softmax(o, -1)
    ),
    "cross_entropy of distributions": Case(CrossEntropy(), distributions, cross, link=lambda o: softmax(o, -1)),
    "cross_entropy of smoothed distributions": Case(
        CrossEntropy(0.2), distributions, lambda o, y: cross(o, y, 0.2), link=lambda o: softmax(o, -1)
    ),
    "cross_entropy from probabilities": Case(
        CrossEntropy(from_probabilities=True), classes,
        lambda p, y: -np.log(np.take_along_axis(p, y[:, None], 1)[:, 0]), probabilities,
    ),
    "binary_cross_entropy": Case(BinaryCrossEntropy(), labels, binary, link=expit),
    "binary_cross_entropy smoothed": Case(BinaryCrossEntropy(0.1), labels, lambda o, y: binary(o, y, 0.1), link=expit),
    "binary_cross_entropy from probabilities": Case(
        BinaryCrossEntropy(from_probabilities=True), labels,
        lambda p, y: -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1),
        lambda rng, n, k: rng.uniform(0.05, 0.95, (n, k)),
    ),
    "binary_cross_entropy one against the rest": Case(
        BinaryCrossEntropy(), classes, lambda o, y: binary(o, one_hot(y, o.shape[1]) if o.shape[1] > 1 else y[:, None]),
        link=expit,
    ),
    "perceptron": Case(
        Perceptron(), labels, lambda o, y: np.maximum(0, -(2 * y - 1) * o).sum(1),
        link=lambda o: (o > 0) * 1.0 if o.shape[1] == 1 else o,
    ),
    "perceptron of classes": Case(
        Perceptron(), lambda rng, n, k: rng.integers(0, max(k, 2), n), rosenblatt,
        lambda rng, n, k: rng.normal(size=(n, max(k, 2))),
    ),
    "joint": Case(
        Joint(((CrossEntropy(), 0, 3), (Huber(), 3, 4))), lambda rng, n, k: two_parts(rng, n, 3),
        lambda o, y: cross(o[:, :3], one_hot(y[:, 0], 3)) + huber(o[:, 3:], y[:, 1:], 1.0),
        lambda rng, n, k: rng.normal(size=(n, 4)), lambda o: np.concatenate([softmax(o[:, :3], -1), o[:, 3:]], 1),
    ),
}  # fmt: skip
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def draw(case: Case, seed: int, n: int, k: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return case.outputs(rng, n, k), case.targets(rng, n, k)


def finite_differences(f: Callable[[Array], Any], x: Array, h: float = 1e-6) -> Array:
    out = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        out[i] = (float(f(up)) - float(f(down))) / (2 * h)
    return out


def test_each_registered_loss_is_tested_here():
    assert {type(case.loss).name for case in CASES.values()} == set(Loss.registry)


@partial(jax.jit, static_argnums=0)
def evaluate(loss, outputs, y, weight):
    objective = jax.value_and_grad(lambda o: loss(o, y, weight))
    return loss.per_example(outputs, y), loss.apply_link(outputs), *objective(outputs)


@each
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.sampled_from([1, 3]), k=st.sampled_from([1, 4]))
def test_value_link_and_gradient(case, seed, n, k):
    outputs, y = draw(case, seed, n, k)
    weight = np.random.default_rng(seed).uniform(0.5, 2, n)

    def objective(o):
        return np.average(case.formula(o, y), weights=weight)

    with jax.enable_x64(True):
        losses, linked, mean, gradient = evaluate(case.loss, outputs, y, weight)
    assert losses.shape == (n,)
    np.testing.assert_allclose(losses, case.formula(outputs, y), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(linked, case.link(outputs), rtol=1e-10)
    np.testing.assert_allclose(mean, objective(outputs), rtol=1e-10)
    np.testing.assert_allclose(gradient, finite_differences(objective, outputs), rtol=1e-5, atol=1e-7)


@each
def test_json_round_trip_and_one_compilation(case):
    again = Loss.from_json(case.loss.to_json())
    assert again == case.loss
    assert hash(again) == hash(case.loss)
    traces = []

    def run(loss, outputs, y):
        traces.append(loss)
        return loss(outputs, y)

    jitted = jax.jit(run, static_argnums=0)
    outputs, y = (jnp.asarray(a) for a in draw(case, 0, 3, 3))
    assert jitted(case.loss, outputs, y) == jitted(again, outputs, y)
    assert len(traces) == 1


@each
def test_finite_at_large_outputs_in_float32(case):
    outputs, y = draw(case, 0, 4, 3)
    y = y.astype(np.int32 if y.dtype.kind == "i" else np.float32)
    for size in (-1e4, 0.0, 1e4):
        big = (outputs + np.array([size, -size, 0, size])[: outputs.shape[1]]).astype(np.float32)
        assert all(np.isfinite(part).all() for part in evaluate(case.loss, big, y, np.ones(4, np.float32)))


@each
def test_no_silent_promotion(case):
    outputs, y = draw(case, 0, 3, 3)
    y = y.astype(np.int32 if y.dtype.kind == "i" else np.float32)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        assert case.loss(jnp.asarray(outputs, jnp.float32), jnp.asarray(y), jnp.ones(3)).dtype == jnp.float32


# -- what a batch is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber(), BinaryCrossEntropy(), Perceptron()])
def test_one_output_with_or_without_its_axis(loss):
    """[n, 1] minus [n] would be [n, n]: the most common silent mistake of regression."""
    o, y = jnp.array([0.5, -2.0, 3.0]), jnp.array([1.0, 0.0, 0.0])
    want = loss.per_example(o, y)
    for outputs, targets in [(o[:, None], y), (o, y[:, None]), (o[:, None], y[:, None]), (o[:, None], y.astype(int))]:
        np.testing.assert_array_equal(loss.per_example(outputs, targets), want)


def test_weights_of_zero_leave_examples_out_whatever_they_hold():
    loss, o = MeanSquaredError(), jnp.array([1.0, jnp.nan])
    assert loss(o, jnp.zeros(2), jnp.array([2.0, 0.0])) == 1.0
    assert loss(o, jnp.zeros(2), jnp.zeros(2)) == 0.0
    assert jax.grad(lambda o: loss(o, jnp.zeros(2), jnp.zeros(2)))(jnp.ones(2)).tolist() == [0.0, 0.0]


def test_class_weights_weigh_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    o, y = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    weight = np.asarray(class_weight_vector(jnp.asarray(y), [0.5, 1.0, 3.0]))
    want = log_loss(y, softmax(o, -1), sample_weight=weight)
    np.testing.assert_allclose(CrossEntropy()(jnp.asarray(o), jnp.asarray(y), jnp.asarray(weight)), want, rtol=1e-5)


def test_cross_entropy_over_positions_is_their_mean():
    rng = np.random.default_rng(0)
    o, y = rng.normal(size=(2, 5, 3)), rng.integers(0, 3, (2, 5))
    want = [cross(o[i], one_hot(y[i], 3)).mean() for i in range(2)]
    np.testing.assert_allclose(CrossEntropy().per_example(jnp.asarray(o), jnp.asarray(y)), want, rtol=1e-5)


def test_binary_cross_entropy_is_exact_where_the_answer_is_certain():
    """-log p = log(1 + e^-20): computed as a difference of large numbers it would be 0."""
    np.testing.assert_allclose(BinaryCrossEntropy()(jnp.array([20.0]), jnp.ones(1)), np.log1p(np.exp(-20.0)), rtol=1e-6)


def test_cross_entropy_with_impossible_classes():
    """A logit of -inf masks a class out: no NaN, in the gradient either."""
    loss, gradient = jax.value_and_grad(CrossEntropy())(jnp.array([[0.0, 0.0, -jnp.inf]]), jnp.array([0]))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5, 0.0]], atol=1e-6)


def test_one_softmax_unit_runs_and_learns_nothing():
    """Wrong but legal: the doctor must be able to show it."""
    loss, gradient = jax.value_and_grad(CrossEntropy())(jnp.array([[2.0], [-1.0]]), jnp.array([0, 1]))
    assert loss == 0
    assert gradient.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("loss", [CrossEntropy(from_probabilities=True), BinaryCrossEntropy(from_probabilities=True)])
def test_certain_probabilities_give_finite_losses(loss):
    p, y = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    value, gradient = jax.value_and_grad(loss)(p, y)
    assert 7 < value < 17
    assert np.isfinite(gradient).all()
    assert loss.apply_link(p) is p


# -- the perceptron -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_on_the_perceptron_criterion_is_rosenblatts_rule(k, seed):
    """Weights from zero, one example at a time, rate 1: the same as the rule written down."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-3, 4, (30, 2)).astype(np.float32), rng.integers(0, max(k, 2), 30)
    w, rule = jnp.zeros((2, k)), np.zeros((2, k))
    gradient = jax.jit(jax.grad(lambda w, x, y: Perceptron()(x @ w, y)))
    for xi, yi in zip(x, y, strict=True):
        w = w - gradient(w, xi[None], jnp.asarray(yi)[None])
        scores = xi @ rule
        if k == 1:
            t = 2 * yi - 1
            rule[:, 0] += t * xi if t * scores[0] <= 0 else 0
        else:
            rival = max((c for c in range(k) if c != yi), key=lambda c: (scores[c], -c))
            if scores[rival] >= scores[yi]:
                rule[:, yi] += xi
                rule[:, rival] -= xi
        np.testing.assert_array_equal(w, rule)
    assert rule.any()


def test_perceptron_of_classes_is_the_hinge_without_its_margin():
    rng = np.random.default_rng(0)
    o, y = rng.normal(size=(50, 4)), np.arange(50) % 4
    margin = np.array([row[c] - np.delete(row, c).max() for row, c in zip(o, y, strict=True)])
    np.testing.assert_allclose(hinge_loss(y, o), np.maximum(0, 1 - margin).mean())  # the oracle's margin is ours
    got = Perceptron().per_example(jnp.asarray(o), jnp.asarray(y))
    np.testing.assert_allclose(got, np.maximum(0, -margin), rtol=1e-5, atol=1e-6)


# -- a person's own function, and mistakes --------------------------------------------------------------------------


def fourth_power(outputs, y):
    return ((outputs[:, 0] - y) ** 4).mean()


def test_own_function():
    loss = Loss.of(fourth_power)
    assert loss == Loss.of(fourth_power) != Loss.of(lambda o, y: o)
    assert hash(loss) == hash(Loss.of(fourth_power))
    assert (loss.name, loss.reproducible, loss.link) == ("fourth_power", False, "identity")
    assert loss.per_example(jnp.array([[2.0], [0.0]]), jnp.zeros(2)).tolist() == [8.0, 8.0]  # a scalar is everybody's
    with pytest.raises(SettingError, match="cannot be written down") as error:
        loss.to_json()
    assert "fourth_power" in str(error.value)


def test_own_function_may_name_its_link():
    def margin(outputs, y):
        return outputs[:, 0]

    margin.link = "sigmoid"
    assert Loss.of(margin).apply_link(jnp.zeros((1, 1))).tolist() == [[0.5]]
    margin.link = "tanh"
    with pytest.raises(SettingError, match="unknown link"):
        Loss.of(margin)


def test_own_function_of_the_wrong_shape():
    with pytest.raises(SettingError, match="wrong shape") as error:
        Loss.of(lambda o, y: o)(jnp.zeros((3, 2)), jnp.zeros(3))
    assert "shape [3]" in str(error.value)
    assert "shape [3, 2]" in str(error.value)


@pytest.mark.parametrize(
    ("loss", "outputs", "y"),
    [
        (MeanSquaredError(), (4, 2), np.zeros((4, 3))),
        (MeanSquaredError(), (4, 2), np.zeros(4)),
        (CrossEntropy(), (4, 2), np.zeros(4)),
        (BinaryCrossEntropy(), (4, 2), np.zeros((4, 3))),
        (Joint(((Huber(), 0, 1), (Huber(), 1, 2))), (4, 2), np.zeros((4, 3))),
    ],
)
def test_targets_that_do_not_fit(loss, outputs, y):
    with pytest.raises(SettingError, match=f"loss '{loss.name}' cannot compare") as error:
        loss(jnp.zeros(outputs), jnp.asarray(y))
    assert f"targets of shape {list(y.shape)}" in str(error.value)
    assert f"outputs of shape {list(outputs)}" in str(error.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Huber(0.0), "a number > 0"),
        (lambda: CrossEntropy(1.0), r"a number in \[0, 1\)"),
        (lambda: BinaryCrossEntropy(-0.1), r"a number in \[0, 1\)"),
        (lambda: Joint(()), "at least one"),
        (lambda: Loss.of("cross_entorpy"), "did you mean 'cross_entropy'"),
        (lambda: Loss.of(3), "this is no loss"),
    ],
)
def test_settings_out_of_range(make, text):
    with pytest.raises(SettingError, match=text):
        make()


# -- sequences with a target at every step -----------------------------------------------------------------------------

STEPS = np.array([[0.5, -2.0, 3.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
REAL = np.array([[True, True, True, False], [True, True, False, False]])


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber(0.7)])
def test_numbers_at_steps_without_a_target_do_not_count(loss):
    outputs = np.random.default_rng(0).normal(size=(2, 4, 1))
    y = jnp.asarray(np.where(REAL, STEPS, np.nan), jnp.float32)
    alone = [
        loss.per_example(jnp.asarray(o[r]), jnp.asarray(s[r])) for o, s, r in zip(outputs, STEPS, REAL, strict=True)
    ]
    expected = [float(losses.mean()) for losses in alone]
    np.testing.assert_allclose(loss.per_example(jnp.asarray(outputs, jnp.float32), y), expected, rtol=1e-5)
    gradient = jax.grad(lambda o: loss.per_example(o, y).sum())(jnp.asarray(outputs, jnp.float32))
    np.testing.assert_array_equal(np.asarray(gradient)[..., 0] != 0, REAL)


@pytest.mark.parametrize("loss", [CrossEntropy(0.1), BinaryCrossEntropy(), MeanSquaredError(), Perceptron()])
def test_classes_at_steps_without_a_target_do_not_count(loss):
    outputs = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 3)), jnp.float32)
    true = np.array([[0, 2, 1, 0], [1, 1, 0, 0]])
    found = loss.per_example(outputs, jnp.asarray(np.where(REAL, true, -1)))
    expected = [loss.per_example(o[r], jnp.asarray(t[r])).mean() for o, t, r in zip(outputs, true, REAL, strict=True)]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-5)
    gradient = jax.grad(lambda o: loss.per_example(o, jnp.asarray(np.where(REAL, true, -1))).sum())(outputs)
    assert not np.asarray(gradient)[~REAL].any()


def test_a_sequence_without_any_target_has_no_loss():
    y = jnp.full((1, 3), jnp.nan)
    assert MeanSquaredError().per_example(jnp.ones((1, 3, 1)), y).tolist() == [0.0]
