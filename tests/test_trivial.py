"""The loss of the best constant answer, against searching for it."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from pellucid.data import Part
from pellucid.train.loss import Loss
from pellucid.trivial import trivial_loss

rng = np.random.default_rng(0)


def part(y):
    return Part(np.zeros((len(y), 1)), y, None, np.arange(len(y)))


def test_classes_have_the_entropy_of_their_shares():
    y = rng.integers(0, 3, 200).astype(np.int32) // 2 * 2
    p = np.bincount(y) / 200
    expected = -(p[p > 0] * np.log(p[p > 0])).sum()
    assert trivial_loss(Loss.of("cross_entropy"), part(y), 3) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error"])
def test_numbers_have_the_best_constant(name):
    y = rng.gamma(1.0, size=(300, 1)).astype(np.float32)
    loss = Loss.of(name)
    best = minimize_scalar(lambda c: float(loss.per_example(np.full((300, 1), c, np.float32), y).mean())).fun
    assert trivial_loss(loss, part(y), 1) == pytest.approx(best, rel=1e-3)


def test_each_step_of_a_text_counts_and_what_fills_up_does_not():
    y = np.array([[0, 1, -1], [1, 1, -1]], np.int32)
    assert trivial_loss(Loss.of("cross_entropy"), part(y), 2) == pytest.approx(
        0.5 * -np.log(0.25 * 0.75) * 0.5 + 0.5 * -np.log(0.75), rel=1e-4
    )


def test_several_targets_add_up():
    both = Loss.of({"type": "joint", "parts": [["cross_entropy", 0, 2], ["mean_squared_error", 2, 3]]})
    y = np.array([[0, 1.0], [1, 3.0]], np.float32)
    assert trivial_loss(both, part(y), 3) == pytest.approx(np.log(2) + 1.0, rel=1e-4)


def test_what_cannot_be_told_is_none():
    def refuses(outputs, y):
        raise ValueError("not these")

    assert trivial_loss(Loss.of(refuses), part(np.zeros((3, 1), np.float32)), 1) is None
