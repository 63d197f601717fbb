"""Trainings that meet at their chunks come to what each comes to by itself."""

import dataclasses
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

from pellucid import memory
from pellucid.data import Part
from pellucid.network.architectures import mlp
from pellucid.network.layer import flatten
from pellucid.train import meeting as meetings
from pellucid.train.loop import Loop, Settings
from pellucid.train.loss import Loss
from pellucid.train.meeting import Meeting
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
SETTINGS = Settings(
    loss=Loss.of("cross_entropy"), metric=None, optimizer=Optimizer.of("momentum:0.05,0.9"), batch_size=16, updates=30,
    schedule=Schedule.of("cosine"),
)  # fmt: skip


def loop(seed: int, width: int = 8, **more) -> Loop:
    """Other rows, weights, batches and dropout with each seed; four batches an epoch, the last one filled up."""
    order = np.random.default_rng(seed).permutation(len(X))
    train, unseen = (Part(X[rows], Y[rows], None, rows) for rows in (order[:50], order[50:]))
    network = mlp((width,), activation="relu", outputs=2, norm="batch", dropout=0.2)
    network = network.initialised(jax.random.key(seed), X[:1])
    return Loop(network, train, unseen, dataclasses.replace(SETTINGS, seed=seed, **more))


def lines(one: Loop) -> list[dict]:
    return [line for event in one.run() for line in event.measured if line["kind"] == "step"]


def close(a: Loop, b: Loop) -> None:
    assert (b.step, b.epoch, b.stopped, b.best.epoch) == (a.step, a.epoch, a.stopped, a.best.epoch)
    for path, value in {**a.carry.params, **flatten(a.carry.state)}.items():
        other = {**b.carry.params, **flatten(b.carry.state)}[path]
        np.testing.assert_allclose(other, value, rtol=1e-3, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_side_by_side_is_one_after_the_other(precision):
    alone, beside = ([loop(seed, precision=precision) for seed in (3, 4, 5)] for _ in range(2))
    expected = [lines(one) for one in alone]
    meeting = Meeting()
    found = meeting.run([lambda one=one: lines(one) for one in beside])
    assert meeting.joined == 8  # a chunk an epoch
    for a, b, own, other in zip(alone, beside, expected, found, strict=True):
        close(a, b)
        assert [line["step"] for line in own] == [line["step"] for line in other]
        for ours, theirs in zip(own, other, strict=True):
            np.testing.assert_allclose(theirs["gradient"]["rms"], ours["gradient"]["rms"], rtol=2e-2, atol=1e-5)
    assert not np.allclose(beside[0].carry.params["hidden1/w"], beside[1].carry.params["hidden1/w"], atol=1e-3)


def test_where_memory_does_not_hold_all_fewer_go_together(monkeypatch):
    alone, beside = ([loop(seed) for seed in (3, 4, 5)] for _ in range(2))
    for one in alone:
        lines(one)
    carry, data = beside[0].carry, beside[0].feed.chunk(beside[0]._shuffled(), 0)[:2]
    kept = sum(a.nbytes for a in jax.tree.leaves((carry.params, carry.state, carry.optimizer)))
    one = sum(a.nbytes for a in jax.tree.leaves(data)) + memory.COPIES * kept
    for free, joined in ((2.5 * one, 8), (0.1 * one, 0)):  # two and one, then each by itself
        monkeypatch.setattr(meetings, "free_memory", lambda free=free: int(free / memory.SHARE))
        these = [loop(seed) for seed in (3, 4, 5)]
        meeting = Meeting()
        meeting.run([lambda one=one: lines(one) for one in these])
        assert meeting.joined == joined
        for a, b in zip(alone, these, strict=True):
            close(a, b)


def test_those_that_end_early_or_are_not_alike_hinder_nobody():
    made = [{"seed": 1}, {"seed": 2, "patience": 1}, {"seed": 3}, {"seed": 4, "width": 6}]
    alone, beside = ([loop(**one) for one in made] for _ in range(2))
    for one in alone:
        lines(one)
    meeting = Meeting()
    meeting.run([lambda one=one: lines(one) for one in beside])
    assert alone[1].stopped == "patience" and alone[1].step < 30
    for a, b in zip(alone, beside, strict=True):
        close(a, b)
    assert set(meeting.most.values()) == {3}  # the fourth is another network; when one has gone, its place is filled


def test_what_one_raises_is_raised_when_all_have_ended():
    fine = loop(1)

    def fails():
        for _ in loop(2).run():
            raise ValueError("of the second")

    with pytest.raises(ValueError, match="of the second"):
        Meeting().run([lambda: lines(fine), fails])
    assert fine.stopped == "budget"


@pytest.fixture
def interruptible():
    """Where the tests run in the background of a shell, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_ends_all(interruptible):
    until = time.monotonic() + 60

    def goes_on():
        while time.monotonic() < until:
            lines(loop(1))

    before = threading.active_count()
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        Meeting().run([goes_on, goes_on])
    assert time.monotonic() < until - 30
    until = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert threading.active_count() <= before
