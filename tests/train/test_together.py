"""Loops side by side under one `vmap` come to what each comes to by itself."""

import dataclasses

import jax
import numpy as np
import pytest

from pellucid.data import Part
from pellucid.network.architectures import mlp
from pellucid.network.layer import flatten
from pellucid.train.loop import Loop, Settings
from pellucid.train.loss import Loss
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule
from pellucid.train.together import alike, run_together

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 5)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
TRAIN, UNSEEN = Part(X[:50], Y[:50], None, np.arange(50)), Part(X[50:], Y[50:], None, np.arange(20))


def loops(optimizers, norm=None, dropout=0.0, **more) -> list[Loop]:
    base = Settings(
        loss=Loss.of("cross_entropy"), metric=None, optimizer=Optimizer.of("adam"), batch_size=16, updates=30,
        schedule=Schedule.of("cosine"), signals=False, **more,
    )  # fmt: skip
    network = mlp((8,), activation="relu", outputs=2, norm=norm, dropout=dropout)
    network = network.initialised(jax.random.key(0), X[:1])
    settings = [dataclasses.replace(base, optimizer=Optimizer.of(one)) for one in optimizers]
    return [Loop(network, TRAIN, UNSEEN, one) for one in settings]


# not Adam: it divides by the gradient of biases before a normalisation, which is rounding and nothing else
RATES = ["momentum:0.001,0.9", "momentum:0.01,0.9", "momentum:0.1,0.5"]


@pytest.mark.parametrize("until", [30, 10])
def test_side_by_side_is_one_after_the_other(until):
    """Four batches an epoch, the last one filled up; batch normalisation, dropout, a schedule; ends amid an epoch."""
    alone, beside = [loops(RATES, norm="batch", dropout=0.2) for _ in range(2)]
    for loop in alone:
        for _ in loop.some(until):
            pass
    run_together(beside, until)
    for a, b in zip(alone, beside, strict=True):
        assert (b.step, b.epoch, b.epoch_start, b.stopped) == (a.step, a.epoch, a.epoch_start, a.stopped)
        assert b.best.epoch == a.best.epoch and b.best.score == pytest.approx(a.best.score, rel=1e-4)
        for path, value in {**a.carry.params, **flatten(a.carry.state)}.items():
            other = {**b.carry.params, **flatten(b.carry.state)}[path]
            np.testing.assert_allclose(other, value, rtol=1e-3, atol=1e-5, err_msg=path)
    weights = [np.asarray(loop.carry.params["hidden1/w"]) for loop in beside]
    assert not np.allclose(weights[0], weights[1], atol=1e-3)


def test_one_that_diverges_and_one_that_loses_patience_leave_the_others_alone():
    rates = ["sgd:0.1", "sgd:1e30", "sgd:0"]
    alone, beside = loops(rates, patience=3), loops(rates, patience=3)
    for loop in alone:
        for _ in loop.run():
            pass
    run_together(beside, 30)
    assert [loop.stopped for loop in beside] == [loop.stopped for loop in alone]
    assert beside[1].stopped == "diverged" and beside[1].bad == alone[1].bad
    np.testing.assert_allclose(beside[0].best.score, alone[0].best.score, rtol=1e-5)


def test_what_is_not_alike():
    [a, b] = loops(["adam:0.001", "adam:0.01"])
    [c] = loops(["sgd:0.1"])
    assert alike(a, b) and not alike(a, c)
    next(b.run())
    assert not alike(a, b)
