"""Steps of a dense network as one native call, beside the step of plain JAX: weights, moments, losses of 20 steps, and
what measured ones tell.

`tests/native/check.cc` holds the kernel itself to loops in doubles.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid import Dataset, fit
from pellucid.native import native, plain
from pellucid.network.activations import GELU, Identity, ReLU, Sigmoid, Tanh
from pellucid.network.composite import Residual, Sequential
from pellucid.network.dense import Dense, Dropout, Flatten, Input, Output
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm
from pellucid.network.trace import trace
from pellucid.recipe import make
from pellucid.session import Session
from pellucid.train import dense_steps, step
from pellucid.train.loop import Loop
from pellucid.train.loss import Loss
from pellucid.train.optimizer import Optimizer
from pellucid.train.program import Data, Program
from pellucid.train.schedules import Schedule

here = pytest.mark.skipif(native().isa is None, reason=f"no native kernels: {native().why}")

IMAGES = Sequential(
    ("in", Input(per="feature", shape=(4, 3), dtype="uint8")), ("flat", Flatten()),
    ("inside", Sequential(Dense(40), ReLU(), Dense(9), Tanh())), ("out", Output(3)),
)  # fmt: skip
ROWS = Sequential(Dense(33), Sigmoid(), Dense(20, bias=False), Identity(), Dense(17), ReLU(), Dense(1))
LINE = Sequential(Dense(3))
BROAD = Sequential(Dense(256), ReLU(), Dense(160), Tanh(), Output(3))  # worth every thread that there is


def chunk(layer, *, loss="cross_entropy", optimizer="adam", batch=8, rows=20, steps=20, schedule="constant", **more):
    """() -> (carry, losses, what every other step tells, of long epochs every fourth) of `steps` steps on drawn data,
    and whether they are made in one call."""
    rng = np.random.default_rng(5)
    images, outputs = layer is IMAGES, 1 if layer is ROWS else 3
    x = rng.integers(0, 255, (rows, 4, 3), "uint8") if images else rng.normal(size=(rows, 5)).astype("float32")
    name = Loss.of(loss).name
    classes = name == "cross_entropy"
    y = rng.integers(0, 3, rows).astype("int32") if classes else rng.normal(size=(rows, outputs)).astype("float32")
    y = (y > 0).astype("float32") if name == "binary_cross_entropy" else y
    y = y[:, 0] if not classes and outputs == 1 else y
    rule = Optimizer.of(optimizer)
    weight = more.pop("weight", None)
    program = Program(
        layer=layer, loss=Loss.of(loss), optimizer=rule.structure(), schedule=Schedule.of(schedule), batch=batch,
        rows=rows, watched=tuple(leaf.path for leaf in trace(layer, x[:1]).leaves), **more,
    )  # fmt: skip
    network = Network(layer).initialised(jax.random.key(0), x[:1])
    state = network.state or {}
    if images:
        state = {"in": {"mean": jnp.full((4, 3), 100.0), "scale": jnp.linspace(50.0, 80.0, 12).reshape(4, 3)}}
    numbers = {**rule.numbers(), "total": 30, "plateau": 1.0, "offset": 0.0, "skipped": 0}
    order = jnp.asarray(rng.permutation(np.resize(np.arange(rows), -(-rows // batch) * batch)), jnp.int32)
    data = Data(jnp.asarray(x), jnp.asarray(y), weight if weight is None else jnp.asarray(weight))
    per_epoch = -(-rows // batch)

    def run(carry=None):
        # an epoch is a chunk; a fresh function each time, for JAX knows nothing of `plain()`
        run_chunk = jax.jit(partial(step.run_chunk.__wrapped__, program, per_epoch))
        carry = step.start(program, flatten(network.params), state, numbers) if carry is None else carry
        losses, measured, done = [], [], 0
        while done < steps:
            now = min(per_epoch, steps - done)
            plain = 0 if now == 1 else 1 if now < 20 else 3  # of several in a row each looks at the next one's example
            planned = [(plain, 1)] * (now // (plain + 1)) + [(now % (plain + 1), 0)]
            segments = np.zeros((per_epoch // 2 + 2, 2), np.int32)
            segments[: len(planned)] = planned
            carry, told, looks, squares = run_chunk(
                carry, data, order, numbers, jax.random.key(1), done, segments, len(planned)
            )
            losses += list(np.asarray(told)[:now])
            measured.append(jax.tree.map(lambda a, n=now // (plain + 1): np.asarray(a)[:n], looks))
            done += now
        for path, value in carry.params.items():
            np.testing.assert_allclose(squares[path], np.square(np.float64(value)).sum(), rtol=1e-5)
        return carry, np.array(losses), jax.tree.map(lambda *all: np.concatenate(all), *measured)

    carry = step.start(program, flatten(network.params), state, numbers)
    return run, dense_steps.swift(program, carry, data, order, numbers, 0, per_epoch) is not None


CASES = {
    "images in bytes, adam": (IMAGES, {}),
    "a warm-up, and the rate falling": (IMAGES, {"schedule": {"type": "cosine", "warm_up": 4}}),
    "single examples, plain": (IMAGES, {"optimizer": "sgd", "batch": 1}),
    "single examples, adam": (IMAGES, {"batch": 1}),
    "few rows": (IMAGES, {"batch": 5, "rows": 23, "optimizer": "momentum"}),
    "the whole set": (IMAGES, {"batch": 20, "optimizer": "gradient_descent"}),
    "numbers, mean squared error": (ROWS, {"loss": "mean_squared_error", "batch": 16, "rows": 50}),
    "nesterov": (ROWS, {"loss": "mean_squared_error", "optimizer": "nesterov"}),
    "decay of the weight itself": (LINE, {"optimizer": {"type": "adamw", "weight_decay": 0.3}}),
    "decay in the gradient": (ROWS, {"loss": "mean_squared_error", "optimizer": {"type": "sgd", "weight_decay": 0.3}}),
    "several numbers to tell": (LINE, {"loss": "mean_squared_error"}),
    "label smoothing": (IMAGES, {"loss": {"type": "cross_entropy", "label_smoothing": 0.1}}),
    "yes or no, smoothed": (LINE, {"loss": {"type": "binary_cross_entropy", "label_smoothing": 0.1}}),
    "yes or no, one output": (ROWS, {"loss": "binary_cross_entropy"}),
    "batches in several blocks": (IMAGES, {"batch": 1500, "rows": 3700, "steps": 12}),
    "the whole set in several blocks": (ROWS, {"loss": "mean_squared_error", "batch": 2500, "rows": 2500, "steps": 8}),
    "several threads": (BROAD, {"batch": 64, "rows": 200}),
    "several threads, single examples": (BROAD, {"batch": 1, "optimizer": "sgd", "rows": 60, "steps": 60}),
}


@here
@pytest.mark.parametrize("case", CASES)
def test_it_goes_as_in_plain_jax(case):
    layer, how = CASES[case]
    run, at_once = chunk(layer, **how)
    assert at_once
    carry, losses, looks = run()
    with plain():
        wanted, told, seen = run()
    np.testing.assert_allclose(losses, told, rtol=1e-4, atol=1e-6)
    assert jax.tree.structure(carry) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    rows, batch = how.get("rows", 20), how.get("batch", 8)
    whole = (seen.step % -(-rows // batch) + 1) * batch <= rows  # the step of JAX measures what fills a batch up too
    assert whole.sum() >= 3
    for name in ("step", "loss", "rate", "activation", "gradient", "weights"):
        a, b = getattr(looks, name), getattr(seen, name)
        assert a.shape == b.shape
        near = np.abs(b)
        if name in ("activation", "gradient"):
            # numbers that cancel are as near as the root of their squares lets them be
            a, b, near = a[whole], b[whole], np.sqrt(b[whole][..., :1] * b[whole][..., 2:3]) + near[whole]
        assert (np.abs(a - b) <= 1e-3 * near + 1e-9).all(), name
    again, *_ = run()
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(again), strict=True))


OTHERS = {
    "dropout": (Sequential(Dense(4), Dropout(0.5), Output(3)), {}),
    "normalisation": (Sequential(Dense(4), BatchNorm(), Output(3)), {}),
    "another activation": (Sequential(Dense(4), GELU(), Output(3)), {}),
    "an activation at the end": (Sequential(Dense(4), ReLU(), Dense(3), Tanh()), {}),
    "two activations": (Sequential(Dense(4), ReLU(), Tanh(), Dense(3)), {}),
    "a branch": (Sequential(Residual(Dense(5)), Output(3)), {}),
    "probabilities": (LINE, {"loss": {"type": "cross_entropy", "from_probabilities": True}}),
    "another loss": (LINE, {"loss": "huber"}),
    "another optimizer": (LINE, {"optimizer": "lion"}),
    "clipping": (LINE, {"optimizer": {"type": "adam", "clip_norm": 1.0}}),
    "example weights": (LINE, {"weight": np.ones(20, "float32")}),
    "frozen weights": (LINE, {"frozen": ("dense1/b",)}),
    "half precision": (LINE, {"precision": "bfloat16"}),
    "a batch in parts": (LINE, {"accumulate": 2}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_call_cannot_do_is_left_to_the_step(case):
    layer, how = OTHERS[case]
    assert not chunk(layer, **how)[1]


@here
def test_without_kernels_nothing_is_called():
    with plain():
        assert not chunk(LINE)[1]


@here
@pytest.mark.parametrize("batch", [1, 7, 32])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_what_is_measured_changes_no_weight(optimizer, batch):
    with_, without = (
        fit("mlp:40,9", "iris", out=None, signals=on, optimizer=optimizer, batch_size=batch, steps=40, baselines=False)
        for on in (True, False)
    )
    for a, b in zip(jax.tree.leaves(with_.network.params), jax.tree.leaves(without.network.params), strict=True):
        np.testing.assert_array_equal(a, b)


@here
@pytest.mark.parametrize("batch", [1, 7, 32])
def test_where_a_run_is_cut_does_not_matter(batch):
    """Steps one by one give the bytes of steps in chunks: what a call knows of the next step changes nothing."""
    rng = np.random.default_rng(0)
    data = Dataset(rng.normal(size=(90, 6)).astype("float32"), rng.integers(0, 3, 90))
    words = {"network": "mlp:40,12", "optimizer": "sgd", "batch_size": batch, "steps": 40, "baselines": False}

    def weights(pieces):
        made = Session(make(words), data, {}, None, (), 1.0)
        loop = Loop(made.network, made.prepared.train, None, made.settings)
        for piece in pieces:
            list(loop.some(piece))
        return loop.carry.params

    whole, cut = weights([37]), weights([1] * 3 + [14, 20])
    assert all(np.array_equal(whole[path], cut[path]) for path in whole)
