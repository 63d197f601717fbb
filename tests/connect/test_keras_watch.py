"""The watcher of Keras's `fit`, on the backend that KERAS_BACKEND names (JAX where it names none)."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed (the keras extra)", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

import pellucid as pc
from pellucid.connect.keras import Watch
from pellucid.errors import PellucidWarning, SettingError

SEEN = keras.backend.backend() in ("jax", "torch", "tensorflow")
pytestmark = pytest.mark.skipif(not SEEN, reason="layers are not seen on this backend")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 40).astype(np.int32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp():
    hidden = [keras.layers.Dense(9, activation="relu", name="hidden1"), keras.layers.Dense(7, name="hidden2")]
    return keras.Sequential([keras.Input((6,)), *hidden, keras.layers.ReLU(), keras.layers.Dense(3, name="out")])


def fit(model, w, epochs=3, optimizer=None, batch_size=10, **options):
    model.compile(optimizer or keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    callbacks = [] if w is None else [w]
    return model.fit(X, Y, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=callbacks, **options)


def test_it_measures_what_pellucids_own_loop_measures():
    import jax

    from pellucid.data import Part
    from pellucid.network.architectures import mlp as own_mlp
    from pellucid.train.loop import Loop, Settings
    from pellucid.train.loss import Loss
    from pellucid.train.optimizers import Optimizer
    from pellucid.train.schedules import Schedule

    network = own_mlp((9, 7), activation="relu", outputs=3).initialised(jax.random.key(0), X[:1])
    settings = Settings(
        loss=Loss.of("cross_entropy"), metric=None, optimizer=Optimizer.of("momentum:0.1,0.9"),
        schedule=Schedule.of("constant"), batch_size=40, updates=9,
    )  # fmt: skip
    loop = Loop(network, Part(X, Y, None, np.arange(40)), None, settings)
    model = mlp()
    model.set_weights(
        [np.asarray(network.params[name][w]) for name in ("hidden1", "hidden2", "output") for w in ("w", "b")]
    )
    w = Watch(probe=(X, Y), quiet=True)
    fit(model, w, epochs=9, optimizer=keras.optimizers.SGD(0.1, momentum=0.9), batch_size=40)

    ours = [line for event in loop.run() for line in getattr(event, "measured", []) if line["kind"] == "step"]
    place = [i for i, path in enumerate(loop.program.watched) if path not in ("input", "flatten")]
    paths = [path.rpartition("/")[0] + "/" + path[-1] for path in loop.carry.params]
    order = [paths.index(p) for p in ("hidden1/w", "hidden1/b", "hidden2/w", "hidden2/b", "output/w", "output/b")]
    assert w.record.layers[:3] == ["hidden1", "hidden1/relu", "hidden2"]
    assert w.record.kinds == ["dense", "relu", "dense", "relu", "dense"]
    assert w.record.weights == ["hidden1/w", "hidden1/b", "hidden2/w", "hidden2/b", "out/w", "out/b"]
    assert [line["step"] for line in w.record.steps] == [line["step"] for line in ours] == [0, 1, 2, 4, 8]
    assert w.record.setup["optimizer"] == "momentum"
    for own, other in zip(ours, w.record.steps, strict=True):
        assert other["loss"] == pytest.approx(own["loss"], rel=1e-4)
        for group in ("activation", "gradient"):
            for name in ("rms", "zero", "nonfinite", "mean"):
                picked = np.array(own[group][name])[place]
                np.testing.assert_allclose(other[group][name], picked, rtol=1e-5, atol=1e-7, err_msg=f"{group} {name}")
        for name in ("gradient", "update", "rms"):
            picked = np.array(own["weight"][name])[order]
            np.testing.assert_allclose(other["weight"][name], picked, rtol=2e-5, atol=1e-7, err_msg=name)


class Own(keras.Model):
    """A subclassed model, with what has state of its own: running averages, random numbers, penalties."""

    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2")
        self.norm, self.drop = keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)
        self.out = keras.layers.Dense(3)

    def call(self, x, training=False):
        return self.out(self.drop(self.norm(self.first(x), training=training), training=training))


def recurrent():
    reshaped = [keras.Input((6,)), keras.layers.Reshape((6, 1))]
    return keras.Sequential([*reshaped, keras.layers.LSTM(5, name="lstm"), keras.layers.Dense(3, name="out")])


def shared():
    layer, x = keras.layers.Dense(6, activation="sigmoid", name="twice"), keras.Input((6,))
    frozen = keras.layers.Dense(6, name="frozen", trainable=False)
    return keras.Model(x, keras.layers.Dense(3, name="out")(layer(frozen(layer(x)))))


MODELS = {
    "sequential": (mlp, None),
    "subclassed": (Own, ["dense", "tanh", "batch_norm", "dropout", "dense"]),
    "recurrent": (recurrent, ["", "lstm", "dense"]),
    "shared, frozen": (shared, ["dense", "sigmoid", "dense", "dense"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same_to_the_byte(name):
    make, kinds = MODELS[name]
    found = []
    for watching in (False, True):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = make()
        w = Watch(probe=(X, Y), quiet=True) if watching else None
        history = fit(model, w, optimizer=keras.optimizers.Adam(0.01), validation_data=(X, Y)).history
        found.append((model.get_weights(), history))
    (plain, before), (seen, after) = found
    assert all(np.array_equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert before == after
    assert w.notes == []
    assert kinds is None or w.record.kinds == kinds
    gradients = w.record.series("gradient", "rms")[1]
    assert (
        gradients[:, 1 if name == "recurrent" else 0 :] > 0
    ).all()  # none comes to a layer without weights before it
    assert (w.record.series("weight", "update")[1] > 0).all()
    assert len(w.record.epochs) == 3
    assert set(w.record.epochs[0]["validation"]) == {"loss", "accuracy"}
    assert w.record.epochs[-1]["train"]["loss"] == pytest.approx(after["loss"][-1], rel=1e-4)


def test_units_and_frozen_weights():
    model = mlp()
    model.layers[0].bias.assign(np.array([-100.0] * 3 + [0.0] * 6))
    w = Watch(probe=(X, Y), quiet=True)
    fit(model, w, epochs=1)
    assert w.record.units[0]["dead"][:2] == [0.0, pytest.approx(3 / 9, rel=1e-4)]
    model = shared()
    w = Watch(probe=(X, Y), quiet=True)
    fit(model, w, epochs=1)
    assert [path.rpartition("/")[2] for path in w.record.setup["frozen"]] == ["kernel", "bias"]
    assert all(0 <= share <= 1 for share in [w.record.units[0]["saturated"][1]])


def test_without_a_probe_it_says_what_is_missing(capsys):
    w = Watch()
    fit(mlp(), w, validation_data=(X, Y))
    assert w.record.layers == []
    assert (w.record.series("weight", "update")[1] > 0).all()
    assert "without a probe layers and gradients are not seen" in capsys.readouterr().err


def test_a_fault_of_its_own_is_told_once_and_training_goes_on(monkeypatch):
    keras.utils.set_random_seed(0)
    model, twin = mlp(), mlp()
    twin.set_weights(model.get_weights())
    monkeypatch.setattr(Watch, "_made", lambda *args: 1 / 0)
    with pytest.warns(PellucidWarning, match="training goes on as it is .ZeroDivisionError") as told:
        fit(model, Watch(probe=(X, Y), quiet=True), shuffle=False)
    assert len([t for t in told if issubclass(t.category, PellucidWarning)]) == 1
    fit(twin, None, shuffle=False)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), twin.get_weights(), strict=True))


def test_a_probe_that_does_not_fit_ends_the_watching_alone():
    with pytest.warns(PellucidWarning, match="stopped watching after 0 updates"):
        fit(mlp(), Watch(probe=(X[:, :2], Y), quiet=True))


def test_a_second_fit_goes_on_in_the_same_record(tmp_path):
    from pellucid.signals.record import read_record

    model, w = mlp(), Watch(probe=(X, Y), out=tmp_path, quiet=True)
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    for _ in range(2):
        model.fit(X, Y, epochs=2, batch_size=10, verbose=0, callbacks=[w])
    assert w.updates == 16
    assert [line["step"] for line in w.record.steps] == [0, 1, 2, 4, 8]
    assert [line["step"] for line in w.record.epochs] == [4, 8, 12, 16]
    assert read_record(tmp_path / "record.jsonl") == w.record


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="not known to Keras on PyTorch")
def test_steps_per_execution():
    model, w = mlp(), Watch(probe=(X, Y), quiet=True)
    model.compile(keras.optimizers.SGD(0.1), LOSS, steps_per_execution=2)
    model.fit(X, Y, epochs=2, batch_size=10, verbose=0, callbacks=[w])
    assert w.updates == 8
    assert "steps_per_execution" in w.notes[0]
    assert (w.record.series("weight", "update")[1] > 0).all()


def test_the_record_is_written_and_can_be_diagnosed(tmp_path):
    w = Watch(probe=(X, Y), out=tmp_path, quiet=True, task="classification", classes=3, loss="cross_entropy")
    fit(mlp(), w)
    assert pc.diagnose(tmp_path) == pc.diagnose(w.record) == w.findings()
    assert w.record.setup["trivial_loss"] == pytest.approx(np.log(3))


def test_the_page_shows_a_step_that_is_too_large():
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(page.split("<!-- keras -->\n```python\n")[1].split("```")[0], names)
    record = names["w"].record
    update, size = (record.series("weight", name)[1][:, 0] for name in ("update", "rms"))
    assert np.nanmax(update / size) > 0.5
    assert [f.problem for f in names["findings"]] == ["learning_rate_too_high"]
    exec(page.split("<!-- keras trials -->\n```python\n")[1].split("```")[0], names)
    assert "a learning rate 10 times smaller" in [t.remedy.text for t in names["trials"].helping]


def test_what_is_no_probe():
    with pytest.raises(SettingError, match=r"fix:      probe=\(x\[:256\], y\[:256\]\)"):
        Watch(probe=X)


def test_losses_told_meanwhile_are_those_told_at_once():
    """Keras tells losses from a thread of its own, unless another callback wants each batch's end at once."""

    class AtOnce(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    assert keras.callbacks.CallbackList([Watch(quiet=True)])._async_train
    found = []
    for others in ([], [AtOnce()]):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model, w = mlp(), Watch(probe=(X, Y), quiet=True, every=4)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(X, Y, batch_size=7, epochs=3, verbose=0, callbacks=[w, *others])
        found.append(w.record)
    meanwhile, at_once = found
    assert [line["step"] for line in meanwhile.steps] == [0, 1, 2, 4, 8, 12, 16]
    for kind in ("steps", "chunks", "epochs"):
        assert getattr(meanwhile, kind) == getattr(at_once, kind)
    assert meanwhile.epochs[-1]["step"] == 3 * -(-len(X) // 7)
