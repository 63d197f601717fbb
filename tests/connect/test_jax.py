"""Foreign modules inside Pellucid: their outputs are their own, and they are trained, saved and loaded."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pellucid as pc
from pellucid.connect.jax import from_equinox, from_flax, from_function, load
from pellucid.errors import NetworkError
from pellucid.network.layer import flatten
from pellucid.signals.record import read_record

QUICK = {"epochs": 8, "learning_rate": 0.02, "baselines": False}
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
IRIS = pc.load("iris").x


def equinox_mlp(dropout=0.0):
    eqx = pytest.importorskip("equinox")
    first, second = jax.random.split(jax.random.key(1))
    parts = [eqx.nn.Linear(4, 8, key=first), eqx.nn.Lambda(jax.nn.tanh), eqx.nn.Dropout(dropout)]
    return eqx.nn.Sequential([*parts, eqx.nn.Linear(8, 3, key=second)])


def nnx_net():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden, self.output = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
            self.norm, self.dropout = nnx.BatchNorm(8, momentum=0.9, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
            self.blocks = nnx.List([nnx.Linear(8, 8, rngs=rngs)])

        def __call__(self, x):
            return self.output(self.dropout(self.blocks[0](self.norm(self.hidden(x)))))

    return Net(nnx.Rngs(0))


def linen_net():
    linen = pytest.importorskip("flax.linen")

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train: bool):
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Dense(8)(x))
            return linen.Dense(3)(linen.Dropout(0.5, deterministic=not train)(x))

    return Net()


def line(params, x, train=False, key=None):
    """A pure function with a constant, a list, and noise while it is trained."""
    first, second = params["layers"]
    x = jnp.tanh(x @ first["w"] * params["gain"])
    if train and key is not None:
        x = x + 0.1 * jax.random.normal(key, x.shape)
    return x @ second


PARAMS = {
    "layers": [{"w": np.full((4, 5), 0.1, np.float32)}, jnp.linspace(-1, 1, 15).reshape(5, 3)],
    "gain": 2.0,
    "table": jnp.arange(3),
}


def made(kind):
    if kind == "function":
        return from_function(line, PARAMS)
    if kind == "equinox":
        return from_equinox(equinox_mlp(dropout=0.5))
    return from_flax(nnx_net()) if kind == "nnx" else from_flax(linen_net(), jnp.ones((1, 4)))


KINDS = ("function", "equinox", "nnx", "linen")


# -- what goes in comes out --------------------------------------------------------------------------------------


def test_a_function():
    net = from_function(line, PARAMS)
    assert list(flatten(net.params)) == ["line/layers/0/w", "line/layers/1"]
    assert net.state["line"]["table"].tolist() == [0, 1, 2]  # no gradient moves whole numbers
    wanted = np.tanh(X @ np.full((4, 5), 0.1) * 2) @ np.linspace(-1, 1, 15).reshape(5, 3)
    np.testing.assert_allclose(net(X), wanted, rtol=1e-5, atol=1e-6)
    params, state = net.params, net.state
    noisy, _ = net.apply(params, state, X, train=True, key=jax.random.key(0))
    assert np.abs(noisy - wanted).max() > 1e-3
    alone = from_function(lambda w, x: x @ w, jnp.ones((4, 2)), name="sum", standardize=False)
    assert list(flatten(alone.params)) == ["sum/value"]
    np.testing.assert_allclose(alone(X), np.repeat(X.sum(1, keepdims=True), 2, axis=1), rtol=1e-5, atol=1e-6)


def test_an_equinox_module_and_its_gradient():
    eqx = pytest.importorskip("equinox")
    module = equinox_mlp()
    net = from_equinox(module)
    assert sorted(flatten(net.params)) == [
        f"sequential/layers/{i}/{kind}" for i in (0, 3) for kind in ("bias", "weight")
    ]
    np.testing.assert_allclose(net(X), jax.vmap(module)(X), rtol=1e-5)
    ours = jax.grad(lambda p: jnp.square(net.apply(p, net.state, X)[0]).sum())(net.params)
    theirs = eqx.filter_grad(lambda m: jnp.square(jax.vmap(m)(X)).sum())(module)
    np.testing.assert_allclose(ours["sequential"]["layers"]["0"]["weight"], theirs.layers[0].weight, rtol=1e-4)


def test_equinox_dropout_is_on_while_training_only():
    net = from_equinox(equinox_mlp(dropout=0.5))
    one, _ = net.apply(net.params, net.state, X, train=True, key=jax.random.key(0))
    other, _ = net.apply(net.params, net.state, X, train=True, key=jax.random.key(1))
    assert (np.asarray(one) != np.asarray(other)).any()
    twice = np.concatenate([X[:1], X[:1]])
    a, b = net.apply(net.params, net.state, twice, train=True, key=jax.random.key(2))[0]
    assert (np.asarray(a) != np.asarray(b)).any()  # each example has a key of its own
    assert (np.asarray(net(X)) == np.asarray(net(X))).all()


def test_an_nnx_module_and_its_running_state():
    module = nnx_net()
    net = from_flax(module)
    assert "net/blocks/0/kernel" in flatten(net.params)
    assert sorted(net.state["net"]["norm"]) == ["mean", "var"]
    module.eval()
    np.testing.assert_allclose(net(X), module(X), rtol=1e-5)
    _, state = net.apply(net.params, net.state, X, train=True, key=jax.random.key(0))
    hidden = X @ np.asarray(net.params["net"]["hidden"]["kernel"])
    np.testing.assert_allclose(state["net"]["norm"]["mean"], 0.1 * hidden.mean(0), rtol=1e-3, atol=1e-6)
    assert (np.asarray(net.state["net"]["norm"]["mean"]) == 0).all()  # the one before is not touched
    one, other = (net.apply(net.params, net.state, X, train=True, key=jax.random.key(i))[0] for i in (0, 1))
    assert (np.asarray(one) != np.asarray(other)).any()


def test_a_linen_module_and_its_running_state():
    module = linen_net()
    variables = module.init(jax.random.key(3), jnp.ones((1, 4)), train=False)
    net = from_flax(module, variables=variables)
    assert "net/Dense_0/kernel" in flatten(net.params)
    np.testing.assert_allclose(net(X), module.apply(variables, X, train=False), rtol=1e-5)
    _, state = net.apply(net.params, net.state, X, train=True, key=jax.random.key(0))
    hidden = X @ np.asarray(variables["params"]["Dense_0"]["kernel"])
    found = state["net"]["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(found, 0.1 * hidden.mean(0), rtol=1e-3, atol=1e-6)
    same = from_flax(module, jax.ShapeDtypeStruct((1, 4), jnp.float32), key=jax.random.key(3))
    np.testing.assert_array_equal(same(X), net(X))


# -- inside a fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_fit_save_and_load(kind, tmp_path):
    net = made(kind)
    run = pc.fit(net, "iris", out=tmp_path, **QUICK)
    assert run.result["train"]["loss"] < 0.9  # ln 3 = 1.1 is where nothing is known
    assert run.recipe.reproducible is False
    written = json.loads((run.path / "network.json").read_text())["network"]
    assert written["layers"][1][1]["type"] == "foreign"
    record = read_record(run.path / "record.jsonl")
    assert any(path.endswith(("w", "weight", "kernel")) for path in record.weights)
    assert len(record.steps) > 3
    with pytest.raises(NetworkError, match=r"(?s)whose code no file of Pellucid's can hold.*pc.connect.jax.load\(path"):
        pc.Network.load(run.path)
    again = load(run.path, made(kind))
    np.testing.assert_array_equal(again.predict(IRIS), run.network.predict(IRIS))
    np.testing.assert_array_equal(again.probabilities(IRIS), run.network.probabilities(IRIS))


@pytest.mark.parametrize("module", [equinox_mlp, nnx_net])
def test_load_takes_the_module_itself(module, tmp_path):
    bring = from_equinox if module is equinox_mlp else from_flax
    run = pc.fit(bring(module()), "iris", out=tmp_path, **{**QUICK, "epochs": 1})
    np.testing.assert_array_equal(load(run.path, module()).predict(IRIS), run.network.predict(IRIS))


def test_the_data_standardise_what_goes_in_unless_told_not_to():
    run = pc.fit(made("function"), "iris", out=None, **QUICK)
    np.testing.assert_allclose(run.network.state["input"]["mean"], run.prepared.features.mean, rtol=1e-5)
    raw = pc.fit(made("function"), "iris", out=None, standardize=False, **QUICK)
    assert (np.asarray(raw.network.state["input"]["mean"]) == 0).all()
    assert (np.asarray(raw.network.state["input"]["scale"]) == 1).all()
    bare = pc.fit(from_function(line, PARAMS, standardize=False), "iris", out=None, **QUICK)
    assert "input" not in bare.network.state


def test_a_network_goes_on_from_where_it_was():
    """Weights that are given are where training begins; what it has learned of the data stays with it."""
    first = pc.fit(made("function"), "iris", out=None, **QUICK).network
    again = pc.fit(first, "iris", out=None, freeze=["line/layers/0"], **QUICK).network
    np.testing.assert_array_equal(again.params["line"]["layers"]["0"]["w"], first.params["line"]["layers"]["0"]["w"])
    assert (np.asarray(again.params["line"]["layers"]["1"]) != np.asarray(first.params["line"]["layers"]["1"])).any()
    np.testing.assert_array_equal(again.state["input"]["mean"], first.state["input"]["mean"])


def test_an_interrupted_run_is_resumed_with_the_module(tmp_path):
    class Stop(pc.Callback):
        def epoch_ended(self, event):
            return "stop" if event.epoch == 3 else None

    whole = pc.fit(made("function"), "iris", out=tmp_path / "whole", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        pc.fit(made("function"), "iris", out=tmp_path / "part", callbacks=[Stop()], **QUICK)
    (path,) = (tmp_path / "part").iterdir()
    with pytest.raises(NetworkError, match=r'pc.resume\(path, live=\{"network"'):
        pc.resume(path)
    run = pc.resume(path, live={"network": made("function")})
    assert (path / "weights.safetensors").read_bytes() == (whole.path / "weights.safetensors").read_bytes()
    assert run.result["epochs"] == 8


def test_a_module_among_pellucids_own_layers():
    net = from_function(line, PARAMS, name="middle", standardize=False)
    both = pc.Network(pc.Sequential(*net.layer.layers, ("bend", pc.Tanh())), net.params, net.state)
    np.testing.assert_allclose(both(X), np.tanh(net(X)), rtol=1e-5)
    assert "middle" in both.summary(X)
    assert repr(net.layer.layers[0][1]) == "Foreign(a function: line)"


# -- errors ------------------------------------------------------------------------------------------------------


def test_fresh_weights_cannot_be_drawn():
    with pytest.raises(NetworkError, match=r"(?s)brings its own weights.*make the module anew, with another key"):
        made("function").init(jax.random.key(0), X)


def test_an_equinox_module_with_state_is_refused():
    eqx = pytest.importorskip("equinox")
    module = eqx.nn.Sequential([eqx.nn.Linear(4, 3, key=jax.random.key(0)), eqx.nn.BatchNorm(3, "batch", mode="ema")])
    with pytest.raises(NetworkError, match=r"(?s)with state cannot be brought in.*BatchNorm.*LayerNorm.*from_function"):
        from_equinox(module)


def test_what_is_no_module_is_refused(tmp_path):
    pytest.importorskip("equinox")
    linen = pytest.importorskip("flax.linen")
    with pytest.raises(NetworkError, match=r"(?s)cannot be called.*module\(x\)"):
        from_equinox({"w": 1})
    with pytest.raises(NetworkError, match=r"(?s)no Flax module.*nnx.Module or a linen.Module.*function"):
        from_flax(line)
    with pytest.raises(NetworkError, match=r"(?s)no weights of its own.*from_flax\(module, x\)"):
        from_flax(linen.Dense(3))
    with pytest.raises(NetworkError, match=r"(?s)cannot be loaded into.*Equinox or Flax module.*function"):
        load(tmp_path, line)


def test_a_random_key_is_no_weight():
    with pytest.raises(NetworkError, match=r"(?s)a random key cannot be a weight.*line/key.*argument `key`"):
        from_function(line, {**PARAMS, "key": jax.random.key(0)})


def test_other_weights_than_the_files_are_told(tmp_path):
    run = pc.fit(made("function"), "iris", out=tmp_path, **{**QUICK, "epochs": 1})
    with pytest.raises(NetworkError, match=r"(?s)belong to another network.*line/layers/0/w"):
        load(run.path, from_function(line, PARAMS, name="other"))
    wider = {**PARAMS, "layers": [{"w": jnp.ones((4, 7))}, jnp.ones((7, 3))]}
    with pytest.raises(NetworkError, match=r"(?s)a weight has the wrong shape.*\[4, 7\].*\[4, 5\]"):
        load(run.path, from_function(line, wider))


def test_shapes_that_do_not_meet_are_told_before_anything_compiles():
    with pytest.raises(NetworkError, match=r"(?s)layer 'line' does not fit what arrives.*Foreign\(a function: line\)"):
        pc.fit(made("function"), "wine", out=None, **QUICK)
