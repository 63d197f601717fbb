"""Every registered schedule against its closed form in Python. A newcomer joins by an entry in CURVES."""

import json
import math

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pellucid.errors import SettingError
from pellucid.train.schedules import Constant, Cosine, Exponential, OneCycle, ReduceOnPlateau, Schedule, Step


def one_cycle(s, n, span):
    t = n / span
    if t < s.peak:
        return s.start + (1 - s.start) * (1 - math.cos(math.pi * t / s.peak)) / 2
    return s.final + (1 - s.final) * (1 + math.cos(math.pi * (t - s.peak) / (1 - s.peak))) / 2


def step(s, n, span):
    every = max(float(np.round(np.float32(s.every) * np.float32(span))), 1.0) if s.every < 1 else s.every
    return s.decay ** math.floor(min(n, span - 1) / every)


CURVES = {
    "constant": lambda s, n, span: 1.0,
    "step": step,
    "exponential": lambda s, n, span: s.final ** (n / span),
    "cosine": lambda s, n, span: s.final + (1 - s.final) * (1 + math.cos(math.pi * n / span)) / 2,
    "one_cycle": one_cycle,
    "reduce_on_plateau": lambda s, n, span: 1.0,
}
SPECS = [
    Constant(), Step(), Step(0.5, 0.5), Step(7, 0.9), Exponential(), Exponential(0.5), Cosine(), Cosine(0.1),
    OneCycle(), OneCycle(0.5, 0.1, 0.01), ReduceOnPlateau(),
]  # fmt: skip
each = pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.name}:{','.join(map(str, s.to_json().values()))}")
factor = jax.jit(lambda spec, step, total: spec.factor(step, total), static_argnums=0)


def by_hand(spec: Schedule, at: int, total: int) -> float:
    warm = float(np.round(np.float32(spec.warm_up) * np.float32(total))) if spec.warm_up < 1 else spec.warm_up
    span = max(total - warm, 1.0)
    n = min(max(at - warm, 0.0), span)
    return (min((at + 1) / max(warm, 1.0), 1.0) if at < warm else 1.0) * CURVES[spec.name](spec, n, span)


def test_each_registered_schedule_is_tested_here():
    assert {s.name for s in SPECS} == set(CURVES) == set(Schedule.registry)


@each
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 5.0])
@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 3000), total=st.integers(1, 2000))
@example(at=0, total=1)
@example(at=1999, total=2000)
@example(at=2000, total=2000)
def test_factor_is_the_closed_form(spec, warm_up, at, total):
    spec = type(spec).make({**{k: v for k, v in spec.to_json().items() if k != "type"}, "warm_up": warm_up})
    np.testing.assert_allclose(factor(spec, at, total), by_hand(spec, at, total), rtol=2e-5, atol=2e-6)


@each
def test_beyond_the_budget_nothing_changes(spec):
    last = factor(spec, 100, 100)
    assert [float(factor(spec, s, 100)) for s in (101, 150, 10**6)] == [float(last)] * 3
    if spec.name == "step":
        assert factor(spec, 99, 100) == last


@each
def test_steps_and_budgets_do_not_compile_anew(spec):
    traces = []

    def run(step, total):
        traces.append(step)
        return spec.factor(step, total)

    jitted = jax.jit(run)
    values = [jitted(s, t) for s, t in [(0, 10), (5, 10), (5, 1000)]]
    assert len(traces) == 1
    assert all(v.dtype == np.float32 and v.shape == () for v in values)


@each
def test_json_round_trip(spec):
    assert Schedule.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with_warm_up = Schedule.of(f"{spec.name}:warm_up=0.05")
    assert with_warm_up.warm_up == 0.05
    assert with_warm_up != spec


def test_plateau_halves_after_patience_and_not_below_the_minimum():
    schedule = ReduceOnPlateau(decay=0.1, patience=2, minimum=0.05)
    state, factors = schedule.begin(), []
    for loss in [1.0, 1.0, 1.0, 1.0, math.nan, math.inf, 1.0, 1.0, 1.0, 1.0]:
        state, f = schedule.observe(json.loads(json.dumps(state)), loss)  # the state lives in a checkpoint
        factors.append(f)
    assert factors == [1, 1, 1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]


def test_plateau_is_relative_and_works_below_zero():
    schedule = ReduceOnPlateau(patience=0, threshold=0.1)
    state, _ = schedule.observe(schedule.begin(), -1.0)
    assert schedule.observe(state, -1.05)[1] == 0.5  # better by less than a tenth
    assert schedule.observe(state, -1.2)[1] == 1.0


def test_observing_changes_no_argument_and_others_do_not_observe():
    schedule = ReduceOnPlateau(patience=0)
    state = schedule.begin()
    schedule.observe(state, 1.0)
    assert state == schedule.begin()
    assert schedule.observes
    assert not Cosine().observes
    assert Cosine().observe(Cosine().begin(), 1.0) == ({}, 1.0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Cosine(warm_up=-1), r"Cosine\(warm_up=...\)"),
        (lambda: Cosine(2.0), r"a number in \[0, 1\]"),
        (lambda: Step(every=0), "a number of updates, or a fraction"),
        (lambda: Step(decay=0), r"Step\(decay"),
        (lambda: Exponential(0.0), r"a number in \(0, 1\]"),
        (lambda: OneCycle(peak=1.0), "a fraction of the budget"),
        (lambda: OneCycle(start=-1), r"OneCycle\(start"),
        (lambda: ReduceOnPlateau(decay=1.0), r"a number in \(0, 1\)"),
        (lambda: ReduceOnPlateau(patience=-1), "a whole number >= 0"),
        (lambda: Schedule.of("cosin"), "did you mean 'cosine'"),
    ],
)
def test_settings_out_of_range(make, text):
    with pytest.raises(SettingError, match=text):
        make()
