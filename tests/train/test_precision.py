"""Mixed precision: weights stay float32, the loss is scaled and steps skipped by the rule, signals are as without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid import fit
from pellucid.errors import SettingError
from pellucid.network.activations import ReLU
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Output
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.signals.record import read_record
from pellucid.train import step
from pellucid.train.losses import MeanSquaredError
from pellucid.train.optimizers import SGD
from pellucid.train.precision import FIRST, GROW, MOST, Scale, begin, judged
from pellucid.train.program import Data, Program
from pellucid.train.schedules import Schedule

QUICK = {"epochs": 3, "baselines": False, "doctor": "off"}
GOOD, BAD = {"w": jnp.ones(3)}, {"w": jnp.array([0.0, jnp.nan, 1.0]), "b": jnp.ones(1)}


def scale(value, good=0, skipped=0):
    return Scale(jnp.float32(value), jnp.int32(good), jnp.int32(skipped))


@pytest.mark.parametrize(
    ("before", "gradients", "made", "after"),
    [
        (scale(1024), GOOD, True, (1024, 1, 0)),
        (scale(1024, GROW - 1), GOOD, True, (2048, 0, 0)),
        (scale(MOST, GROW - 1), GOOD, True, (MOST, 0, 0)),
        (scale(1024, 50, 2), BAD, False, (512, 0, 3)),
        (scale(1, 50), BAD, True, (1, 0, 0)),  # nothing is left to try: the loss shall tell
    ],
)
def test_the_scale_doubles_after_good_steps_and_halves_at_a_bad_one(before, gradients, made, after):
    fine, found = jax.jit(judged)(before, gradients)
    assert (bool(fine), *(float(v) for v in found)) == (made, *after)


def one_step(precision, x, y, rate=0.1, value=None, weights=1.0):
    """(the carry before, after, loss, measured) of one step of a linear unit behind a ReLU unit."""
    layer = Sequential(Dense(1), ReLU(), Output(1))
    program = Program(
        layer=layer, loss=MeanSquaredError(), optimizer=SGD(rate).structure(), schedule=Schedule.of("constant"),
        batch=len(x), rows=len(x), watched=("dense1", "relu1", "output1"), precision=precision,
    )  # fmt: skip
    network = Network(layer).initialised(jax.random.key(0), x)
    params = {path: jnp.full_like(v, weights) for path, v in flatten(network.params).items()}
    numbers = {"learning_rate": rate, "total": 10, "plateau": 1.0, "offset": 0.0, "skipped": 0}
    carry = step.start(program, params, {}, numbers)
    if value is not None:
        carry = carry._replace(scale=scale(value))
    data = Data(jnp.asarray(x), jnp.asarray(y), None)
    run = jax.jit(
        lambda carry: step._step(program, data, jnp.zeros(1, jnp.int32), numbers, jax.random.key(1), 0, carry, True)
    )
    return carry, *run(carry)


X, Y = np.array([[1.0], [2.0]], "float32"), np.array([[0.5], [-3.0]], "float32")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_step_is_float32s_to_three_digits_and_so_are_its_signals(precision):
    _, plain, loss, told = one_step("float32", X, Y)
    _, low, its_loss, its = one_step(precision, X, Y, value=1024 if precision == "float16" else None)
    assert all(v.dtype == jnp.float32 for v in low.params.values()) and its_loss.dtype == jnp.float32
    for a, b in zip(
        jax.tree.leaves((low.params, its_loss, its)), jax.tree.leaves((plain.params, loss, told)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0.02, atol=1e-6)  # gradients and their sums, without the scale


def test_small_updates_are_not_lost():
    """A weight of 1 in bfloat16 does not move by less than 0.004; its float32 master does."""
    _, after, _, _ = one_step("bfloat16", X, Y, rate=1e-6)
    _, exact, _, _ = one_step("float32", X, Y, rate=1e-6)
    for path, value in after.params.items():
        moved = np.asarray(value) - 1
        assert (abs(moved) > 0).all() and (abs(moved) < 1e-3).all()
        np.testing.assert_allclose(moved, np.asarray(exact.params[path]) - 1, rtol=0.02)


def test_gradients_too_small_for_float16_are_saved_by_the_scale():
    """All numbers on the way forward are exact in float16; dL/dw is 2^-28, where the type ends at 2^-24."""
    x, out = np.float32([[2.0**-8]]), 0.3125 + 2.0**-12  # 0.25 * (0.25 * x + 0.25) + 0.25
    y = np.float32([[out - 2.0**-19]])  # so dL/d(out) = 2^-18, and dL/dw = 2^-18 * 0.25 * x
    _, plain, _, told = one_step("float32", x, y, rate=2.0**10, weights=0.25)
    _, scaled, _, its = one_step("float16", x, y, rate=2.0**10, weights=0.25)
    assert float(plain.params["dense1/w"][0, 0]) == 0.25 - 2.0**-18
    for path, value in plain.params.items():
        np.testing.assert_array_equal(scaled.params[path], value)
    np.testing.assert_allclose(its.weights, told.weights, rtol=1e-6, atol=0)


def test_a_step_that_overflows_is_not_made():
    before, after, loss, told = one_step("float16", X, 1000 * Y, value=MOST)
    assert np.isfinite(loss) and np.isnan(told.rate)
    for path, value in after.params.items():
        np.testing.assert_array_equal(value, before.params[path])
    assert (int(after.step), float(after.scale.value), int(after.scale.skipped)) == (1, MOST / 2, 1)
    np.testing.assert_array_equal(told.weights[:, 1], 0)  # no update


def test_only_float16_carries_a_scale():
    assert begin("float32") == begin("bfloat16") == ()
    assert float(begin("float16").value) == FIRST


def test_a_run_tells_scale_and_skipped_steps_and_leaves_those_steps_out(tmp_path):
    run = fit("mlp:8", "iris", out=tmp_path, precision="float16", **QUICK)
    record = read_record(run.path / "record.jsonl")
    assert record.setup["precision"] == "float16"
    last = record.chunks[-1]
    assert last["scale"] == FIRST / 2 ** last["skipped"]
    for line in record.steps:
        assert all(isinstance(v, float) for v in [line["learning_rate"], *line["gradient"]["rms"]])
    assert 'precision = "float16"' in (run.path / "recipe.toml").read_text()


def test_scores_and_predictions_are_float32_and_know_of_no_precision(tmp_path):
    run = fit("mlp:8", "iris", out=tmp_path, precision="bfloat16", **QUICK)
    assert "bfloat16" not in (run.path / "network.json").read_text()
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(run.network.params))
    probabilities = run.network.probabilities(run.prepared.train.x[:4])
    assert np.asarray(probabilities).dtype == np.float32


def test_an_unknown_precision_is_refused_by_name():
    with pytest.raises(SettingError, match="train.precision") as told:
        fit("mlp:8", "iris", out=None, precision="float8", **QUICK)
    assert "float8" in str(told.value)
