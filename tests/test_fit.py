"""From data to a result: what a run writes, what its settings do, what it refuses."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

from pellucid.data import Dataset, load
from pellucid.errors import DataError, Diverged, NetworkError, RunError, SettingError
from pellucid.fit import fit, run_recipe, runs
from pellucid.network.activations import ReLU
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Input, Output
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.recipe import make, read
from pellucid.session import Callback
from pellucid.several import fit_folds
from pellucid.signals.record import read_record
from pellucid.train import step
from pellucid.train.optimizers import Adam
from pellucid.verify import verify

QUICK = {"epochs": 3, "baselines": False}


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    return fit("mlp:8,6", "iris", out=tmp_path_factory.mktemp("runs"), epochs=12)


def test_a_run_folder_holds_what_the_format_promises(iris):
    names = {path.name for path in iris.path.iterdir()}
    files = "recipe.toml network.json weights.safetensors checkpoint record.jsonl clock.jsonl findings.json result.json"
    assert set(files.split()) <= names
    assert "lock" not in names
    result = json.loads((iris.path / "result.json").read_text())
    keys = "task metric train validation test best_epoch epochs steps seconds compile_seconds examples_per_second"
    assert set(keys.split()) <= set(result)
    assert {"parameters", "peak_memory_bytes", "seed", "baselines", "findings", "run"} <= set(result)
    assert (result["task"], result["metric"]) == ("classification", "accuracy")
    assert result["steps"] == 12 * 4
    assert result["parameters"] == 4 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3
    assert [b["name"] for b in result["baselines"]] == ["majority", "linear", "boosted trees"]
    assert result["rows"] == {"train": 104, "validation": 23, "test": 23}


def test_the_scores_are_those_of_the_saved_network_by_hand(iris):
    data = load("iris")
    network = Network.load(iris.path)
    part = iris.prepared.test
    predicted = network.predict(data.x[part.rows])
    truth = np.asarray(data.y)[part.rows]
    assert iris.result["test"]["accuracy"] == pytest.approx(float((predicted == truth).mean()))
    p = network.probabilities(data.x[part.rows])
    index = np.array([network.targets.classes.index(label) for label in truth])
    assert iris.result["test"]["loss"] == pytest.approx(float(-np.log(p[np.arange(len(p)), index]).mean()), rel=1e-5)


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss_and_its_weights_are_kept(iris):
    losses = [line["validation"]["loss"] for line in iris.history]
    assert iris.result["best_epoch"] == int(np.argmin(losses)) + 1
    assert iris.result["validation"]["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_the_record_holds_every_layer_and_weight(iris):
    record = read_record(iris.path / "record.jsonl")
    assert record.layers == ["input", "flatten", "hidden1", "relu1", "hidden2", "relu2", "output"]
    assert record.weights == ["hidden1/b", "hidden1/w", "hidden2/b", "hidden2/w", "output/b", "output/w"]
    assert [line["step"] for line in record.steps] == [0, 1, 2, 4, 8, 16, 32]
    assert [line["epoch"] for line in record.epochs] == list(range(1, 13))
    _, rms = record.series("gradient", "rms")
    assert rms.shape == (7, 7)
    assert (rms > 0).all()


def test_recorded_signals_are_those_of_the_step_by_hand():
    """Step 0 of a full-batch run, against jax.grad on the same weights."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    lines = []

    class Keep(Callback):
        def started(self, session):
            self.params, self.state = session.network.params, session.network.state
            self.part, self.network = session.prepared.train, session.network

        def chunk_ended(self, event):
            lines.extend(event.measured)

    keep = Keep()
    settings = {"steps": 1, "batch_size": "all", "optimizer": "sgd:0.1", "schedule": "constant", "baselines": False}
    fit("mlp:4", Dataset(x, y), out=None, callbacks=[keep], **settings)

    def loss(params):
        out, _ = keep.network.apply(params, keep.state, keep.part.x)
        return jnp.square(out - keep.part.y).mean()

    value, grads = jax.value_and_grad(loss)(keep.params)
    line = next(line for line in lines if line["kind"] == "step")
    assert line["loss"] == pytest.approx(float(value), rel=1e-4)
    flat = flatten(grads)
    for found, (path, gradient) in zip(line["weight"]["gradient"], flat.items(), strict=True):
        assert found == pytest.approx(float(jnp.sqrt(jnp.square(gradient).mean())), rel=1e-4), path
    for found, gradient in zip(line["weight"]["update"], flat.values(), strict=True):
        assert found == pytest.approx(0.1 * float(jnp.sqrt(jnp.square(gradient).mean())), rel=1e-4)


def test_equal_settings_write_equal_bytes_and_another_seed_does_not(tmp_path):
    a, b, c = (fit("mlp:5,dropout=0.1", "iris", out=tmp_path, seed=seed, **QUICK) for seed in (3, 3, 4))
    for name in ("weights.safetensors", "record.jsonl"):
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes()
        assert (a.path / name).read_bytes() != (c.path / name).read_bytes()


def test_signals_change_no_weight():
    with_, without = (fit("mlp:5", "iris", out=None, signals=signals, **QUICK) for signals in (True, False))
    for a, b in zip(jax.tree.leaves(with_.network.params), jax.tree.leaves(without.network.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fit_compiles_its_chunk_once_and_equal_structures_share_it():
    step.run_chunk.clear_cache()
    fit("mlp:7", "iris", out=None, optimizer="adam:0.01", **QUICK)
    assert step.run_chunk._cache_size() == 1
    fit("mlp:7", "iris", out=None, optimizer="adam:0.002,b1=0.8", epochs=5, baselines=False)  # other numbers only
    assert step.run_chunk._cache_size() == 1


def test_plain_is_the_textbook_run():
    run = fit("mlp:4", "iris", out=None, plain=True, **QUICK)
    assert run.recipe.train.optimizer["type"] == "adam"
    assert run.recipe.train.schedule["type"] == "constant"
    assert run.recipe.train.patience is None
    assert run.result["best_epoch"] == run.result["epochs"] == 3


def test_gradient_descent_takes_the_whole_set_and_has_a_budget_of_its_own():
    run = fit("mlp:8", "xor", out=None, optimizer="gradient_descent", baselines=False, split=(1, 0, 0))
    assert run.recipe.train.batch_size == len(run.prepared.train)
    assert run.result["steps"] == run.result["epochs"] > 500
    assert run.result["train"]["accuracy"] == 1.0


def test_single_example_sgd_takes_one_example():
    run = fit("mlp:4", "iris", out=None, optimizer="sgd", **QUICK)
    assert run.recipe.train.batch_size == 1
    assert run.result["steps"] == 3 * 104


def test_the_rosenblatt_rule_separates_what_a_line_separates_and_fails_at_xor():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 2))
    x = x[np.abs(x.sum(1)) > 0.3]  # a gap, so that a separating line is soon found
    lines = fit(
        "perceptron:rule=rosenblatt", Dataset(x, (x.sum(1) > 0).astype(int)), out=None, epochs=60, baselines=False
    )
    assert lines.result["train"]["accuracy"] == 1.0
    corners = np.tile([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], (25, 1))
    xor = Dataset(corners, np.tile([0, 1, 1, 0], 25))
    failed = fit("perceptron:rule=rosenblatt", xor, out=None, epochs=60, baselines=False, patience=60, split=(1, 0, 0))
    assert failed.result["train"]["accuracy"] <= 0.75  # no line does better
    solved = fit("mlp:8", xor, out=None, baselines=False, split=(1, 0, 0))
    assert solved.result["train"]["accuracy"] == 1.0


def test_frozen_weights_stay_and_groups_have_their_own_rate():
    start = {}

    class Keep(Callback):
        def started(self, session):
            start.update({k: np.array(v) for k, v in flatten(session.network.params).items()})

    run = fit("mlp:6,5", "iris", out=None, freeze=["hidden1"], rates={"hidden2": 0.0}, callbacks=[Keep()], **QUICK)
    moved = {path: not np.array_equal(start[path], value) for path, value in flatten(run.network.params).items()}
    assert moved == {"hidden1/b": False, "hidden1/w": False, "hidden2/b": False, "hidden2/w": False,
                     "output/b": True, "output/w": True}  # fmt: skip
    with pytest.raises(SettingError, match="(?s)no weights under 'hiden1'.*did you mean 'hidden1'"):
        fit("mlp:6", "iris", out=None, freeze=["hiden1"], **QUICK)
    with pytest.raises(SettingError, match="every weight is frozen"):
        fit("mlp:6", "iris", out=None, freeze=["hidden1", "output"], **QUICK)


def test_from_a_run_begins_with_its_weights(iris):
    run = fit(None, "iris", out=None, start=str(iris.path), steps=1, learning_rate=1e-9, baselines=False)
    for path, value in flatten(run.network.params).items():
        np.testing.assert_allclose(value, flatten(iris.network.params)[path], atol=1e-6)


def test_from_a_run_on_other_classes_gets_a_new_output_layer(iris, tmp_path):
    table = pl.DataFrame(load("iris").x, schema=list(load("iris").feature_names))
    table = table.with_columns(kind=pl.Series(["small" if row < 75 else "large" for row in range(150)]))
    run = fit(
        None, load(table, target="kind"), out=None, start=str(iris.path), steps=1, learning_rate=1e-9, baselines=False
    )
    assert run.network.targets.classes == ("large", "small")
    np.testing.assert_allclose(run.network.params["hidden1"]["w"], iris.network.params["hidden1"]["w"], atol=1e-6)
    assert run.network.params["output"]["w"].shape == (6, 2)
    assert any("output" in note for note in run.result["notes"])


def test_several_targets():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    numbers = fit("mlp:16", Dataset(x, np.stack([x[:, 0], x[:, 1] * 100 + 7], 1)), out=None, baselines=False)
    assert numbers.result["test"]["r2"] > 0.95
    assert {name: len(values) for name, values in numbers.network.predict(x).items()} == {
        "target 1": 400,
        "target 2": 400,
    }
    labels = fit("mlp:16", Dataset(x, (x[:, :2] > 0).astype(int)), out=None, baselines=False)
    assert labels.result["test"]["accuracy"] > 0.95
    table = pl.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "size": x[:, 0] * 3 + 1, "kind": np.where(x[:, 1] > 0, "up", "down")}
    )
    mixed = fit("mlp:16", load(table, target=["size", "kind"]), out=None, baselines=False)
    said = mixed.network.predict(table)
    assert (np.asarray(said["kind"]) == table["kind"].to_numpy()).mean() > 0.95
    assert np.corrcoef(said["size"], table["size"])[0, 1] > 0.95


def test_weights_and_class_weights_change_what_is_learned():
    x = np.zeros((200, 1))  # nothing to learn but the share of each class
    y = np.array([0] * 150 + [1] * 50)
    settings = {
        "out": None,
        "epochs": 40,
        "baselines": False,
        "split": (1, 0, 0),
        "patience": 40,
        "learning_rate": 0.05,
    }
    share = fit("perceptron", Dataset(x, y), **settings).network.probabilities(x)[0, 1]
    assert share == pytest.approx(0.25, abs=0.02)
    balanced = fit("perceptron", Dataset(x, y), class_weights="balanced", **settings).network.probabilities(x)[0, 1]
    assert balanced == pytest.approx(0.5, abs=0.02)
    weighted = fit("perceptron", Dataset(x, y, weight=np.where(y == 1, 9.0, 1.0)), **settings).network.probabilities(x)[
        0, 1
    ]
    assert weighted == pytest.approx(0.75, abs=0.02)


def test_objects_without_a_written_form_work_and_mark_the_run(tmp_path):
    def cubed(outputs, y):
        return jnp.abs(outputs[:, 0] - y[:, 0]) ** 3

    def within_one(outputs, y):
        return float((np.abs(outputs - y) < 1).mean())

    run = fit("mlp:8", "diabetes", loss=cubed, metric=within_one, optimizer=optax.adam(1e-2), out=tmp_path, **QUICK)
    assert run.result["metric"] == "within_one"
    assert not run.recipe.reproducible
    assert not read(run.path / "recipe.toml").reproducible
    with pytest.raises(RunError, match="cannot be trained again from its recipe alone"):
        verify(run.path)


def test_specs_as_objects_are_written_down():
    run = fit(Sequential(Input(), Dense(5), ReLU(), Output()), "iris", optimizer=Adam(0.01, b2=0.99), out=None, **QUICK)
    assert run.recipe.train.optimizer["b2"] == 0.99
    assert run.recipe.reproducible
    assert run.network.params["dense1"]["w"].shape == (4, 5)


def test_verify_says_yes_and_says_no(tmp_path):
    run = fit(Sequential(Input(), Dense(5), ReLU(), Dropout(0.1), Output()), "iris", out=tmp_path, **QUICK)
    found = verify(run.path)
    assert found["agrees"]
    assert found["comparable"]
    recipe = run.path / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("learning_rate = 0.001", "learning_rate = 0.002"))
    assert not verify(run.path)["agrees"]


def test_range_test_finds_a_rate_that_learns():
    run = fit("mlp:16", "digits", out=None, learning_rate="auto", epochs=5, baselines=False)
    tried = run.result["range_test"]
    assert tried["rates"][0] == pytest.approx(1e-6)
    assert 1e-4 < tried["chosen"] < 0.3
    assert run.recipe.train.optimizer["learning_rate"] == tried["chosen"]
    assert run.result["test"]["accuracy"] > 0.85


def test_divergence_is_told_with_its_step_and_what_was_reached(tmp_path):
    with pytest.raises(Diverged, match="(?s)the loss is not finite.*step.*--learning-rate") as told:
        fit("mlp:16,16", "diabetes", optimizer="sgd:learning_rate=1e6", schedule="constant", out=tmp_path, **QUICK)
    assert told.value.exit_code == 3
    assert json.loads((told.value.run.path / "result.json").read_text())["stopped"] == "diverged"
    record = read_record(told.value.run.path / "record.jsonl")
    assert any(line["loss"] in ("nan", "inf") for line in record.steps)


def test_folds_are_k_runs_whose_tests_cover_the_set(tmp_path):
    found = fit_folds(make({"source": "iris", "epochs": 2, "baselines": False}), 3, out=tmp_path)
    tested = np.concatenate([run.prepared.test.rows for run in found.runs])
    assert sorted(tested) == list(range(150))
    scores = [run.result["test"]["accuracy"] for run in found.runs]
    assert found.result["mean"]["accuracy"] == pytest.approx(np.mean(scores))
    assert found.result["std"]["accuracy"] == pytest.approx(np.std(scores, ddof=1))
    assert (found.path / "fold3" / "weights.safetensors").is_file()
    with pytest.raises(SettingError, match="two folds or more"):
        fit_folds(make({"source": "iris"}), 1, out=None)


def test_a_batch_larger_than_the_set_is_clipped_and_said():
    run = fit("mlp:4", "iris", out=None, batch_size=1000, **QUICK)
    assert run.recipe.train.batch_size == 104
    assert "the batch of 1000 is clipped to the 104 training rows" in run.result["notes"]


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"network": "mlp:-3"}, SettingError, "(?s)out of range.*widths"),
        ({"network": "mpl:3"}, SettingError, "did you mean 'mlp'"),
        ({"network": "mlp:4", "activation": "rleu"}, SettingError, "did you mean 'relu'"),
        ({"optimizer": "adma"}, SettingError, "did you mean 'adam"),
        ({"optimizer": "adam:momentum=1"}, SettingError, "has no setting 'momentum'"),
        ({"epochs": 0}, SettingError, "(?s)train.epochs.*a whole number >= 1"),
        ({"epochs": 2, "steps": 2}, SettingError, "both epochs and steps"),
        ({"epochs": "many"}, SettingError, "(?s)wrong type.*train.epochs"),
        ({"precision": "bfloat"}, SettingError, "(?s)train.precision.*float32 . bfloat16 . float16.*mean 'bfloat16'"),
        ({"lerning_rate": 1.0}, SettingError, "did you mean 'learning_rate'"),
        ({"split": (0.5, 0.1, 0.1)}, SettingError, "add up to 1"),
        ({"target": "nothing"}, SettingError, "brings its own target"),
        ({"data": "irsi"}, DataError, "iris"),
        (
            {"network": Sequential(Input(), Dense(5)), "data": "diabetes"},
            SettingError,
            "(?s)cannot compare.*as many outputs",
        ),
        ({"seed": -1}, SettingError, "train.seed"),
    ],
)
def test_mistakes_are_told(settings, error, text):
    with pytest.raises(error, match=text):
        fit(**{"network": "mlp:4", "data": "iris", "out": None, **QUICK, **settings})


def test_shape_mismatch_names_the_layers_and_shapes_before_anything_compiles():
    from pellucid.network.composite import Residual

    with pytest.raises(NetworkError, match=r"(?s)residual1.*\[1, 4\].*\[1, 5\]"):
        fit(Sequential(Input(), Residual(Dense(5)), Output()), "iris", out=None, **QUICK)


def test_read_only_and_impossible_folders(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a file stands where a folder is needed") as told:
        fit("mlp:4", "iris", out=tmp_path / "file" / "runs", **QUICK)
    assert told.value.exit_code == 1


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, monkeypatch):
    import errno
    import os

    from pellucid.errors import ResourceError
    from pellucid.fit import resume

    whole = fit("mlp:4", "iris", out=tmp_path / "a", epochs=6, baselines=False)
    count, real = iter(range(1000)), os.fsync

    def full(handle):
        if next(count) > 18:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="(?s)the disk is full.*free some space, then resume"):
        fit("mlp:4", "iris", out=tmp_path / "b", epochs=6, baselines=False, checkpoint_seconds=0)
    monkeypatch.undo()
    folder = next((tmp_path / "b").iterdir())
    run = resume(folder)
    for name in ("weights.safetensors", "record.jsonl"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_runs_lists_what_is_there(iris):
    found = runs(iris.path.parent)
    assert [entry["path"] for entry in found] == [str(iris.path)]
    assert found[0]["result"]["task"] == "classification"


def test_a_run_from_another_version_is_told(iris, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(iris.path, copy)
    (copy / "network.json").write_text((copy / "network.json").read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(RunError, match="(?s)another version.*format 1.*format 99"):
        Network.load(copy)
    (copy / "recipe.toml").write_text((copy / "recipe.toml").read_text().replace("format = 1", "format = 9"))
    with pytest.raises(RunError, match="another version"):
        read(copy / "recipe.toml")


def test_damaged_and_foreign_weights_are_told(iris, tmp_path):
    import shutil

    from safetensors.numpy import save_file

    copy = tmp_path / "copy"
    shutil.copytree(iris.path, copy)
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(RunError, match="the weights cannot be read"):
        Network.load(copy)
    save_file({"layer.0.weight": np.zeros((2, 2), np.float32)}, weights)
    with pytest.raises(NetworkError, match="(?s)another network.*layer.0.weight"):
        Network.load(copy)
    weights.unlink()
    with pytest.raises(RunError, match="there are no weights here"):
        Network.load(copy)


def test_recipe_round_trip_trains_the_same(iris, tmp_path):
    recipe = read(iris.path / "recipe.toml")
    again = run_recipe(recipe, out=tmp_path / "again", exact=True, folder=iris.path)
    assert (again.path / "weights.safetensors").read_bytes() == (iris.path / "weights.safetensors").read_bytes()
    assert math.isfinite(again.result["test"]["loss"])


def test_data_in_the_network_s_place_are_told_of():
    data = Dataset(np.zeros((4, 2), np.float32), np.zeros(4, np.float32))
    with pytest.raises(SettingError, match="the network comes first"):
        fit(data)
