"""Every registered optimizer against its closed form in NumPy float64, with decay, clipping and accumulation; numbers
change without compiling anew. A newcomer joins by an entry in RULES."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pellucid.errors import SettingError
from pellucid.spec import register
from pellucid.train.optimizer import Optimizer, RawOptimizer
from pellucid.train.optimizers import (
    SGD,
    Adam,
    AdamW,
    GradientDescent,
    Lion,
    Momentum,
    Muon,
    Nesterov,
    RMSProp,
    orthogonalized,
)

Weights = dict[str, np.ndarray]
START: Weights = {"w": np.linspace(-1, 1, 6).reshape(2, 3), "b": np.linspace(0.5, 1, 3)}


# -- closed forms: (spec, gradient, state, t) -> direction, for one array -------------------------------------------


def plain(o, g, s, t):
    return g


def momentum(o, g, s, t):
    s["v"] = o.momentum * s.get("v", 0) + g
    return s["v"]


def nesterov(o, g, s, t):
    return g + o.momentum * momentum(o, g, s, t)


def rmsprop(o, g, s, t):
    s["s"] = o.decay * s.get("s", 0) + (1 - o.decay) * g**2
    return g / (np.sqrt(s["s"]) + o.eps)


def adagrad(o, g, s, t):
    s["s"] = s.get("s", 0) + g**2
    return np.where(s["s"] > 0, g / np.sqrt(s["s"] + o.eps), 0)


def adam(o, g, s, t):
    s["m"] = o.b1 * s.get("m", 0) + (1 - o.b1) * g
    s["v"] = o.b2 * s.get("v", 0) + (1 - o.b2) * g**2
    return s["m"] / (1 - o.b1**t) / (np.sqrt(s["v"] / (1 - o.b2**t)) + o.eps)


def lion(o, g, s, t):
    m = s.get("m", 0)
    s["m"] = o.b2 * m + (1 - o.b2) * g
    return np.sign(o.b1 * m + (1 - o.b1) * g)


def muon(o, g, s, t):
    if g.ndim != 2:
        return adam(o, g, s, t)
    s["m"] = o.momentum * s.get("m", 0) + (1 - o.momentum) * g
    u, sizes, v = np.linalg.svd(o.momentum * s["m"] + (1 - o.momentum) * g, full_matrices=False)
    sizes = sizes / (np.linalg.norm(sizes) + 1e-7)
    for _ in range(o.steps):  # a polynomial of the matrix that acts on its singular values alone
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    return 0.2 * np.sqrt(max(g.shape)) * (u * sizes) @ v


RULES = {
    "gradient_descent": plain, "sgd": plain, "momentum": momentum, "nesterov": nesterov, "rmsprop": rmsprop,
    "adagrad": adagrad, "adam": adam, "adamw": adam, "lion": lion, "muon": muon,
}  # fmt: skip
DECOUPLED = {"adamw", "lion", "muon"}
each = pytest.mark.parametrize("name", RULES)


def by_hand(o: Optimizer, gradients: list[Weights]) -> Weights:
    """The weights after these gradients, in NumPy float64."""
    rule, w, states = RULES[o.name], dict(START), {key: {} for key in START}
    for t, g in enumerate(gradients, 1):
        if o.clip_value is not None:
            g = {k: np.clip(v, -o.clip_value, o.clip_value) for k, v in g.items()}
        norm = np.sqrt(sum((v**2).sum() for v in g.values()))
        if o.clip_norm is not None and norm > o.clip_norm:
            g = {k: v / norm * o.clip_norm for k, v in g.items()}
        decay = {k: o.weight_decay if v.ndim >= 2 else 0 for k, v in w.items()}
        if o.name not in DECOUPLED:
            g = {k: v + decay[k] * w[k] for k, v in g.items()}
        step = {k: rule(o, v, states[k], t) for k, v in g.items()}
        if o.name in DECOUPLED:
            step = {k: v + decay[k] * w[k] for k, v in step.items()}
        w = {k: w[k] - o.learning_rate * v for k, v in step.items()}
    return w


@partial(jax.jit, static_argnums=0)
def update(structure, numbers, gradient, state, weights):
    updates, state = structure.transform(numbers).update(gradient, state, weights)
    return optax.apply_updates(weights, updates), state


def by_optax(o: Optimizer, gradients: list[Weights]) -> Weights:
    with jax.enable_x64(True):
        w = jax.tree.map(jnp.asarray, START)
        state = o.structure().transform().init(w)
        for g in gradients:
            w, state = update(o.structure(), o.numbers(), g, state, w)
        return jax.tree.map(np.asarray, w)


number = st.floats(-4, 4).map(lambda v: round(v, 3))
gradient = st.fixed_dictionaries({"w": arrays(float, (2, 3), elements=number), "b": arrays(float, 3, elements=number)})
some = st.lists(gradient, min_size=1, max_size=4)


def test_each_registered_optimizer_is_tested_here():
    assert set(RULES) == {name for name, cls in Optimizer.registry.items() if cls.__module__.startswith("pellucid")}


@each
@settings(max_examples=15, deadline=None)
@given(gradients=some, rate=st.floats(0.001, 0.5), decay=st.floats(0, 0.3))
def test_steps_are_the_closed_form(name, gradients, rate, decay):
    o = Optimizer.find(name)(learning_rate=rate, weight_decay=decay)
    want = by_hand(o, gradients)
    for key, got in by_optax(o, gradients).items():
        np.testing.assert_allclose(got, want[key], rtol=1e-7, atol=1e-9)


@each
@settings(max_examples=10, deadline=None)
@given(gradients=some, value=st.floats(0.1, 3), norm=st.floats(0.1, 6))
def test_clipping(name, gradients, value, norm):
    o = Optimizer.find(name)(clip_value=value, clip_norm=norm, learning_rate=0.1)
    want = by_hand(o, gradients)
    for key, got in by_optax(o, gradients).items():
        np.testing.assert_allclose(got, want[key], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "o",
    [Momentum(0.1, 0.5), Nesterov(0.1, 0.5), RMSProp(0.1, 0.5, 1e-3), Adam(0.1, 0.5, 0.6, 1e-3), Lion(0.1, 0.1, 0.3),
     Muon(0.1, 0.5, 0.5, 0.6, 1e-3)],
    ids=lambda o: o.name,
)  # fmt: skip
def test_own_numbers_count(o):
    rng = np.random.default_rng(0)
    gradients = [{k: rng.normal(size=v.shape) for k, v in START.items()} for _ in range(8)]
    want = by_hand(o, gradients)
    assert all(np.allclose(got, want[key], rtol=1e-8) for key, got in by_optax(o, gradients).items())
    usual = by_hand(type(o)(0.1), gradients)
    assert not np.allclose(usual["w"], want["w"], rtol=1e-3)


@each
def test_accumulated_batches_are_one_large_batch(name):
    """Three batches of 4 rows, then three more, against two of 12: gradients of a real loss."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(2, 3, 4, 3))

    gradient = jax.jit(jax.grad(lambda w, x, y: ((x @ w["w"] + w["b"] - y) ** 2).sum(-1).mean()))

    settings = {"learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 1.0}
    with jax.enable_x64(True):
        finals = []
        for accumulate in (1, 3):
            o = Optimizer.find(name)(**settings, accumulate=accumulate)
            w, state = jax.tree.map(jnp.asarray, START), o.transform().init(START)
            for i in range(2):
                for part in range(accumulate):
                    rows = (i, part) if accumulate == 3 else (i, slice(None))
                    g = gradient(w, x[rows].reshape(-1, 2), y[rows].reshape(-1, 3))
                    before = w
                    w, state = update(o.structure(), o.numbers(), g, state, w)
                    if part < accumulate - 1:
                        assert all(np.array_equal(w[k], before[k]) for k in w)
            finals.append(w)
    for key in START:
        np.testing.assert_allclose(finals[0][key], finals[1][key], rtol=1e-9)


@each
def test_numbers_change_without_compiling_anew(name):
    cls, traces = Optimizer.find(name), []

    def step(structure, numbers, weights):
        traces.append(structure)
        tx = structure.transform(numbers)
        return tx.update(weights, tx.init(weights), weights)[0]["w"]

    jitted = jax.jit(step, static_argnums=0)
    specs = [cls(clip_norm=1.0, weight_decay=0.1), cls(0.5, clip_norm=2.0, weight_decay=0.3)]
    weights = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
    results = [jitted(o.structure(), o.numbers(), weights) for o in specs]
    assert len(traces) == 1
    assert len({o.structure() for o in specs}) == 1
    assert len({hash(o.structure()) for o in specs}) == 1
    assert not np.array_equal(results[0], results[1])
    assert cls().structure() != specs[0].structure()  # switching clipping on is another program
    assert cls(accumulate=2).structure() != cls().structure()


@each
def test_json_round_trip_and_defaults(name):
    cls = Optimizer.find(name)
    o = cls(0.25, weight_decay=0.125, clip_norm=2, accumulate=3)
    assert Optimizer.from_json(o.to_json()) == o
    assert Optimizer.of(f"{name}:learning_rate=0.25,weight_decay=0.125,clip_norm=2,accumulate=3") == o
    default = cls()
    assert default.to_json() == {"type": name}
    assert 0 < default.learning_rate <= 0.1
    assert default.default_updates >= 1000
    assert default.weight_decay == (0.01 if name == "adamw" else 0.0)


def test_batches_by_definition():
    assert (GradientDescent.default_batch, SGD.default_batch, Adam.default_batch) == ("all", 1, 32)


@each
def test_state_does_not_depend_on_numbers(name):
    small, large = (Optimizer.find(name)(learning_rate=r, weight_decay=r).transform().init(START) for r in (0.1, 0.9))
    assert jax.tree.all(jax.tree.map(np.array_equal, small, large))


@each
@pytest.mark.parametrize("valley", ["round", "bent"])
def test_goes_downhill(name, valley):
    """A quadratic bowl, and Rosenbrock's bent valley, on a 2 x 2 matrix."""

    def bowl(w):
        return ((w - 1) ** 2 * jnp.array([[1.0, 2.0], [3.0, 4.0]])).sum()

    def rosenbrock(w):
        return ((1 - w[0]) ** 2 + 5 * (w[1] - w[0] ** 2) ** 2).sum()

    f, o = (bowl if valley == "round" else rosenbrock), Optimizer.find(name)
    tx = o(learning_rate=0.01 if name != "adagrad" else 0.3, weight_decay=0.0).transform()

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(f)(w), state, w)
        return (w + updates, state), f(w)

    start = jnp.array([[-0.5, 0.3], [0.6, -0.4]])
    (w, _), values = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), None, length=1500))(start)
    assert values[-1] < 2e-2
    assert values[-1] < 0.01 * values[0]
    np.testing.assert_allclose(w, np.ones((2, 2)), atol=0.15)


def test_decay_leaves_biases_alone():
    tx = AdamW(0.1, weight_decay=0.5).transform()
    weights = {"w": jnp.full((2, 2), 2.0), "b": jnp.full(2, 2.0)}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, weights), tx.init(weights), weights)
    np.testing.assert_allclose(updates["w"], np.full((2, 2), -0.1 * 0.5 * 2.0), rtol=1e-6)
    assert updates["b"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3)])
def test_orthogonalized_comes_near_the_polar_factor(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    u, _, v = np.linalg.svd(x, full_matrices=False)
    got = np.asarray(orthogonalized(jnp.asarray(x), 5))
    sizes = np.linalg.svd(got, compute_uv=False)
    assert sizes.min() > 0.5
    assert sizes.max() < 1.5
    np.testing.assert_allclose(got / np.linalg.norm(got), u @ v / np.linalg.norm(u @ v), atol=0.15)
    assert not np.asarray(orthogonalized(jnp.zeros(shape), 5)).any()


# -- a raw optax transformation, a person's own optimizer, mistakes -------------------------------------------------


def test_raw_optax():
    tx = optax.chain(optax.clip(1.0), optax.sgd(0.1))
    raw = Optimizer.of(tx)
    assert isinstance(raw, RawOptimizer)
    assert raw == Optimizer.of(tx) != Optimizer.of(optax.sgd(0.1))
    assert (hash(raw), raw.structure(), raw.numbers()) == (hash(Optimizer.of(tx)), raw, {})
    assert (raw.learning_rate, raw.reproducible) == (None, False)
    assert raw.transform({"learning_rate": 1e9}) is tx
    with pytest.raises(SettingError, match="cannot be written down"):
        raw.to_json()
    with pytest.raises(SettingError, match="put it into the optax chain itself"):
        RawOptimizer(transformation=tx, clip_norm=1.0)
    with pytest.raises(SettingError, match="GradientTransformation"):
        RawOptimizer(transformation=3)


def test_own_optimizer():
    try:

        @register
        class SignDescent(Optimizer):
            learning_rate: float = 0.5

            def rule(self, n):
                return optax.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))

        tx = Optimizer.of("sign_descent:2,clip_value=3").transform()
        updates, _ = tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)), jnp.zeros(2))
        assert updates.tolist() == [-2.0, 2.0]
    finally:
        Optimizer.registry.pop("sign_descent", None)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Adam(-1.0), r"Adam\(learning_rate=...\)"),
        (lambda: Adam(float("inf")), "a number >= 0"),
        (lambda: Momentum(momentum=1.0), r"a number in \[0, 1\)"),
        (lambda: Adam(clip_norm=0.0), "a number > 0"),
        (lambda: Adam(accumulate=0), "a whole number >= 1"),
        (lambda: Adam(weight_decay=-0.1), "a number >= 0"),
        (lambda: Optimizer.of("adamm"), "did you mean"),
        (lambda: Optimizer.of("adam:beta=3"), "adam"),
        (lambda: Optimizer.of(3), "this is no optimizer"),
    ],
)
def test_mistakes(make, text):
    with pytest.raises(SettingError, match=text):
        make()


def test_decay_asks_for_the_weights():
    tx = GradientDescent(weight_decay=0.1).transform()
    with pytest.raises(ValueError, match="weight decay needs the weights"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
