"""float16's range: numbers too large, numbers too small, and what only looks like it."""

import pytest
from made import alarms, named, record

LOW = {"precision": "float16"}


def told(made, scale=65536.0, skipped=0):
    for line in made.chunks:
        line["scale"], line["skipped"] = scale, skipped
    return made


def test_many_skipped_steps():
    found = named(told(record(setup=LOW), 1.0, 400), "float16_range")
    assert found.alarm and "400 of 1,000 steps were not made" in found.summary
    assert [r.settings for r in found.remedies] == [{"precision": "bfloat16"}]


def test_a_loss_that_is_not_finite_in_float16():
    broken = {"train": lambda e: float("nan") if e >= 8 else 0.5, "batch": lambda s: float("nan") if s >= 400 else 0.5}
    assert alarms(told(record(setup=LOW, **broken), 1024.0, 30))[0] == "float16_range"
    assert "float16_range" not in alarms(record(**broken))


def test_gradients_that_fade_to_nothing():
    sizes = [0.0, 0.0, 1e-11, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2]
    zeros = [1.0, 1.0, 0.6, 0.1, 0.0, 0.0, 0.0, 0.0]
    made = told(record(setup=LOW, gradient=lambda step, depth: sizes[depth], train=lambda e: 0.69))
    for line in made.steps:
        line["gradient"]["zero"] = zeros
    found = named(made, "float16_range")
    assert found.layer == made.layers[1] and "underflow" in found.summary and "100%" in found.summary


@pytest.mark.parametrize("skipped", [0, 18])
def test_a_run_that_is_well_and_a_dead_layer_are_not_it(skipped):
    assert alarms(told(record(setup=LOW), 4096.0, skipped)) == []
    dead = told(record(setup=LOW, gradient=lambda step, depth: 0.0 if depth < 3 else 1e-2))
    for line in dead.steps:
        line["gradient"]["zero"] = [1.0 if depth < 3 else 0.4 for depth in range(len(dead.layers))]
    assert "float16_range" not in alarms(dead)
