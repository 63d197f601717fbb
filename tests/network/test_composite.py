import copy
import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import pytest

from pellucid.errors import NetworkError, SettingError
from pellucid.network.activations import Identity, ReLU, Tanh
from pellucid.network.composite import Parallel, Residual, Sequential, replace_layers, walk
from pellucid.network.dense import Dense, Dropout
from pellucid.network.layer import Context, Layer

NESTED = Sequential(
    Dense(4),
    ("block", Residual(Sequential(Dense(4), ReLU()), shortcut=Dense(4))),
    Parallel(Identity(), ("wide", Dense(2)), combine="concatenate"),
)


def names(layer):
    return [name for name, _ in layer.layers]


def test_layers_without_names_are_called_by_kind_and_number():
    layer = Sequential(Dense(3), ReLU(), Dense(2), ("head", Dense(1)), ReLU(), Residual(ReLU()))
    assert names(layer) == ["dense1", "relu1", "dense2", "head", "relu2", "residual1"]
    assert names(Sequential(("relu1", ReLU()), ReLU())) == ["relu1", "relu2"]  # a taken name is passed over
    assert names(Sequential(ReLU(), ("relu1", ReLU()))) == ["relu2", "relu1"]


def test_parts_may_be_layers_classes_names_or_json():
    layer = Sequential(ReLU, "tanh", "dense:3", {"type": "dropout", "rate": 0.1}, ("end", "relu"))
    assert layer == Sequential(ReLU(), Tanh(), Dense(3), Dropout(0.1), ("end", ReLU()))


@pytest.mark.parametrize(
    "layer", [Sequential(), NESTED, Parallel("relu", combine="mean")], ids=["empty", "nested", "parallel"]
)
def test_survives_json_replace_copy_and_its_own_repr(layer):
    assert Layer.from_json(json.loads(json.dumps(layer.to_json()))) == layer
    assert dataclasses.replace(layer) == layer
    assert pickle.loads(pickle.dumps(layer)) == copy.deepcopy(layer) == layer
    import pellucid.network.initial as initial

    scope = {**vars(initial), **{c.__name__: c for c in (Sequential, Residual, Parallel, Dense, ReLU, Identity)}}
    assert eval(repr(layer), scope) == layer
    assert hash(eval(repr(layer), scope)) == hash(layer)


def test_replace_and_make_set_the_fields():
    assert dataclasses.replace(NESTED, layers=[ReLU(), ("b", Tanh())]) == Sequential(ReLU(), ("b", Tanh()))
    assert Sequential.make({"layers": [["a", {"type": "relu"}]]}) == Sequential(("a", ReLU()))
    assert dataclasses.replace(Parallel(ReLU()), combine="add") == Parallel(ReLU(), combine="add")


def test_walk_gives_the_paths_of_the_weights():
    declared = {}
    jax.eval_shape(lambda x: Context(declared=declared).run(NESTED, {}, x), jnp.ones((1, 3)))
    owners = {path.rpartition("/")[0] for path in declared}
    assert owners == {path for path, part in walk(NESTED) if isinstance(part, Dense)}
    assert [path for path, _ in walk(NESTED)] == [
        "", "dense1", "block", "block/body", "block/body/dense1", "block/body/relu1", "block/shortcut",
        "parallel1", "parallel1/identity1", "parallel1/wide",
    ]  # fmt: skip


def test_replace_layers_goes_everywhere_and_keeps_the_rest():
    wider = replace_layers(NESTED, lambda part: Dense(part.width * 2) if isinstance(part, Dense) else part)
    assert [part.width for _, part in walk(wider) if isinstance(part, Dense)] == [8, 8, 8, 4]
    assert [path for path, _ in walk(wider)] == [path for path, _ in walk(NESTED)]
    assert replace_layers(NESTED, lambda part: part) is NESTED


def run(layer, *shape):
    x = jnp.ones(shape)
    return jax.eval_shape(lambda x: Context(declared={}).call("net", layer, {}, x), x)


@pytest.mark.parametrize(
    ("make", "kind", "texts"),
    [
        (
            lambda: Sequential(("a", ReLU()), ("a", Tanh())),
            SettingError,
            ["two parts are both named 'a'", "where:    Sequential", "give each a name of its own"],
        ),
        (lambda: Parallel(("a", ReLU()), ("a", Tanh())), SettingError, ["two parts are both named 'a'", "Parallel"]),
        (lambda: Sequential(("a/b", ReLU())), SettingError, ["expected: a text without '/'", "got:      a/b"]),
        (
            lambda: Sequential([ReLU(), Tanh()]),
            SettingError,
            ["a list stands where a layer belongs", "Sequential(*layers)"],
        ),
        (lambda: Sequential(3), SettingError, ["this is no layer", "got:      3 (int)"]),
        (lambda: Sequential("rleu"), SettingError, ["there is no layer 'rleu'", "did you mean 'relu'?"]),
        (lambda: Parallel(), SettingError, ["Parallel(branches=...)", "expected: at least one branch"]),
        (
            lambda: Parallel(ReLU(), combine="sum"),
            SettingError,
            ["Parallel.combine", "'sum'", "concatenate, add, mean"],
        ),
        (
            lambda: run(Residual(Dense(3)), 2, 4),
            NetworkError,
            ["where:    net", "shape [2, 4], as the shortcut", "shape [2, 3] from the body", "shortcut=Dense(width)"],
        ),
        (
            lambda: run(Parallel(Dense(3), ("b", Dense(1)), combine="add"), 2, 4),
            NetworkError,
            ["the branches 'dense1' and 'b' differ", "expected: shape [2, 3]", "got:      shape [2, 1]"],
        ),
        (
            lambda: run(Parallel(Dense(3), "flatten"), 2, 4, 4),
            NetworkError,
            ["expected: shape [2, 4, 3] but for the last axis", "got:      shape [2, 16]"],
        ),
    ],
)
def test_errors(make, kind, texts):
    with pytest.raises(kind) as error:
        make()
    for text in texts:
        assert text in str(error.value)
