"""What a `Context` does around layers: loops, recomputation, running state, and errors that say where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import NetworkError
from pellucid.network.activations import ReLU, Tanh
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout
from pellucid.network.layer import Context, Layer, Leaf, flatten, layer, nest
from pellucid.network.norm import BatchNorm

RNG = np.random.default_rng(0)
W = jnp.asarray(RNG.normal(size=(3, 3)), "float32")
X = jnp.asarray(RNG.normal(size=(5, 2, 3)), "float32")  # [steps, batch, n]


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch):
    monkeypatch.setattr(Layer, "registry", dict(Layer.registry))


def loop(body: Layer, how: str) -> Layer:
    """A recurrent layer: h <- body(h + x_t), by `how`."""

    @layer("test_loop")
    class Loop(Layer):
        def apply(self, p, x, ctx):
            def step(ctx, h, x):
                h = ctx.call("body", body, p, h + x)
                return h, h

            h = jnp.zeros_like(x[0])
            if how == "ctx.scan":
                return ctx.scan(step, h, x)[1]
            return jax.lax.scan(lambda h, x: step(ctx, h, x), h, x)[1]

    return Loop()


def test_scan_equals_the_loop_in_value_and_gradient():
    def scanned(w):
        return Context().run(
            loop(Sequential(Dense(3, bias=False), Tanh()), "ctx.scan"), {"body": {"dense1": {"w": w}}}, X
        )

    def by_hand(w):
        h, out = jnp.zeros((2, 3)), []
        for x in X:
            h = jnp.tanh((h + x) @ w)
            out.append(h)
        return jnp.stack(out)

    np.testing.assert_allclose(scanned(W), by_hand(W), rtol=1e-5)
    slopes = [jax.jit(jax.grad(lambda w, f=f: (f(w) ** 2).sum()))(W) for f in (scanned, by_hand)]
    np.testing.assert_allclose(*slopes, rtol=1e-4)


def test_scan_declares_the_weights_of_its_body():
    declared = {}
    net = loop(Dense(3), "ctx.scan")
    jax.eval_shape(lambda x: Context(declared=declared, leaves=[]).call("cell", net, {}, x), X)
    assert {path: param.shape for path, param in declared.items()} == {"cell/body/w": (3, 3), "cell/body/b": (3,)}


def test_each_step_of_a_scan_has_a_key_of_its_own():
    ctx = Context(train=True, key=jax.random.key(0), state={"rate": jnp.float32(0.5)})

    def step(ctx, h, x):
        return h, ctx.run(Dropout(), {}, x)

    _, ys = ctx.scan(step, 0.0, jnp.ones((4, 1000)))
    assert len({tuple(np.flatnonzero(y)) for y in ys}) == 4


def test_remat_equals_the_plain_pass_and_hands_on_running_state():
    net = Sequential(Dense(3, bias=False), BatchNorm(), Tanh())
    p = {"dense1": {"w": W}, "batch_norm1": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    state = {"batch_norm1": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}

    def forward(p, saving):
        ctx = Context(train=True, state=state)
        y = ctx.remat(lambda ctx, x: ctx.run(net, p, x), X[:, 0]) if saving else ctx.run(net, p, X[:, 0])
        return (y**2).sum(), ctx.updates

    step = jax.jit(jax.value_and_grad(forward, has_aux=True), static_argnums=1)
    plain, saved = step(p, False), step(p, True)
    assert plain[0][1].keys() == saved[0][1].keys() == {"batch_norm1"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, saved)
    assert "remat" in str(jax.make_jaxpr(lambda p: forward(p, True)[0])(p))


def test_keys_follow_the_path_not_the_order():
    half = {"rate": jnp.float32(0.5)}

    def mask(net, name):
        ctx = Context(train=True, key=jax.random.key(0), state={n: half for n, _ in net.layers})
        return np.asarray(ctx.run(net, {}, jnp.ones(64))) if net.layers[-1][0] == name else None

    alone = mask(Sequential(("b", Dropout())), "b")
    after = Context(train=True, key=jax.random.key(0), state={"a": {"rate": jnp.float32(0)}, "b": half})
    np.testing.assert_array_equal(after.run(Sequential(("a", Dropout()), ("b", Dropout())), {}, jnp.ones(64)), alone)


def test_leaves_are_met_in_order_with_their_shapes():
    leaves: list[Leaf] = []
    net = Sequential(Dense(4), ReLU(), Sequential(Dense(2)))
    jax.eval_shape(lambda x: Context(declared={}, leaves=leaves).run(net, {}, x), jnp.ones((7, 3)))
    assert [(leaf.path, leaf.x.shape, leaf.y.shape) for leaf in leaves] == [
        ("dense1", (7, 3), (7, 4)), ("relu1", (7, 4), (7, 4)), ("sequential1/dense1", (7, 4), (7, 2)),
    ]  # fmt: skip


def test_nest_and_flatten_are_inverse():
    flat = {"a/b/w": 1, "a/b/v": 2, "c": 3}
    assert nest(flat) == {"a": {"b": {"w": 1, "v": 2}}, "c": 3}
    assert flatten(nest(flat)) == flat


def batch_norm_in(how):
    ctx = Context(train=True, state={"cell": {"body": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}})
    ctx.call("cell", loop(BatchNorm(), how), {"cell": {"body": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}}, X)


def remat_in_raw_scan():
    ctx = Context(train=True, state={"mean": jnp.zeros(3), "var": jnp.ones(3)})
    p = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    jax.lax.scan(lambda h, x: (h, ctx.remat(lambda ctx, x: ctx.run(BatchNorm(), p, x), x)), 0.0, X)


def wrong_weights():
    net = Sequential(("hidden", Dense(4)), ("relu", ReLU()), ("output", Dense(2)))
    p = {"hidden": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}, "output": {"w": jnp.ones((5, 2)), "b": jnp.ones(2)}}
    Context().run(net, p, jnp.ones((8, 3)))


def foreign_input():
    Context().run(
        Sequential(("hidden", Dense(4))), {"hidden": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}}, jnp.ones((8, 5))
    )


def no_weights():
    Context().run(Sequential(("hidden", Dense(4))), {}, jnp.ones((8, 3)))


def broken_layer():
    @layer("test_broken")
    class Broken(Layer):
        def apply(self, p, x, ctx):
            return x @ jnp.ones((9, 2))

    Context().run(Sequential(("relu", ReLU()), ("broken", Broken())), {}, jnp.ones((8, 3)))


def one_path_twice():
    @layer("test_twice")
    class Twice(Layer):
        def apply(self, p, x, ctx):
            return ctx.call("same", Dense(3), p, ctx.call("same", Dense(4), p, x))

    jax.eval_shape(lambda x: Context(declared={}).run(Twice(), {}, x), jnp.ones((1, 3)))


@pytest.mark.parametrize(
    ("make", "texts"),
    [
        (
            lambda: batch_norm_in("lax.scan"),
            [
                "running state was set inside a raw JAX transformation",
                "where:    cell/body",
                "use ctx.scan or ctx.remat",
            ],
        ),
        (
            lambda: batch_norm_in("ctx.scan"),
            ["running state cannot be set inside ctx.scan", "where:    cell/body/mean", "LayerNorm"],
        ),
        (remat_in_raw_scan, ["running state was set inside a raw JAX transformation"]),
        (
            wrong_weights,
            ["a weight does not fit", "output/w, fed by relu with shape [8, 4]", "shape [4, 2]", "shape [5, 2]"],
        ),
        (foreign_input, ["hidden/w, fed by the input", "expected: shape [5, 4]", "got:      shape [3, 4]"]),
        (no_weights, ["a weight is missing", "where:    hidden/w", "expected: shape [3, 4]", "got:      nothing"]),
        (broken_layer, ["layer 'broken' does not fit", "broken = ", "fed by relu", "got:      shape [8, 3]"]),
        (one_path_twice, ["two layers share one path and differ", "where:    same/w", "give each its own name"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_errors(make, texts):
    with pytest.raises(NetworkError) as error:
        make()
    for text in texts:
        assert text in str(error.value)


def test_jax_tells_of_python_control_flow_itself():
    @layer("test_branching")
    class Branching(Layer):
        def apply(self, p, x, ctx):
            return x if x.sum() > 0 else -x

    with pytest.raises(jax.errors.TracerBoolConversionError, match="traced array"):
        jax.jit(lambda x: Context().run(Branching(), {}, x))(jnp.ones(2))
