"""Trials beside Keras's `fit`: copies are trained, what helps is told with numbers, and nothing of yours moves."""

import importlib.util
import os
import random

import numpy as np
import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed (the keras extra)", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from pellucid.connect.keras import Watch
from pellucid.errors import SettingError

SEEN = keras.backend.backend() in ("jax", "torch", "tensorflow")
pytestmark = pytest.mark.skipif(not SEEN, reason="layers are not seen on this backend")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(192, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int32")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BUDGET = {"steps": 12, "seeds": 2, "seconds": 600.0, "batch_size": 16}
L = keras.layers


def mlp(*more):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), L.Dense(8, activation="relu", name="hidden"), *more, L.Dense(2)])


def watched(model, optimizer, epochs=1, loss=LOSS, **options):
    """A watcher of a model that was trained for a while."""
    model.compile(optimizer, loss)
    w = Watch(probe=(X[:32], Y[:32]), quiet=True, classes=2, loss="cross_entropy", task="classification")
    model.fit(X[:128], Y[:128], epochs=epochs, batch_size=16, verbose=0, callbacks=[w], **options)
    return w


def trials_of(model, optimizer, x=X[:128], y=Y[:128], unseen=(X[128:], Y[128:]), **budget):
    return watched(model, optimizer).try_remedies(x, y, validation_data=unseen, **(BUDGET | budget))


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def test_nothing_of_the_users_is_touched_and_training_goes_on_the_same_to_the_byte():
    def train(trying):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = mlp(L.BatchNormalization(), L.Dropout(0.5), L.Dense(4, activation="tanh"), L.Dense(4))
        model.layers[1].trainable = False
        w = watched(model, keras.optimizers.AdamW(1e-2, weight_decay=0.01))
        if trying:
            before = random.getstate(), str(np.random.get_state()), values(model.variables + model.optimizer.variables)
            made = [layer.name for layer in model.layers], model.layers[0].activation
            found = w.try_remedies(X[:128], Y[:128], validation_data=(X[128:], Y[128:]), **BUDGET | {"steps": 3})
            assert len(found) == 8 and all(np.isfinite(t.treated).all() for t in found), str(found)
            assert not found.notes
            after = random.getstate(), str(np.random.get_state()), values(model.variables + model.optimizer.variables)
            assert before[:2] == after[:2]
            assert all(np.array_equal(a, b) for a, b in zip(before[2], after[2], strict=True))
            assert made == ([layer.name for layer in model.layers], model.layers[0].activation)
        history = model.fit(X, Y, epochs=2, batch_size=16, verbose=0).history
        return history, values(model.variables), L.Dense(1).name

    (plain, left, name), (seen, right, other) = train(False), train(True)
    assert plain == seen and name == other
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_the_branch_without_a_change_is_the_loop_done_by_hand():
    model = mlp()
    w = watched(model, keras.optimizers.SGD(0.01, momentum=0.9))  # there is a momentum to take over
    found = w.try_remedies(X[:128], Y[:128], validation_data=(X[128:], Y[128:]), **BUDGET)
    longest = max(found, key=lambda trial: len(trial.treated))  # one that was better with the first seed
    assert longest.before == pytest.approx(model.evaluate(X[128:], Y[128:], verbose=0), rel=1e-6)

    def by_hand(seed, factor=1.0):
        weights, moved = ([w.astype(np.float64) for w in group] for group in (
            values(model.trainable_variables), values(model.optimizer.variables[2:])))  # fmt: skip
        generator = np.random.default_rng(seed)
        rows = np.concatenate([generator.permutation(128) for _ in range(2)])
        for step in range(BUDGET["steps"]):
            own = rows[16 * step : 16 * step + 16]
            slopes = gradients(weights, X[own].astype(np.float64), Y[own])
            moved = [0.9 * m - 0.01 * factor * g for m, g in zip(moved, slopes, strict=True)]
            weights = [a + m for a, m in zip(weights, moved, strict=True)]
        return cross_entropy(forward(weights, X[128:].astype(np.float64))[1], Y[128:])

    for seed in range(len(longest.treated)):
        assert longest.without[seed] == pytest.approx(by_hand(seed), rel=1e-5)
    slower = next(t for t in found if t.remedy.settings == {"learning_rate": 0.001})
    assert slower.treated[0] == pytest.approx(by_hand(0, 0.1), rel=1e-5)


def forward(weights, x):
    w1, b1, w2, b2 = weights
    hidden = np.maximum(x @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def cross_entropy(logits, y):
    shifted = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]))


def gradients(weights, x, y):
    hidden, logits = forward(weights, x)
    e = np.exp(logits - logits.max(1, keepdims=True))
    d = (e / e.sum(1, keepdims=True) - np.eye(2)[y]) / len(x)
    back = d @ weights[2].T * (hidden > 0)
    return [x.T @ back, back.sum(0), hidden.T @ d, d.sum(0)]


def test_a_step_that_is_too_small_is_found_and_stands_in_the_findings():
    w = watched(mlp(), keras.optimizers.SGD(1e-5), epochs=40, validation_data=(X[128:], Y[128:]))
    w.try_remedies(X[:128], Y[:128], validation_data=(X[128:], Y[128:]), **BUDGET | {"steps": 120, "seeds": 3})
    alarm = w.findings()[0]
    assert alarm.problem == "learning_rate_too_low" and alarm.tried == tuple(w.trials)
    helping = {t.remedy.text: t for t in w.trials.helping}
    assert "Adam, rate 0.001" in helping and "the gradient's norm clipped at 1" not in helping
    named = next(r for r in alarm.remedies if "learning_rate" in r.settings)  # the rate that the finding names is tried
    trial = next(t for t in w.trials if t.remedy.settings == named.settings)
    assert trial.helps and max(trial.treated) < min(trial.without) and len(trial.treated) == 3
    assert "updates from the state after 320 updates, beside no change; validation loss, 3 seeds" in w.summary()


def deep():
    x = keras.Input((6,))
    y = L.Dense(16, activation="sigmoid")(x)
    for _ in range(2):
        y = L.Activation("sigmoid")(L.Dense(16)(y))
    return keras.Model(x, L.Dense(1, activation="sigmoid")(y))


def test_what_layers_and_inputs_allow_is_tried_and_raw_inputs_are_found():
    """Sigmoids behind inputs in the thousands; the last sigmoid belongs to the loss and stays."""
    model = deep()
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    w = Watch(quiet=True)
    w.set_model(model)
    found = w.try_remedies(1000 * X[:128] + 5000, Y[:128], **BUDGET | {"steps": 100})
    by = {next(iter(t.remedy.settings)): t for t in found}
    assert set(by) == {"learning_rate", "activation", "norm", "initial", "clip_norm", "optimizer", "standardize"}
    assert all(np.isfinite(t.treated).all() for t in found if "learning_rate" not in t.remedy.settings)
    cure = by["standardize"]
    assert cure.helps and max(cure.treated) < 0.3 < 0.6 < min(cure.without)
    assert found.helping[0] == cure and "training loss" in str(found)
    assert "from the state after 0 updates" in str(found)


def test_each_change_is_made_on_the_copy():
    from pellucid.connect import keras_trials, remedies
    from pellucid.connect.keras_remedies import changes

    model = deep()
    model.compile(keras.optimizers.Adam(1e-2, weight_decay=0.1), "binary_crossentropy")
    train = keras_trials.Source.of(X + 9, Y, None, 16, 3, "x")
    copies = keras_trials.Copies(model, train, train, True, None, 600.0)
    copies.allow(changes(model, train.sample(), []))
    by = {line: copies.start(change, 0) for line, change in copies.changes.items()}
    activations = [
        getattr(layer.activation, "__name__", "")
        for layer in by[remedies.relu("sigmoid").line()].model.layers
        if hasattr(layer, "activation")
    ]
    assert activations == ["relu", "linear", "relu", "linear", "relu", "sigmoid"]
    normed = by[remedies.NORM.line()].model
    assert [type(layer).__name__ for layer in normed.layers[1].layers] == [
        "Dense", "LayerNormalization", "Activation"]  # fmt: skip
    assert type(normed.layers[-1]).__name__ == "Dense"
    drawn = values(by[remedies.initial(True).line()].model.trainable_variables)
    assert all(np.abs(w).max() <= np.sqrt(6 / sum(w.shape)) for w in drawn[::2])
    assert not any(b.any() for b in drawn[1::2])
    assert (
        by[remedies.CLIP.line()].optimizer.global_clipnorm == 1.0
        and not by[remedies.NO_DECAY.line()].optimizer.weight_decay
    )
    assert type(by[remedies.MOMENTUM.line()].optimizer).__name__ == "SGD"
    assert by[remedies.rate(0.01, 10.0).line()].optimizer.learning_rate.numpy() == pytest.approx(0.1)
    x, *_ = by[remedies.STANDARDIZE.line()].prepare((X + 9, None, None))
    np.testing.assert_allclose([x.mean(0), x.std(0)], [np.zeros(6), np.ones(6)], atol=1e-3)
    assert values(model.variables)[0].tolist() == values(by[remedies.CLIP.line()].model.variables)[0].tolist()


def images():
    return keras.Sequential(
        [keras.Input((8, 8, 1)), L.Rescaling(1.0), L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(),
         L.Conv2D(4, 3), L.ReLU(), L.Flatten(), L.Dense(6, activation="relu"), L.Dense(2)]
    )  # fmt: skip


class Own(keras.Model):
    """A subclassed model: it tells its own arguments."""

    def __init__(self, width=8):
        super().__init__()
        self.hidden, self.drop, self.out = L.Dense(width, activation="tanh"), L.Dropout(0.3), L.Dense(2)

    def call(self, x, training=False):
        return self.out(self.drop(self.hidden(x), training=training))


def frozen():
    model = Own()
    model(X[:2])
    model.hidden.trainable = False
    return model


def nested():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(8, activation="relu"), L.Dense(8, activation="relu")])
    x = keras.Input((6,))
    return keras.Model(x, L.Dense(2)(inner(x)))


PIXELS = RNG.integers(0, 256, (64, 8, 8, 1)).astype("uint8")
MODELS = {
    "images of bytes": (images, PIXELS, {"learning_rate", "activation", "norm", "initial", "clip_norm", "optimizer",
                                         "standardize"}),
    "subclassed": (Own, X[:64], {"learning_rate", "activation", "initial", "clip_norm", "optimizer"}),
    "subclassed, frozen": (frozen, X[:64], {"learning_rate", "activation", "initial", "clip_norm", "optimizer"}),
    "nested": (nested, X[:64], {"learning_rate", "activation", "norm", "initial", "clip_norm", "optimizer"}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_of_all_kinds_can_be_tried(name):
    make, x, expected = MODELS[name]
    model = make()
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    model.compile(keras.optimizers.SGD(schedule), LOSS)
    model.fit(x, Y[:64], verbose=0)
    w = Watch(quiet=True)
    w.set_model(model)
    found = w.try_remedies([(x[:32], Y[:32]), (x[32:], Y[32:64])], **BUDGET | {"steps": 4, "seeds": 1})  # batches
    assert {next(iter(t.remedy.settings)) for t in found} == expected, str(found)
    assert found.notes == [] and np.isfinite([t.treated[0] for t in found]).all()


def test_weights_that_are_not_finite_begin_anew_and_frozen_ones_are_kept():
    model = mlp(L.Dense(5, trainable=False, name="frozen"))
    model.layers[0].kernel.assign(np.full((6, 8), np.nan))
    frozen = values(model.layers[1].weights)
    found = trials_of(model, keras.optimizers.SGD(0.1), y=Y[:128].tolist())
    assert found.notes[0] == "the weights are not finite: all branches begin anew"
    assert found.begun == "weights drawn anew" and np.isfinite(found[0].without).all()
    assert all(np.array_equal(a, b) for a, b in zip(frozen, values(model.layers[1].weights), strict=True))


class Mute(keras.Model):
    """A model that cannot be made again: its argument is a layer, and it tells none."""

    def __init__(self, parts):
        super().__init__()
        self.parts = [L.Dense(2) for _ in range(parts.pop())]

    def call(self, x):
        return self.parts[0](x)

    def get_config(self):
        raise NotImplementedError("no config")


def test_what_cannot_be_tried_is_told():
    with pytest.raises(SettingError, match=r"there is no model yet[\s\S]*w.set_model\(model\)"):
        Watch(quiet=True).try_remedies(X, Y)
    model = Mute([1])
    w = watched(model, "sgd")
    with pytest.raises(SettingError, match=r"cannot be copied[\s\S]*Mute[\s\S]*give its class get_config"):
        w.try_remedies(X, Y, **BUDGET)
    w = watched(mlp(), "sgd")
    with pytest.raises(SettingError, match=r"this training cannot be tried[\s\S]*as model.fit takes them"):
        w.try_remedies(X[:, :3], Y, **BUDGET)
    with pytest.raises(SettingError, match=r"lengths \[10, 192\]"):
        w.try_remedies(X, Y[:10], **BUDGET)
    with pytest.raises(SettingError, match="there are no batches"):
        w.try_remedies(iter([]), **BUDGET)
    with pytest.raises(SettingError, match="batch_size"):
        w.try_remedies(X, Y, **BUDGET | {"batch_size": 0})
    with pytest.raises(SettingError, match="these are no batches"):
        w.try_remedies(7, **BUDGET)
    other = mlp()
    w = Watch(quiet=True)
    w.set_model(other)
    with pytest.raises(SettingError, match="the model is not compiled"):
        w.try_remedies(X, Y)
