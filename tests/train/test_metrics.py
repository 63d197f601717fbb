"""Every registered metric against scikit-learn, whole and streamed in blocks. A newcomer joins by an entry in CASES."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pellucid.errors import PellucidWarning, SettingError
from pellucid.train.metrics import (
    F1,
    R2,
    Accuracy,
    BalancedAccuracy,
    ExactMatch,
    MeanAbsoluteError,
    Metric,
    RocAuc,
    RootMeanSquaredError,
    TopK,
    confusion_matrix,
)

Array = np.ndarray


def classes(rng, n):
    """Three classes, each of them there."""
    return rng.dirichlet(np.ones(3), n).round(2), np.concatenate([[0, 1, 2], rng.integers(0, 3, n - 3)])


def binary(rng, n):
    """One sigmoid unit, [n, 1] beside [n]; rounded, so that ties occur."""
    return rng.uniform(size=(n, 1)).round(1), np.concatenate([[0, 1], rng.integers(0, 2, n - 2)])


def labels(rng, n):
    outputs, y = rng.uniform(size=(n, 3)).round(1), rng.integers(0, 2, (n, 3)).astype(np.float32)
    y[0], y[1] = 0, 1
    return outputs, y


def values(rng, n):
    return rng.normal(size=(n, 2)), rng.normal(size=(n, 2))


def one_value(rng, n):
    return rng.normal(size=(n, 1)), rng.normal(size=n)


def yes(o):
    return (o > 0.5).astype(int)


class Case(NamedTuple):
    """metric; data(rng, n) -> (outputs, y); the same by scikit-learn: (y, outputs, sample_weight) -> float."""

    metric: Metric
    data: Callable[[np.random.Generator, int], tuple[Array, Array]]
    oracle: Callable[..., float]


def over_labels(f):
    return lambda y, o, w: np.mean([f(y[:, j], yes(o[:, j]), sample_weight=w) for j in range(y.shape[1])])


def sequences(rng, n):
    """Two steps of two classes; of one in three the second step only fills up."""
    y = rng.integers(0, 2, (n, 2))
    y[::3, 1] = -1
    return rng.dirichlet(np.ones(2), (n, 2)).round(2), y


CASES = {
    "accuracy": Case(Accuracy(), classes, lambda y, o, w: sk.accuracy_score(y, o.argmax(1), sample_weight=w)),
    "accuracy of one unit": Case(
        Accuracy(), binary, lambda y, o, w: sk.accuracy_score(y, yes(o[:, 0]), sample_weight=w)
    ),
    "accuracy of labels": Case(Accuracy(), labels, over_labels(sk.accuracy_score)),
    "exact_match": Case(
        ExactMatch(), sequences,
        lambda y, o, w: sk.accuracy_score(np.ones(len(y)), ((o.argmax(-1) == y) | (y < 0)).all(1), sample_weight=w),
    ),
    "top_k": Case(
        TopK(2), lambda rng, n: (rng.permuted(np.tile([0.1, 0.3, 0.6], (n, 1)), axis=1), classes(rng, n)[1]),
        lambda y, o, w: sk.top_k_accuracy_score(y, o, k=2, sample_weight=w),
    ),
    "balanced_accuracy": Case(
        BalancedAccuracy(), classes, lambda y, o, w: sk.balanced_accuracy_score(y, o.argmax(1), sample_weight=w)
    ),
    "balanced_accuracy of labels": Case(BalancedAccuracy(), labels, over_labels(sk.balanced_accuracy_score)),
    "f1": Case(F1(), classes, lambda y, o, w: sk.f1_score(y, o.argmax(1), average="macro", sample_weight=w)),
    "f1:micro": Case(
        F1("micro"), classes, lambda y, o, w: sk.f1_score(y, o.argmax(1), average="micro", sample_weight=w)
    ),
    "f1:binary": Case(F1("binary"), binary, lambda y, o, w: sk.f1_score(y, yes(o[:, 0]), sample_weight=w)),
    "f1 of labels": Case(
        F1(), labels, lambda y, o, w: sk.f1_score(y, yes(o), average="macro", sample_weight=w, zero_division=0)
    ),
    "f1:micro of labels": Case(
        F1("micro"), labels, lambda y, o, w: sk.f1_score(y, yes(o), average="micro", sample_weight=w, zero_division=0)
    ),
    "roc_auc": Case(
        RocAuc(), classes,
        lambda y, o, w: np.mean([sk.roc_auc_score(y == c, o[:, c], sample_weight=w) for c in range(3)]),
    ),
    "roc_auc of one unit": Case(RocAuc(), binary, lambda y, o, w: sk.roc_auc_score(y, o[:, 0], sample_weight=w)),
    "roc_auc of two classes": Case(
        RocAuc(), lambda rng, n: ((b := binary(rng, n)) and np.hstack([1 - b[0], b[0]]), b[1]),
        lambda y, o, w: sk.roc_auc_score(y, o[:, 1], sample_weight=w),
    ),
    "roc_auc of labels": Case(
        RocAuc(), labels, lambda y, o, w: sk.roc_auc_score(y, o, average="macro", sample_weight=w)
    ),
    "r2": Case(R2(), values, lambda y, o, w: sk.r2_score(y, o, sample_weight=w)),
    "r2 of one value": Case(R2(), one_value, lambda y, o, w: sk.r2_score(y, o[:, 0], sample_weight=w)),
    "mean_absolute_error": Case(
        MeanAbsoluteError(), values, lambda y, o, w: sk.mean_absolute_error(y, o, sample_weight=w)
    ),
    "root_mean_squared_error": Case(
        RootMeanSquaredError(), values, lambda y, o, w: sk.root_mean_squared_error(y, o, sample_weight=w)
    ),
}  # fmt: skip
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_each_registered_metric_is_tested_here():
    assert {case.metric.name for case in CASES.values()} == set(Metric.registry)


@each
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 30), weighted=st.booleans())
def test_as_scikit_learn(case, seed, n, weighted):
    rng = np.random.default_rng(seed)
    outputs, y = case.data(rng, n)
    weight = rng.uniform(0.1, 2, n) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, of a class that is predicted and never true
        want = case.oracle(y, outputs, weight)
    np.testing.assert_allclose(case.metric(outputs, y, weight), want, rtol=1e-9, atol=1e-12)


@each
def test_streamed_is_the_whole(case):
    if not case.metric.additive:
        with pytest.raises(SettingError, match="cannot be streamed"):
            case.metric.update(case.metric.zeros(), *case.data(np.random.default_rng(0), 8), np.ones(8))
        return
    rng = np.random.default_rng(0)
    outputs, y = case.data(rng, 50)
    weight = rng.uniform(0.1, 2, 50)
    weight[[7, 30]] = 0  # rows that only fill up a block
    update, sums = jax.jit(case.metric.update), case.metric.zeros()
    single = [
        outputs.astype(np.float32), y.astype(np.int32 if y.dtype.kind == "i" else np.float32), weight.astype(np.float32)
    ]  # fmt: skip
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        for rows in np.split(np.arange(50), 5):
            block = update(case.metric.zeros(), *(a[rows] for a in single))
            sums = [np.asarray(a, np.float64) + np.asarray(b, np.float64) for a, b in zip(sums, block, strict=True)]
    np.testing.assert_allclose(case.metric.result(sums), case.metric(outputs, y, weight), rtol=1e-5)


@each
def test_json_round_trip(case):
    again = Metric.from_json(case.metric.to_json())
    assert again == case.metric
    assert hash(again) == hash(case.metric)
    assert again.higher_is_better == (case.metric.name not in ("mean_absolute_error", "root_mean_squared_error"))


def test_perfect_is_best():
    y = np.array([0, 1, 2, 1])
    for metric in (Accuracy(), TopK(1), BalancedAccuracy(), F1(), F1("micro"), RocAuc()):
        assert metric(np.eye(3)[y], y) == 1.0
    assert R2()(y * 1.0, y) == 1.0


def test_accuracy_over_positions():
    outputs = np.zeros((2, 3, 4))
    outputs[..., 1] = 1
    y = np.array([[1, 1, 0], [1, 1, 1]])
    assert Accuracy()(outputs, y) == pytest.approx(5 / 6)
    assert TopK(1)(outputs, y) == pytest.approx(5 / 6)
    assert confusion_matrix(outputs, y)[:2, :2].tolist() == [[0, 1], [0, 5]]


def test_confusion_matrix_as_scikit_learn():
    rng = np.random.default_rng(0)
    outputs, y = classes(rng, 40)
    weight = rng.uniform(size=40)
    np.testing.assert_allclose(
        confusion_matrix(outputs, y, weight), sk.confusion_matrix(y, outputs.argmax(1), sample_weight=weight)
    )
    assert confusion_matrix(outputs, y, classes=5).shape == (5, 5)
    outputs, y = binary(rng, 20)
    np.testing.assert_array_equal(confusion_matrix(outputs, y), sk.confusion_matrix(y, yes(outputs[:, 0])))


def test_equal_outputs_are_no_success():
    """A dead network gives all classes the same: it must not be in everybody's top k."""
    outputs, y = np.full((3, 3), 1 / 3), np.array([0, 1, 2])
    assert TopK(1)(outputs, y) == Accuracy()(outputs, y) == pytest.approx(1 / 3)
    assert TopK(2)(outputs, y) == pytest.approx(2 / 3)
    assert TopK(9)(outputs, y) == 1


def test_r2_of_a_constant_column_as_scikit_learn():
    y = np.array([[2.0], [2.0], [2.0]])
    for outputs in (y, y + np.array([[0.1], [0.0], [0.0]])):
        assert R2()(outputs, y) == sk.r2_score(y, outputs)
        sums = R2().update(R2().zeros(), jnp.asarray(outputs), jnp.asarray(y), jnp.ones(3))
        assert R2().result(sums) == sk.r2_score(y, outputs)


def test_r2_far_from_zero():
    rng = np.random.default_rng(0)
    y = 1e8 + rng.normal(size=100)
    outputs = y + rng.normal(size=100)
    np.testing.assert_allclose(R2()(outputs, y), sk.r2_score(y, outputs), rtol=1e-6)


def test_undefined_is_nan_and_said():
    with pytest.warns(PellucidWarning, match="roc_auc is not defined here: 1 of 1 classes have no positive"):
        assert np.isnan(RocAuc()([0.1, 0.9], [1, 1]))
    with pytest.warns(PellucidWarning, match="accuracy is not defined here: there are no examples"):
        assert np.isnan(Accuracy()(np.zeros((0, 2)), np.zeros(0, int)))
    for metric in (Accuracy(), R2(), RootMeanSquaredError()):
        with pytest.warns(PellucidWarning, match="all weights are zero"):
            assert np.isnan(metric([0.1, 0.9], [1.0, 0.0], [0.0, 0.0]))


def test_roc_auc_leaves_a_missing_class_out_and_says_so():
    outputs, y = np.random.default_rng(0).dirichlet(np.ones(3), 8), np.array([0, 1] * 4)
    with pytest.warns(PellucidWarning, match="1 of 3 classes"):
        got = RocAuc()(outputs, y)
    assert got == pytest.approx(np.mean([sk.roc_auc_score(y == c, outputs[:, c]) for c in range(2)]))


def test_own_function():
    def worst(outputs, y):
        return np.abs(outputs - y).max()

    worst.higher_is_better = False
    metric = Metric.of(worst)
    assert metric.name == "worst"
    assert not metric.higher_is_better
    assert not metric.additive
    assert not metric.reproducible
    assert metric == Metric.of(worst)
    assert hash(metric) == hash(Metric.of(worst))
    assert metric([1.0, 5.0], [0.0, 2.0]) == 3.0
    with pytest.raises(SettingError, match="cannot be written down"):
        metric.to_json()
    with pytest.raises(SettingError, match="must give one number"):
        Metric.of(lambda o, y: o)([1.0, 2.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: TopK(0), "a whole number >= 1"),
        (lambda: F1("weighted"), "choose one of: macro, micro, binary"),
        (lambda: Metric.of("acuracy"), "did you mean 'accuracy'"),
        (lambda: Accuracy()([0.1], [1, 0]), "differ in number"),
        (lambda: R2()(np.zeros((3, 2)), np.zeros(3)), "do not belong together"),
        (lambda: TopK()([0.1, 0.2], [1, 0]), "needs several classes"),
        (lambda: F1("binary")(np.eye(3), [0, 1, 2]), "one target of two classes"),
        (lambda: confusion_matrix(np.zeros((2, 3)), np.zeros((2, 3))), "one class an example"),
    ],
)
def test_mistakes(run, text):
    with pytest.raises(SettingError, match=text):
        run()


# -- sequences with a target at every step -----------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Accuracy(), TopK(2), BalancedAccuracy(), F1(), RocAuc()])
def test_classes_of_steps_are_scored_step_by_step(metric):
    rng = np.random.default_rng(0)
    outputs, y, weight = rng.dirichlet(np.ones(3), (20, 5)), rng.integers(0, 3, (20, 5)), rng.uniform(0.5, 2, 20)
    real = np.arange(5) < rng.integers(1, 6, 20)[:, None]
    flat = metric(outputs[real], y[real], np.repeat(weight, real.sum(1)))
    padded = np.where(real, y, -1)
    assert metric(outputs, padded, weight) == pytest.approx(flat)
    if metric.additive:
        sums = jax.jit(metric.update)(metric.zeros(), jnp.asarray(outputs), jnp.asarray(padded), jnp.asarray(weight))
        assert metric.result(sums) == pytest.approx(flat, rel=1e-5)
    table = confusion_matrix(outputs, padded, weight)
    np.testing.assert_allclose(table, confusion_matrix(outputs[real], y[real], np.repeat(weight, real.sum(1))))


@pytest.mark.parametrize("metric", [R2(), MeanAbsoluteError(), RootMeanSquaredError()])
def test_numbers_of_steps_are_scored_step_by_step(metric):
    rng = np.random.default_rng(0)
    outputs, y = rng.normal(size=(20, 5, 1)), rng.normal(size=(20, 5)) * 2
    real = np.arange(5) < rng.integers(1, 6, 20)[:, None]
    flat = metric(outputs[real], y[real])
    padded = np.where(real, y, np.nan)
    assert metric(outputs, padded) == pytest.approx(flat)
    sums = jax.jit(metric.update)(metric.zeros(), jnp.asarray(outputs), jnp.asarray(padded), jnp.ones(20))
    assert metric.result(sums) == pytest.approx(flat, rel=1e-4)
