"""ONNX files: what onnxruntime makes of them is what the network says, for every kind of layer and architecture."""

import json
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import pellucid as pc
from pellucid.errors import DataError, NetworkError
from pellucid.network import activations as act
from pellucid.network import catalogue  # noqa: F401
from pellucid.network.architecture import Architecture, Arriving
from pellucid.network.attention import Attention, Positions
from pellucid.network.composite import Parallel, Residual, Sequential, replace_layers
from pellucid.network.conv import Conv, ConvTranspose, Grey, Upsample
from pellucid.network.dense import Dense, Dropout, Embed, Flatten, Input, Output, resolve_output
from pellucid.network.layer import Layer, layer
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm, LayerNorm, RMSNorm
from pellucid.network.pool import AvgPool, GlobalPool, MaxPool
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional, Steps
from pellucid.network.seq2seq import EncoderDecoder
from pellucid.network.transformer import SwiGLU, TransformerBlock

onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")

from pellucid.connect import onnx as connect  # noqa: E402

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(5, 4)).astype(np.float32)
IMAGES = RANDOM.normal(size=(3, 7, 6, 4)).astype(np.float32)
STEPS = RANDOM.normal(size=(5, 6, 4)).astype(np.float32)
PADDED = STEPS.copy()
PADDED[1, 4:], PADDED[2, 1:] = np.nan, np.nan
IDS = RANDOM.integers(1, 9, (5, 8)).astype(np.int32)
IDS[1, 3:5] = 0
IDS[2, 1:] = 0


def trained(top, x, link="identity"):
    """A network none of whose weights is a neat 0 or 1."""
    network = Network(top, link=link).initialised(jax.random.key(0), x)
    noise = np.random.default_rng(1)
    stir = lambda a: a + jnp.asarray(noise.uniform(0.05, 0.3, a.shape), a.dtype)  # noqa: E731
    return network.replace(params=jax.tree.map(stir, network.params), state=jax.tree.map(stir, network.state))


def operations(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return [node.op_type for node in model.graph.node]


def case(*parts, x=ROWS, link="identity", has=(), name=None):
    return pytest.param(Sequential(*parts), x, link, has, id=name or type(parts[-1]).__name__)


def on_images(part, has=(), name=None):
    return case(part, x=IMAGES, has=has, name=name or type(part).__name__)


def on_steps(part, has=(), name=None):
    return case(part, x=STEPS, has=has, name=name or type(part).__name__)


def on_padded(part, has=(), name=None):
    return case(Input(padded=True), part, x=PADDED, has=has, name=f"{name or type(part).__name__}-padded")


LAYERS = [
    case(Input("feature"), Dense(3), has=["MatMul"]),
    case(Dense(3), link="softmax", name="softmax"),
    case(Dense(1), link="sigmoid", name="sigmoid", has=["Sigmoid"]),
    case(Dense(4), link=(("softmax", 0, 2), ("identity", 2, 3), ("sigmoid", 3, 4)), name="mixed"),
    case(Dropout(0.5), name="dropout"),
    case(Residual(Dense(4)), name="residual"),
    case(Parallel(Dense(2), Dense(3)), name="parallel"),
    case(Input(), Flatten(), Dense(2), x=(IMAGES * 40 + 120).clip(0, 255).astype(np.uint8), name="bytes"),
    *(on_images(part) for part in (Flatten(), Steps(), BatchNorm(), LayerNorm(), RMSNorm())),
    case(Grey(), x=STEPS),
    on_images(Conv(6), has=["Conv"], name="conv-same"),
    on_images(Conv(6, (3, 2), stride=2, padding="valid"), has=["Conv"], name="conv-valid"),
    on_images(Conv(6, 3, stride=2), has=["Conv"], name="conv-stride"),
    on_images(Conv(6, 3, padding=((1, 0), 2), dilation=2, groups=2), has=["Conv"], name="conv-groups"),
    on_images(Conv(8, 3, groups=4), has=["Conv"], name="conv-depthwise"),
    on_images(ConvTranspose(6, 3, stride=2), has=["ConvTranspose"], name="transpose-same"),
    on_images(ConvTranspose(6, 3, stride=(2, 3), padding="valid"), has=["ConvTranspose"], name="transpose-valid"),
    on_images(ConvTranspose(6, 3, 3, padding=1, dilation=2, groups=2), has=["ConvTranspose"], name="transpose-groups"),
    on_images(ConvTranspose(6, 2, stride=3), has=["ConvTranspose"], name="transpose-gaps"),
    on_images(ConvTranspose(6, 3), has=["Conv"], name="transpose-plain"),
    on_images(Upsample(2), name="upsample"),
    on_images(Upsample(2, "linear"), name="upsample-linear"),
    *(on_images(kind(*how), name=f"{kind.__name__}-{i}") for kind in (MaxPool, AvgPool) for i, how in enumerate(
        [(2,), (3, 2, "same"), ((2, 3), 1, 1)])),
    on_images(GlobalPool(), name="mean-pool"),
    on_images(GlobalPool("max"), name="max-pool"),
    on_steps(Conv(6, 3, stride=2), has=["Conv"], name="conv-1d"),
    on_steps(ConvTranspose(6, 3, stride=2), has=["ConvTranspose"], name="transpose-1d"),
    on_padded(Sequential(Conv(5, 3, stride=2), MaxPool(2), AvgPool(2, 1, "same"), GlobalPool("max")), name="conv-1d"),
    on_padded(Sequential(Conv(5, 3, padding="valid"), Upsample(2), GlobalPool()), name="mean-pool"),
    *(on_steps(part, has=["Scan"]) for part in (RNN(3), LSTM(3), GRU(3), Bidirectional(GRU(3)))),
    *(on_padded(part, has=["Scan"]) for part in (RNN(3, False), LSTM(3, backwards=True), Bidirectional(GRU(3, False)))),
    on_steps(Sequential(Positions("learned", 9), Attention(2, causal=True, rotary=True)), name="attention"),
    on_padded(Sequential(Positions("sinusoidal", 9), Attention(1)), name="attention"),
    on_steps(TransformerBlock(2, causal=True), name="block"),
    on_padded(TransformerBlock(1, order="post", norm="rms", feed_forward="swiglu", dropout=0.1), name="block"),
    on_steps(SwiGLU(5)),
    case(Embed(9, 3), x=IDS, has=["Gather"]),
    case(Embed(9, 3, padding=True), LSTM(3, False), x=IDS, has=["Scan"], name="embed-padded"),
    case(Embed(9, 3), GRU(3), x=IDS.astype(np.uint8), has=["Scan"], name="embed-bytes"),
    *(case(EncoderDecoder(5, Embed(9, 4, padding=True), cell, look), Output(9), x=IDS, link="softmax", name=look)
      for cell, look in ((GRU(3), "luong"), (LSTM(3), "bahdanau"), (GRU(3), "none"))),
]  # fmt: skip


@pytest.mark.parametrize(("top", "x", "link", "has"), LAYERS)
def test_layers_compute_the_same(tmp_path, top, x, link, has):
    network = trained(top, x, link)
    done = connect.export(network, tmp_path / "net.onnx", x)
    assert done.free_batch and done.rows == len(x)
    assert done.input[2] == ("batch", *x.shape[1:])
    found = operations(done.path)
    assert set(has) <= set(found)
    session = onnxruntime.InferenceSession(done.path)  # not the exporter's own check
    got = session.run(None, {"input": x})[0]
    want = network._outputs(x)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert done.output[2] == ("batch", *want.shape[1:]) and np.abs(want).max() > 1e-3


def test_every_activation(tmp_path):
    kinds = sorted({kind for kind in act.Activation.registry.values() if issubclass(kind, act.Activation)}, key=str)
    assert act.ReLU in kinds and len(kinds) > 8
    network = trained(Parallel(*(Sequential(Dense(2), kind()) for kind in kinds)), ROWS)
    assert connect.export(network, tmp_path / "net.onnx", 2 * ROWS).difference < 1e-5


ARCHITECTURES = [
    ("perceptron", Arriving((4,)), ROWS),
    ("mlp:8,4", Arriving((4,)), ROWS),
    ("mlp:8,dropout=0.2", Arriving((8, 8, 1), "uint8"), RANDOM.integers(0, 255, (3, 8, 8, 1)).astype(np.uint8)),
    ("cnn:4,8,dense=8", Arriving((12, 12, 3), "uint8"), RANDOM.integers(0, 255, (3, 12, 12, 3)).astype(np.uint8)),
    ("resnet:18,width=0.1", Arriving((9, 9, 3)), RANDOM.normal(size=(2, 9, 9, 3)).astype(np.float32)),
    ("lenet", Arriving((28, 28, 1)), RANDOM.normal(size=(2, 28, 28, 1)).astype(np.float32)),
    ("rnn:5", Arriving((6, 4), padded=True), PADDED),
    ("lstm:5,4", Arriving((8,), "int32", vocabulary=9, padded=True), IDS),
    ("gru:5,bidirectional=true", Arriving((8,), "int32", vocabulary=9, padded=True), IDS),
    ("lstm:5", Arriving((8,), "int32", vocabulary=9, each_step=True), IDS),
    ("transformer:2,2,8", Arriving((8,), "int32", vocabulary=9, each_step=True), IDS),
    ("seq2seq:5", Arriving((8,), "int32", vocabulary=9, padded=True, each_step=True, source=5), IDS),
]


@pytest.mark.parametrize(("spec", "data", "x"), ARCHITECTURES, ids=[spec for spec, _, _ in ARCHITECTURES])
def test_architectures_compute_the_same(tmp_path, spec, data, x):
    def fill(part):
        return replace(part, vocabulary=9) if getattr(part, "vocabulary", 0) is None else part

    top = resolve_output(replace_layers(Architecture.find(spec.partition(":")[0]).parse(spec).build(data), fill), 9)
    network = trained(top, x, "softmax")
    done = connect.export(network, tmp_path / "net.onnx", x)
    assert done.free_batch and done.difference < 1e-5 and operations(done.path)


def test_a_trained_network_ends_in_its_targets_units(tmp_path):
    x = RANDOM.normal(size=(60, 3)).astype(np.float32)
    y = 1e5 + 2e4 * x[:, 0] - 1e4 * x[:, 1]
    network = pc.fit("mlp:8", (x, y), epochs=2, baselines=False, out=tmp_path / "run").network
    done = connect.export(network, tmp_path / "net.onnx")
    assert done.output[0] == "values"
    got = onnxruntime.InferenceSession(done.path).run(None, {"input": x})[0]
    np.testing.assert_allclose(got[:, 0], network.predict(x), rtol=1e-4)


def test_an_id_that_is_none_shows_as_nan(tmp_path):
    network = trained(Sequential(Embed(9, 3)), IDS)
    done = connect.export(network, tmp_path / "net.onnx", IDS)
    got = onnxruntime.InferenceSession(done.path).run(
        None, {"input": np.array([[1, 9, -1, 8]] * 2).repeat(2, 1).astype(np.int32)}
    )
    assert np.isnan(got[0][0, :, 0]).tolist() == [False] * 2 + [True] * 4 + [False] * 2


def test_a_difference_is_refused_and_the_file_removed(tmp_path, monkeypatch):
    network = trained(Sequential(Dense(3)), ROWS)
    right = connect._leaves

    def wrong(*parts):
        leaves = right(*parts)
        leaves[0] = leaves[0].copy()  # the bias
        leaves[0][1] += 0.01
        return leaves

    (tmp_path / "net.onnx").write_bytes(b"an older one")
    monkeypatch.setattr(connect, "_leaves", wrong)
    with pytest.raises(NetworkError, match=r"differ by 0\.01") as error:
        connect.export(network, tmp_path / "net.onnx", ROWS)
    assert "output[row, 1]" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"an older one"


def test_what_cannot_be_said_is_named(tmp_path):
    @layer("sorting_for_onnx")
    class Sorting(Layer):
        def apply(self, p, x, ctx):
            return jnp.sort(x)

    with pytest.raises(NetworkError, match=r"cannot be written as ONNX[^$]*the operation 'sort'"):
        connect.export(trained(Sequential(Dense(3), Sorting()), ROWS), tmp_path / "net.onnx", ROWS)
    with pytest.raises(NetworkError, match="no weights yet"):
        connect.export(Network(Sequential(Dense(3))), tmp_path / "net.onnx", ROWS)
    assert not (tmp_path / "net.onnx").exists()


def test_a_layer_that_takes_apart_and_stacks(tmp_path):
    @layer("stacking_for_onnx")
    class Stacking(Layer):
        def apply(self, p, x, ctx):
            first, *_, last = jnp.unstack(x, axis=1)
            return jnp.stack([last, first * 2, last - first], axis=1)

    network = trained(Sequential(Stacking(), Dense(3)), STEPS)
    done = connect.export(network, tmp_path / "net.onnx", STEPS)
    assert done.free_batch
    got = onnxruntime.InferenceSession(done.path).run(None, {"input": STEPS})[0]
    np.testing.assert_allclose(got, network._outputs(STEPS), rtol=1e-5, atol=1e-5)


def test_a_layer_that_asks_how_many_rows_there_are_gets_one_at_a_time(tmp_path):
    @layer("counting_for_onnx")
    class Counting(Layer):
        def apply(self, p, x, ctx):
            return x * 2 if x.shape[0] > 1_000_000 else x * 3

    done = connect.export(trained(Sequential(Dense(3), Counting()), ROWS), tmp_path / "net.onnx", ROWS)
    assert not done.free_batch and done.input[2] == (1, 4)
    props = {p.key: p.value for p in onnx.load(done.path).metadata_props}
    assert props["batch"] == "one row"


def test_the_sample_is_checked(tmp_path):
    network = pc.fit("mlp:4", "iris", epochs=1, baselines=False, out=tmp_path / "run").network
    with pytest.raises(DataError, match="not what the network takes in"):
        connect.export(network, tmp_path / "net.onnx", np.ones((2, 5), np.float32))
    with pytest.raises(DataError, match="empty"):
        connect.export(network, tmp_path / "net.onnx", np.ones((0, 4), np.float32))


def test_the_command(tmp_path):
    table = tmp_path / "cats.csv"
    rows = [
        f"{colour},{i % 7},{'yes' if (i % 7 > 3) == (colour == 'red') else 'no'}"
        for i in range(40)
        for colour in ("red", "blue")
    ]
    table.write_text("\n".join(["colour,size,wins", *rows]))
    run = pc.fit("mlp:4", str(table), target="wins", epochs=1, baselines=False, out=tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "export", str(run.path), "--onnx", "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["file"] == str(run.path / "network.onnx") and facts["difference"] < 1e-5
    assert facts["rows_from"] == "the run's test part" and facts["input"]["shape"][0] == "batch"
    props = {p.key: p.value for p in onnx.load(facts["file"]).metadata_props}
    assert json.loads(props["classes"]) == ["no", "yes"] and props["pellucid_version"] == pc.__version__
    assert "colour" in props["input_names"] and props["batch"] == "free"
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "export", str(run.path), "--pytorch"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_file(run.path / "pytorch.safetensors")["hidden1.weight"].shape[0] == 4


def test_the_command_asks_for_a_format(tmp_path, capsys):
    from pellucid.cli import main

    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path)])
    assert end.value.code == 2 and "expected: --onnx" in capsys.readouterr().err


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(pc.errors.MissingExtra, match=r'pip install "pellucid\[onnx\]"'):
        connect.export(trained(Sequential(Dense(3)), ROWS), tmp_path / "net.onnx", ROWS)
