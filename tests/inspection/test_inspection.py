"""What is seen of a trained network, against what can be known of it otherwise."""

import base64
import io
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifier

import pellucid as pc
from pellucid.data import Dataset, Part, prepare
from pellucid.errors import PellucidWarning
from pellucid.inspection import inspect as everything
from pellucid.inspection.calibration import calibration, expected_error, reliability
from pellucid.inspection.exciting import exciting
from pellucid.inspection.filters import filters
from pellucid.inspection.grid import grid_of_names
from pellucid.inspection.importance import importance
from pellucid.inspection.inspect import inspect
from pellucid.inspection.looking import FEATURES, folded
from pellucid.inspection.mistakes import mistakes
from pellucid.inspection.receptive import receptive_field
from pellucid.inspection.saliency import gradient_sizes
from pellucid.inspection.separability import probe
from pellucid.inspection.subject import Subject
from pellucid.inspection.writing import surprise
from pellucid.network.adapt import adapt
from pellucid.network.attention import Attention
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv
from pellucid.network.dense import Dense, Flatten, Input
from pellucid.network.layer import flatten
from pellucid.network.looks import attention_looks
from pellucid.network.network import Network
from pellucid.network.pool import MaxPool
from pellucid.network.trace import trace
from pellucid.train.evaluate import Evaluator
from pellucid.train.losses import CrossEntropy
from pellucid.train.metrics import Accuracy


def opened(address):
    """The pixels of a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))))


def network_of(prepared, *layers, **settings):
    """A network of these layers for prepared data, not trained."""
    net = Network(Sequential(*layers), features=prepared.features, targets=prepared.targets, link="softmax")
    made = net.initialised(jax.random.key(0), net.example())
    return made.replace(**settings)


def subject_of(network, prepared, **known):
    return Subject.of(network, prepared, metric=Accuracy(), **known)


# -- calibration ---------------------------------------------------------------------------------------------------


def test_the_calibration_error_of_a_drawn_example():
    """Ten answers at 0.95, of which eight are right, and ten at 0.55, of which five are: 0.5 * 0.15 + 0.5 * 0.05."""
    confidence = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 5)
    bins = reliability(confidence, right)
    assert len(bins) == 15 and sum(one["count"] for one in bins) == 20
    assert expected_error(bins) == pytest.approx(0.1)
    assert bins[-1]["accuracy"] == pytest.approx(0.8) and bins[8]["accuracy"] == pytest.approx(0.5)


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    assert [one["count"] for one in reliability(np.array([0.0, 0.5, 0.500001, 1.0]), np.ones(4, bool), 2)] == [2, 2]


# -- tables --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """A table of which one column of categories alone tells the class."""
    g = np.random.default_rng(0)
    colour = g.choice(["red", "blue", "green"], 300)
    frame = pl.DataFrame({"size": g.normal(size=300), "colour": colour, "weight": g.normal(size=300)})
    data = Dataset(frame, np.where(colour == "red", "yes", "no").astype(object), name="made")
    return data, pc.fit("mlp:8", data, epochs=30, learning_rate=0.02, batch_size=16, out=None)


def test_importance_finds_the_one_column_that_matters(table):
    data, run = table
    found = importance(subject_of(run.network, run.prepared, dataset=data))
    assert found["columns"][0]["column"] == "colour" and len(found["columns"]) == 3
    assert found["columns"][0]["drop"] > 0.25 and found["score"] > 0.95
    assert all(abs(one["drop"]) < 0.05 for one in found["columns"][1:])


def test_mistakes_are_told_in_the_tables_own_words(table):
    data, run = table
    subject = subject_of(run.network, run.prepared, dataset=data)
    p = np.tile([0.1, 0.9], (len(subject.part), 1))  # "yes" for every row
    p[0] = [0.02, 0.98]
    liar = Subject.of(run.network, run.prepared, metric=Accuracy(), dataset=data, outputs={"test": p})
    found = mistakes(liar)
    truth = np.asarray(data.y)[subject.part.rows]
    assert found["wrong"] == (truth == "no").sum() == found["confused"][0]["times"]
    shown = found["confident"][0]
    row = data.x.row(shown["row"], named=True)
    assert dict(shown["columns"])["colour"] == row["colour"] and shown["true"] == "no" and shown["predicted"] == "yes"
    assert dict(shown["columns"])["size"] == f"{row['size']:.4g}"


def test_a_regression_tells_its_largest_errors_and_their_spread():
    run = pc.fit("mlp:8", "diabetes", epochs=3, out=None)
    found = inspect(run.network, run.prepared, metric=None, dataset=pc.load("diabetes"))
    part = run.prepared.test
    said, true = run.network.predict(pc.load("diabetes").x[part.rows]), np.asarray(pc.load("diabetes").y)[part.rows]
    rest = said.reshape(-1) - true.reshape(-1)
    worst = found["mistakes"]["largest"][0]
    assert worst["row"] == part.rows[np.abs(rest).argmax()]
    assert worst["predicted"] - worst["true"] == pytest.approx(rest[np.abs(rest).argmax()], rel=1e-3)
    assert found["values"]["columns"][0]["spread"] == pytest.approx(rest.std(), rel=1e-3)
    assert "calibration" not in found and found["separability"]["metric"] == "r2"


# -- linear probes -------------------------------------------------------------------------------------------------


def test_a_probe_reads_what_a_line_parts_and_nothing_off_noise():
    g = np.random.default_rng(0)
    x, y = g.normal(size=(2000, 20)), g.integers(0, 4, 2000)
    clouds = x + 10 * np.eye(20)[y]
    assert probe(clouds[:1000], y[:1000], clouds[1000:], y[1000:], 4) == 1.0
    assert abs(probe(x[:1000], y[:1000], x[1000:], y[1000:], 4) - 0.25) < 0.05
    numbers = x @ g.normal(size=20) + 3
    assert probe(x[:1000], numbers[:1000], x[1000:], numbers[1000:], 0) > 0.999


def test_a_probe_is_scikit_learns_ridge_classifier():
    run_x, y = np.asarray(pc.load("digits").x), np.asarray(pc.load("digits").y)
    keep = run_x[:1000].std(0) > 0
    mean, spread = run_x[:1000][:, keep].mean(0), run_x[:1000][:, keep].std(0)
    x = (run_x[:, keep] - mean) / spread
    scores = [RidgeClassifier(alpha=a * 1000).fit(x[:1000], y[:1000]).score(x[1000:], y[1000:]) for a in (1e-3, 0.1)]
    found = probe(run_x[:1000], y[:1000], run_x[1000:], y[1000:], 10)
    assert min(scores) - 0.01 <= found <= max(scores) + 0.01


def test_folding_keeps_inner_products_in_the_mean():
    g = np.random.default_rng(0)
    x = g.normal(size=(40, 5000)) + g.normal(size=5000)
    small = folded(x, np)
    assert small.shape == (40, FEATURES) and np.allclose(small, np.asarray(folded(jnp.asarray(x))), atol=1e-2)
    true, kept = x @ x.T, small @ small.T
    assert np.abs(kept / true - 1).mean() < 0.15


# -- images --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    """Bright squares of which the left or the right half is lit."""
    g = np.random.default_rng(0)
    y = g.integers(0, 2, 120)
    x = g.integers(0, 40, (120, 12, 12, 1))
    x[y == 0, :, :6] += 180
    x[y == 1, :, 6:] += 180
    return prepare(Dataset(x.astype(np.uint8), y))


def test_pictures_of_filters_are_the_weights(images):
    net = network_of(images, ("input", Input()), ("conv", Conv(4, 3)), ("flatten", Flatten()), ("output", Dense(2)))
    found = filters(subject_of(net, images))
    w = np.asarray(net.params["conv"]["w"])[..., 0, :]  # [3, 3, 4]
    assert found["layer"] == "conv" and found["scale"] == pytest.approx(np.abs(w).max(), rel=1e-3)
    for one in found["pictures"]:
        back = opened(one["picture"]) / 255 * 2 - 1
        np.testing.assert_allclose(back, w[..., one["unit"]] / np.abs(w).max(), atol=0.005)


def test_units_of_a_dense_layer_are_shown_as_the_image_they_weigh(images):
    net = network_of(images, ("input", Input()), ("flatten", Flatten()), ("hidden", Dense(5)), ("output", Dense(2)))
    found = filters(subject_of(net, images))
    w = np.asarray(net.params["hidden"]["w"]).reshape(12, 12, 5)
    assert len(found["pictures"]) == 5 and (found["height"], found["width"]) == (12, 12)
    back = opened(found["pictures"][3]["picture"]) / 255 * 2 - 1
    np.testing.assert_allclose(back, w[..., 3] / np.abs(w).max(), atol=0.005)


def test_the_saliency_of_a_linear_network_is_its_weights(images):
    net = network_of(images, ("flatten", Flatten()), ("output", Dense(2)))
    sizes = gradient_sizes(net.layer, net.params, net.state, images.test.x[:4], np.array([0, 1, 1, 0]))
    w = np.abs(np.asarray(net.params["output"]["w"])).reshape(12, 12, 1, 2)
    for one, c in zip(np.asarray(sizes), (0, 1, 1, 0), strict=True):
        np.testing.assert_allclose(one, w[..., c], rtol=1e-6)


def test_saliency_agrees_with_finite_differences(images):
    net = network_of(
        images, ("input", Input()), ("conv", Conv(3, 3)), ("tanh", pc.Tanh()), ("flatten", Flatten()),
        ("output", Dense(2)),
    )  # fmt: skip
    x = images.test.x[:1].astype(np.float32)
    found = np.asarray(gradient_sizes(net.layer, net.params, net.state, x, np.array([1])))
    for place in ((0, 3, 4, 0), (0, 11, 7, 0)):
        step = np.zeros_like(x)
        step[place] = 0.5
        slope = (np.asarray(net(x + step)) - np.asarray(net(x - step)))[0, 1] / 1.0
        assert found[place] == pytest.approx(abs(slope), rel=0.02, abs=1e-5)


def test_what_excites_a_unit_is_where_it_answers_most(images):
    """One kernel that answers to brightness: its strongest piece is the brightest of all."""
    net = network_of(
        images, ("conv", Conv(1, 3, padding="valid", bias=False)), ("relu", pc.ReLU()), ("flatten", Flatten()),
        ("output", Dense(2)),
    )  # fmt: skip
    net.params["conv"]["w"] = jnp.ones((3, 3, 1, 1))
    subject = subject_of(net, images)
    layer = exciting(subject)["layers"][0]
    x = subject.looked.x[..., 0].astype(int)
    sums = sum(x[:, i : i + 10, j : j + 10] for i in range(3) for j in range(3))
    assert layer["field"] == [3, 3] and layer["units"][0]["responses"][0] == pytest.approx(sums.max(), rel=5e-3)
    n, i, j = np.unravel_index(sums.argmax(), sums.shape)
    shown = opened(layer["units"][0]["picture"])
    tile = shown[::6, ::6][:, :3] if shown.shape[0] == 18 else shown[:3, :3]
    np.testing.assert_array_equal(tile, x[n, i : i + 3, j : j + 3])


def test_the_field_of_a_unit_is_where_its_gradient_is():
    """Behind strides, dilation and both kinds of padding."""
    layers = Sequential(
        ("a", Conv(2, 5, padding="valid")), ("pool", MaxPool(2)), ("b", Conv(2, 3, stride=2)),
        ("c", Conv(1, 3, dilation=2, padding=1)),
    )  # fmt: skip
    net = Network(layers).initialised(jax.random.key(0), jnp.zeros((1, 40, 40, 1)))
    field = receptive_field(trace(layers, jnp.zeros((1, 40, 40, 1))).leaves, "c")
    image = jax.random.normal(jax.random.key(1), (1, 40, 40, 1))
    for place in ((3, 2), (2, 4)):
        slope = jax.grad(lambda x, at=place: net(x)[0, at[0], at[1], 0])(image)
        rows, columns = (np.flatnonzero(np.abs(np.asarray(slope))[0, :, :, 0].any(axis)) for axis in (1, 0))
        for k, lit in enumerate((rows, columns)):
            start = field.start(place)[k]
            assert start <= lit[0] <= start + 1 and lit[-1] in (start + field.size[k] - 1, start + field.size[k] - 2)


def test_names_of_pixels_make_a_picture():
    assert grid_of_names(tuple(f"{i}x{j}" for i in range(1, 5) for j in range(1, 5))) == (4, 4)
    assert grid_of_names(tuple(f"pixel{i}" for i in range(16))) == (4, 4)
    assert grid_of_names(tuple(f"pixel{i}" for i in range(17))) is None


# -- texts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("the cat sat on the mat. " * 80)
    return prepare(pc.load(path), context=16)


def built(network, prepared):
    """Not trained, but fitted to the data."""
    network = network.replace(features=prepared.features, targets=prepared.targets)
    network = network.replace(layer=adapt(network.layer, prepared.features, prepared.targets))
    return network.initialised(jax.random.key(0), network.example())


@pytest.mark.parametrize("network", [pc.transformer(1, 2, 8), pc.lstm(8)], ids=["transformer", "lstm"])
def test_surprise_adds_up_to_the_loss(text, network):
    network = built(network, text)
    subject = Subject.of(network, text)
    found, read = surprise(subject), subject.read
    part = Part(read.ids, read.following, None, np.arange(len(read.ids)))
    loss = Evaluator(network.layer, CrossEntropy(), None)(flatten(network.params), network.state, part).loss
    bits = [one[1] for one in found["tokens"][1:]]
    assert len(bits) == read.ids.size
    assert np.mean(bits) * np.log(2) == pytest.approx(loss, rel=2e-3)
    assert found["mean"] == pytest.approx(np.mean(bits), rel=1e-3)
    whole = "".join(one[0] for one in found["tokens"])
    assert whole == text.features.encoder.tokenizer.decode([read.ids[0, 0], *read.following.reshape(-1)])


def test_what_attention_looks_at_makes_its_output():
    x = jax.random.normal(jax.random.key(1), (2, 5, 6))
    layer = Attention(2, causal=True, rotary=False)
    net = Network(layer).initialised(jax.random.key(0), x)
    y, found = attention_looks(net, x)
    looks = next(iter(found.values()))
    assert looks.shape == (2, 2, 5, 5) and np.allclose(looks.sum(-1), 1, atol=1e-5)
    assert np.allclose(np.triu(looks, 1), 0)
    p = net.params
    v = (x @ p["w"] + p["b"]).reshape(2, 5, 3, 2, 3)[:, :, 2]
    mixed = np.einsum("bhqk,bkhd->bqhd", looks, v).reshape(2, 5, 6)
    np.testing.assert_allclose(mixed @ p["out"] + p["out_bias"], y, atol=1e-4)


@pytest.mark.parametrize("kind", ["luong", "bahdanau"])
def test_attention_of_a_decoder_looks_at_the_real_source_alone(kind):
    g = np.random.default_rng(0)
    words = ["".join(g.choice(list("abc"), n)) for n in g.integers(2, 6, 60)]
    p = prepare(Dataset(words, words, task="pairs"))
    net = built(pc.seq2seq(8, attention=kind), p)
    looks = next(iter(attention_looks(net, p.test.x)[1].values()))[:, 0]  # [n, target, source]
    source = p.features.source_steps
    assert looks.shape[2] == source and np.allclose(looks.sum(-1), 1, atol=1e-5)
    filler = np.broadcast_to((p.test.x[:, :source] == 0)[:, None], looks.shape)
    assert np.abs(looks[filler]).max(initial=0) < 1e-6


# -- all together --------------------------------------------------------------------------------------------------


def test_a_run_writes_what_it_learned(tmp_path):
    run = pc.fit("mlp:8", "iris", epochs=3, out=tmp_path)
    found = json.loads((run.path / "inspection.json").read_text())
    assert set(found) >= {"mistakes", "classes", "calibration", "importance", "separability"}
    counts = found["classes"]["classes"]
    assert [one["class"] for one in counts] == ["setosa", "versicolor", "virginica"]
    assert sum(one["support"] for one in counts) == run.result["rows"]["test"] == found["calibration"]["rows"]
    assert found["calibration"]["accuracy"] == pytest.approx(run.result["test"]["accuracy"], rel=1e-3)
    assert [one["layer"] for one in found["separability"]["layers"]] == ["input", "hidden1", "relu1", "output"]


def test_a_run_can_leave_it_out(tmp_path):
    run = pc.fit("mlp:8", "iris", epochs=1, out=tmp_path, inspect=False)
    assert not (run.path / "inspection.json").exists() and (run.path / "result.json").exists()


def test_what_fails_is_warned_of_and_left_out(table, monkeypatch):
    data, run = table
    monkeypatch.setitem(everything.SUBJECTS, "calibration", lambda subject: 1 / 0)
    with pytest.warns(PellucidWarning, match="calibration could not be inspected: ZeroDivisionError"):
        found = inspect(run.network, run.prepared, metric=Accuracy(), dataset=data)
    assert "calibration" not in found and "classes" in found


def test_scores_that_are_no_probabilities_are_not_calibrated(table):
    _, run = table
    outputs = {"test": np.random.default_rng(0).normal(size=(len(run.prepared.test), 2))}
    subject = Subject.of(run.network, run.prepared, outputs=outputs)
    assert calibration(subject) is None
    assert all("probability" not in one for one in mistakes(subject)["confident"])


def test_numbers_that_are_not_finite_can_be_told(table):
    _, run = table
    outputs = {"test": np.full((len(run.prepared.test), 2), np.nan)}
    found = inspect(run.network, run.prepared, metric=Accuracy(), outputs=outputs)
    assert re.search(r"\bNaN\b", json.dumps(found)) is None
