"""What single units do over a pass, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import pellucid as pc
from pellucid.data import Part
from pellucid.network.layer import flatten
from pellucid.train.units import Units, participation

rng = np.random.default_rng(0)


def looked(layer, x, kinds):
    network = pc.Network(layer).initialised(jax.random.key(0), x[:1])
    params = {k: v + 0.5 * rng.normal(size=v.shape).astype(np.float32) for k, v in flatten(network.params).items()}
    part = Part(x, np.zeros(len(x), np.int32), None, np.arange(len(x)))
    return params, Units(layer, kinds, part)(params, network.state or {})


def test_dead_and_saturated_shares_are_those_of_numpy():
    x = rng.normal(size=(70, 5)).astype(np.float32) * 3
    layer = pc.Sequential(("a", pc.Dense(6)), ("b", pc.ReLU()), ("c", pc.Dense(8)), ("d", pc.Tanh()))
    params, found = looked(layer, x, {"a": "dense", "b": "relu", "c": "dense", "d": "tanh"})
    seen = x[:64].astype(np.float64)  # whole blocks
    a = seen @ params["a/w"] + params["a/b"]
    b = np.maximum(a, 0)
    d = np.tanh(b @ params["c/w"] + params["c/b"])
    assert found["dead"] == [0.0, float((b == 0).all(0).mean()), 0.0, 0.0]
    assert found["saturated"][:3] == ["nan"] * 3
    assert abs(found["saturated"][3] - (1 - d**2 < 0.01).mean()) < 0.01
    centred = b - b.mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred)
    assert abs(found["rank"][1] - values.sum() ** 2 / (values**2).sum() / 6) < 1e-4


def test_a_unit_that_no_example_wakes_is_dead():
    x = np.abs(rng.normal(size=(40, 2))).astype(np.float32)
    layer = pc.Sequential(("a", pc.Dense(4, initial="ones")), ("b", pc.ReLU()))
    network = pc.Network(layer).initialised(jax.random.key(0), x[:1])
    params = {**flatten(network.params), "a/b": jnp.array([-1e6, 0.0, 0.0, 0.0])}
    part = Part(x, np.zeros(40, np.int32), None, np.arange(40))
    assert Units(layer, {"a": "dense", "b": "relu"}, part)(params, {})["dead"] == [0.0, 0.25]


def test_participation_counts_directions():
    assert float(participation(jnp.ones((5, 3)))) == 0
    v = jnp.asarray(rng.normal(size=(1000, 4)), jnp.float32)
    assert 0.95 < float(participation(v)) <= 1
    assert abs(float(participation(v[:, :1] * jnp.ones((1, 4)) * 1e20)) - 0.25) < 1e-5  # one direction of four
