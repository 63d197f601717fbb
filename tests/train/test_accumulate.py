"""A batch in parts is the batch: weights, losses and signals after a step, in float64, beside the step in one piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid import fit
from pellucid.network.activations import Tanh
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Output
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.network.recurrent import LSTM
from pellucid.train import step
from pellucid.train.augment import Mixup
from pellucid.train.losses import CrossEntropy
from pellucid.train.optimizers import Adam
from pellucid.train.program import Data, Program
from pellucid.train.schedules import Schedule

DENSE = Sequential(Dense(5), Tanh(), Output(3))
RECURRENT = Sequential(LSTM(4), Output(3))


def stepped(layer, parts, *, rows=20, batch=8, position=0, weight=None, shape=(4,), augment=(), streams=False, **more):
    """(carry, loss, measured) after one step on batch number `position` of drawn data."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(rows, *shape)), rng.integers(0, 3, (rows, *shape[:-1]))
    watched = tuple(name for name, _ in layer.layers)
    program = Program(
        layer=layer, loss=CrossEntropy(), optimizer=Adam().structure(), schedule=Schedule.of("constant"), batch=batch,
        rows=rows, watched=watched, timed=("lstm1",) if layer is RECURRENT else (), accumulate=parts, augment=augment,
        streams=streams, **more,
    )  # fmt: skip
    with jax.enable_x64(True):
        network = Network(layer).initialised(jax.random.key(0), jnp.zeros((1, *shape)))
        params = {path: jnp.asarray(value, jnp.float64) for path, value in flatten(network.params).items()}
        numbers = {**Adam().numbers(), "total": 10, "plateau": 1.0, "offset": 0.0, "skipped": 0}
        carry = step.start(program, params, network.state, numbers)
        if streams:
            kept = {"lstm1": tuple(jnp.asarray(rng.normal(size=(batch, 4))) for _ in range(2))}
            carry = carry._replace(carried=kept)
        carry = carry._replace(step=jnp.int32(position))
        data = Data(jnp.asarray(x), jnp.asarray(y), None if weight is None else jnp.asarray(weight))
        order = jnp.arange(-(-rows // batch) * batch) % rows
        one = jax.jit(lambda *given: step._step(program, *given, measure=True))
        return one(data, order, numbers, jax.random.key(1), 0, carry)


def alike(got, wanted, rtol=1e-10, atol=1e-12):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


CASES = {
    "uneven parts": {"parts": 3},
    "more parts than rows": {"parts": 100},
    "the last batch, half full": {"parts": 4, "position": 2},
    "example weights": {"parts": 3, "position": 2, "weight": np.linspace(0, 2, 20)},
    "the whole set": {"parts": 3, "batch": 20},
    "rows mixed": {"parts": 4, "augment": (Mixup(0.5),)},
    "sequences": {"parts": 4, "layer": RECURRENT, "shape": (6, 2)},
    "a text read on": {"parts": 3, "layer": RECURRENT, "shape": (6, 2), "streams": True},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_batch_in_parts_gives_the_step_of_the_whole_batch(case):
    case = {"layer": DENSE, **case}
    carry, loss, told = stepped(**case)
    whole, its_loss, its = stepped(**{**case, "parts": 1})
    alike((carry, loss), (whole, its_loss))
    alike((told.weights, told.time, told.rate), (its.weights, its.time, its.rate), 1e-5, 1e-7)  # told in float32
    if case.get("position", 0) == 0 and case["parts"] == 4:  # no row only fills up: the sums are of the same numbers
        alike((told.activation, told.gradient), (its.activation, its.gradient), 1e-5, 1e-7)


def test_each_part_draws_its_own_dropout():
    layer = Sequential(Dropout(0.5), Output(3))
    loss = [float(stepped(layer, parts, rows=8)[1]) for parts in (1, 2)]
    assert loss[0] != loss[1]


def test_a_run_says_it_in_its_recipe_and_compiles_its_step_once():
    step.run_chunk.clear_cache()
    runs = [
        fit("mlp:6", "iris", out=None, epochs=3, baselines=False, accumulate=n, precision=p, remat=r, doctor="off")
        for n, p, r in ((1, None, None), (5, None, None), (5, "float16", "blocks"))
    ]
    assert step.run_chunk._cache_size() == 3
    assert [run.recipe.train.accumulate for run in runs] == [1, 5, 5]
    assert [run.recipe.train.precision for run in runs] == [None, None, "float16"]
    losses = [run.result["train"]["loss"] for run in runs]
    np.testing.assert_allclose(losses[1:], losses[0], rtol=1e-3)
