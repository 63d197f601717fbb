"""An optimizer that is watched: the same updates, and a record of them in its state."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pellucid as pc
from pellucid.errors import SettingError

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(32, 6)), "float32")
Y = jnp.asarray(RNG.normal(size=(32, 1)), "float32")
WEIGHTS = {
    "first": {"w": jnp.asarray(RNG.normal(size=(6, 9)), "float32"), "b": jnp.zeros(9)},
    "out": {"w": jnp.asarray(RNG.normal(size=(9, 1)), "float32")},
    "still": jnp.ones(3),
}


def loss(p):
    h = jax.nn.relu(X @ p["first"]["w"] + p["first"]["b"])
    return jnp.mean((h @ p["out"]["w"] - Y) ** 2)


def scanned(optimizer, steps, weights=WEIGHTS):
    def step(carry, _):
        p, s = carry
        value, g = jax.value_and_grad(loss)(p)
        u, s = optimizer.update(g, s, p)
        return (optax.apply_updates(p, u), s), value

    @jax.jit
    def run(p):
        return jax.lax.scan(step, (p, optimizer.init(p)), length=steps)

    (p, s), losses = run(weights)
    return p, s, losses


def test_the_weights_are_the_same_to_the_byte():
    plain, _, _ = scanned(optax.adam(1e-2), 40)
    seen, _, _ = scanned(pc.watch(optax.adam(1e-2)), 40)
    jax.tree.map(np.testing.assert_array_equal, plain, seen)


def test_large_weights_are_not_copied_at_each_step():
    weights = {"first": {"w": jnp.zeros((6, 3000)), "b": jnp.zeros(3000)}, "out": {"w": jnp.zeros((3000, 1))}}

    def copies(optimizer):
        def step(carry, _):
            p, s = carry
            u, s = optimizer.update(jax.grad(loss)(p), s, p)
            return (optax.apply_updates(p, u), s), None

        run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=9)[0], donate_argnums=0)
        compiled = run.lower((weights, optimizer.init(weights))).compile().as_text()
        return len(re.findall(r"= f32\[6,3000\]\S* copy\(", compiled))

    assert copies(pc.watch(optax.adam(1e-2))) == copies(optax.adam(1e-2)) == 0


def test_large_weights_are_trained_as_without():
    first = {"w": jnp.asarray(RNG.normal(size=(6, 3000)), "float32"), "b": jnp.zeros(3000)}
    weights = {"first": first, "out": {"w": jnp.asarray(RNG.normal(size=(3000, 1)), "float32")}}
    plain, _, _ = scanned(optax.adam(1e-2), 20, weights)
    seen, _, _ = scanned(pc.watch(optax.adam(1e-2)), 20, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain, seen)


def test_the_record_is_what_one_would_measure_by_hand():
    optimizer = optax.adam(1e-2)
    _, state, losses = scanned(pc.watch(optimizer, every=5), 12)
    record = pc.watched(state, losses=losses, learning_rate=1e-2, optimizer="adam")
    assert record.weights == ["first/b", "first/w", "out/w", "still"]
    assert [line["step"] for line in record.steps] == [0, 1, 2, 4, 5, 10]
    lines = {line["step"]: line for line in record.steps}
    p, s = WEIGHTS, optimizer.init(WEIGHTS)
    for step in range(11):
        value, g = jax.value_and_grad(loss)(p)
        u, s = optimizer.update(g, s, p)
        if step in lines:
            line, rms = lines[step], lambda t: [float(np.sqrt(np.mean(np.square(a)))) for a in jax.tree.leaves(t)]
            np.testing.assert_allclose(line["weight"]["gradient"], rms(g), rtol=1e-5, atol=1e-9)
            np.testing.assert_allclose(line["weight"]["update"], rms(u), rtol=1e-5, atol=1e-9)
            np.testing.assert_allclose(line["weight"]["rms"], rms(p), rtol=1e-5, atol=1e-9)
            zero = [float(np.mean(np.asarray(a) == 0)) for a in jax.tree.leaves(g)]
            np.testing.assert_allclose(line["weight"]["zero"], zero, rtol=1e-5)
            assert line["loss"] == pytest.approx(float(value), rel=1e-4)
        p = optax.apply_updates(p, u)
    assert record.setup["optimizer"] == "adam"
    assert record.chunks[-1]["step"] == 12
    assert [line["step"] for line in record.epochs] == [12]  # no validation was told


def test_the_first_and_the_last_of_a_long_training_are_kept():
    def step(s, _):
        _, s = optimizer.update(g, s, g)
        return s, None

    optimizer, g = pc.watch(optax.sgd(0.1), every=4), {"w": jnp.ones(2)}
    state = jax.jit(lambda s: jax.lax.scan(step, s, length=1000)[0])(optimizer.init(g))
    steps = [line["step"] for line in pc.watched(state).steps]
    assert steps == [1, 2, *range(1000 - 4 * 96, 1000, 4)]


def test_in_a_chain_with_rates_that_are_injected_and_without_weights():
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=0.25)
    optimizer = optax.chain(optax.clip(0.5), pc.watch(inner))
    state = optimizer.init({"w": jnp.zeros(2)})
    updates, state = jax.jit(lambda g, s: optimizer.update(g, s))({"w": jnp.array([8.0, jnp.inf])}, state)
    assert updates["w"].tolist() == [-0.125, -0.125]
    line = pc.watched(state).steps[0]
    assert (line["learning_rate"], line["weight"]["gradient"], line["weight"]["rms"]) == (0.25, [0.5], ["nan"])


def test_what_is_not_finite_is_counted():
    optimizer = pc.watch(optax.sgd(0.1))
    g = {"w": jnp.array([1.0, jnp.nan, jnp.inf, 0.0])}
    _, state = optimizer.update(g, optimizer.init(g), g)
    line = pc.watched(state, losses=[jnp.nan]).steps[0]
    assert (line["weight"]["nonfinite"], line["weight"]["gradient"], line["loss"]) == ([0.5], ["nan"], "nan")


def test_losses_and_validation_make_epochs():
    _, state, losses = scanned(pc.watch(optax.sgd(1e-2)), 250)
    record = pc.watched(state, losses=losses, validation={100: 1.5, 200: 1.25}, task="regression")
    assert [(line["step"], line["validation"]["loss"]) for line in record.epochs] == [(100, 1.5), (200, 1.25)]
    assert record.epochs[0]["train"]["loss"] == pytest.approx(float(losses[:100].mean()), rel=1e-4)
    assert [line["step"] for line in record.chunks] == [100, 200, 250]
    assert pc.diagnose(record) is not None


def test_the_page_shows_weights_that_are_too_large():
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(page.split("<!-- optax -->\n```python\n")[1].split("```")[0], names)
    record = names["record"]
    assert record.steps[0]["loss"] > 1000
    assert max(record.steps[0]["weight"]["gradient"]) > 10
    assert record.shapes == [[20, 32], [32, 32], [32, 2]]
    assert [f.problem for f in names["findings"]] == ["bad_initial_weights"]


def test_several_at_once_under_vmap_are_read_one_by_one():
    many = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), WEIGHTS)
    optimizer = pc.watch(optax.sgd(1e-3))
    states = jax.vmap(optimizer.init)(many)
    _, states = jax.vmap(lambda p, s: optimizer.update(jax.grad(loss)(p), s, p))(many, states)
    with pytest.raises(SettingError, match=r"several trainings at once"):
        pc.watched(states)
    rows = [pc.watched(jax.tree.map(lambda a, i=i: a[i], states)).steps[0]["weight"]["rms"] for i in range(2)]
    np.testing.assert_allclose(rows[1], 2 * np.array(rows[0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: pc.watch(0.1), "expected: an optax transformation"),
        (lambda: pc.watch(optax.sgd(0.1), every=0), "whole number >= 1"),
        (lambda: pc.watched(optax.adam(0.1).init(WEIGHTS)), "no watched optimizer"),
        (lambda: pc.watched(pc.watch(optax.sgd(0.1)).init(WEIGHTS), clases=2), "did you mean 'classes'"),
        (lambda: pc.diagnose(3.0), "pc.watched"),
    ],
)
def test_errors(call, text):
    with pytest.raises(SettingError, match=text):
        call()
