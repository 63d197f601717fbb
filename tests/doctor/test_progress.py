"""Harm: each kind in a run that suffers it, and in one that only looks like it."""

import math

import numpy as np
import pytest
from made import PER_EPOCH, TRIVIAL, falls, record, scores, state, wobbles

from pellucid.doctor.progress import noise_of


def test_a_run_that_is_well():
    found = state(record())
    assert found.finished and found.done == 1 and not found.harmed and not found.unfinished and found.overfit is None
    assert found.best == pytest.approx(falls(20), rel=1e-4) and found.learned > 0.9
    assert found.start == pytest.approx(falls(0), rel=1e-4) and found.best_step == 20 * PER_EPOCH


def test_not_finite():
    blown = record(train=lambda e: falls(e) if e < 6 else math.nan, validation=lambda e: 0.5)
    assert 6 * PER_EPOCH <= state(blown).nonfinite <= 6 * PER_EPOCH + 100 and state(blown).harmed
    batch = record(batch=lambda step: math.inf if step == 8 else 0.5)
    assert state(batch).nonfinite == 8
    validation = record(validation=lambda e: 0.5 if e < 9 else math.inf)
    assert state(validation).nonfinite == 9 * PER_EPOCH


def test_what_is_not_told_is_not_infinite():
    made = record()
    made.steps[3]["loss"] = None
    made.epochs[3]["sample"] = {"loss": None}
    assert state(made).nonfinite is None


def test_blown():
    assert state(record(train=lambda e: 0.7 + e)).blown
    assert not state(record(train=lambda e: 0.69 + 0.1 * wobbles(e))).blown
    steep = record(train=lambda e: 40 * math.exp(-e / 3) + 0.1)  # initial outputs far off: it falls all the same
    assert not state(steep).blown and not state(steep).stuck


def test_stuck():
    assert state(record(train=lambda e: TRIVIAL)).stuck
    assert state(record(train=lambda e: TRIVIAL - 0.005)).stuck
    assert not state(record(train=lambda e: 0.9 * TRIVIAL)).stuck
    soon = record(epochs=4, train=lambda e: TRIVIAL, setup={"updates": 20 * PER_EPOCH})
    assert not state(soon).stuck and not state(soon).finished  # a fifth of the budget is no fair share
    unknown = record(train=lambda e: 0.7, setup={"trivial_loss": None})
    assert state(unknown).stuck  # beside where it began


def test_beaten_by_more_than_the_uncertainty_of_few_rows():
    assert state(record(), scores(0.80, 0.95)).beaten == ("linear", 0.95, 0.80)
    assert state(record(), scores(0.94, 0.95)).beaten is None
    assert state(record(), scores(0.88, 0.95, rows=15)).beaten is None  # two rows of thirty
    assert state(record(), scores(0.50, 0.51, majority=0.5)).beaten is None
    assert state(record(), {}).beaten is None


def test_where_no_model_beats_the_constant_answer_there_may_be_nothing_to_learn():
    found = state(record(train=lambda e: TRIVIAL), scores(0.5, 0.51))
    assert found.stuck and found.hopeless and found.harmed
    assert not state(record(train=lambda e: TRIVIAL), scores(0.5, 0.9)).hopeless


def test_scores_that_are_missing_or_strings_are_not_known():
    broken = scores(0.5, 0.9)
    broken["validation"] = {"loss": "nan"}
    broken["baselines"][1]["test"] = None
    assert state(record(), broken).beaten is None
    assert state(record(), {"metric": "accuracy", "validation": {"accuracy": None}}).beaten is None


def straight(e):
    return 1.0 - 0.045 * e


def test_unfinished():
    assert state(record(train=straight, validation=lambda e: straight(e) + 0.05)).unfinished
    assert not state(record()).unfinished
    noisy = record(train=lambda e: 0.3 + 0.2 * wobbles(e), validation=None)
    assert not state(noisy).unfinished
    going = record(epochs=12, train=straight, setup={"updates": 20 * PER_EPOCH})
    assert not state(going).unfinished  # it still goes on


def test_the_last_fall_of_a_schedule_is_no_unfinished_run():
    """A rate that is cut by ten lets the loss drop at once, and then stand."""
    cut = record(train=lambda e: 0.4 if e < 17 else 0.2, validation=lambda e: 0.5 if e < 17 else 0.3)
    assert not state(cut).unfinished


def test_validation_that_stands_is_no_unfinished_run():
    assert not state(record(train=straight, validation=lambda e: 0.5)).unfinished


def test_overfit():
    rises = record(validation=lambda e: 0.5 - 0.05 * e if e <= 5 else 0.25 + 0.04 * (e - 5))
    assert state(rises).overfit == 5 * PER_EPOCH


def test_validation_that_wobbles_within_its_noise_is_no_overfitting():
    for size in (0.02, 0.1):
        assert state(record(validation=lambda e, size=size: 0.4 + size * wobbles(e))).overfit is None
    assert state(record(validation=lambda e: 0.5 - 0.05 * e if e <= 5 else 0.25 + 0.002 * (e - 5))).overfit is None
    assert state(record(epochs=4, validation=lambda e: 0.2 * e)).overfit is None  # too few epochs to tell


def test_a_rise_of_both_losses_is_no_overfitting():
    both = lambda e: falls(e) if e < 8 else falls(8) + 0.05 * (e - 8)  # noqa: E731
    assert state(record(train=both, validation=lambda e: both(e) + 0.01)).overfit is None


def test_unlearned():
    assert state(record(validation=lambda e: TRIVIAL + 0.05 * e)).unlearned
    assert not state(record(validation=lambda e: 0.5 + 0.01 * e)).unlearned  # overfitting, and something was learned


def test_noise_is_what_a_trend_is_not():
    g = np.random.default_rng(0)
    assert noise_of(0.3 * g.normal(size=2000)) == pytest.approx(0.3, rel=0.1)
    assert noise_of(np.linspace(9, 1, 200) + 0.3 * g.normal(size=200)) == pytest.approx(0.3, rel=0.3)
    assert noise_of(np.array([1.0, 2.0])) == 0.0


def test_nothing_is_said_of_nothing():
    from pellucid.signals.record import Record

    found = state(Record())
    assert math.isnan(found.best) and not found.harmed and not found.unfinished and found.overfit is None
    one = record(epochs=1)
    one.steps = one.steps[:1]
    assert not state(one).harmed
