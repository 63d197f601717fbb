"""Weights to and from PyTorch: its own modules compute the same from them, and what they hold comes back unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from pellucid.connect import torch_weights as connect
from pellucid.errors import DataError, NetworkError
from pellucid.network.activations import ReLU
from pellucid.network.attention import Attention, Positions
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv, ConvTranspose
from pellucid.network.dense import Dense, Embed, Flatten
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm, LayerNorm, RMSNorm
from pellucid.network.pool import MaxPool
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional
from pellucid.network.storage import weights
from pellucid.network.transformer import SwiGLU, TransformerBlock

RNG = np.random.default_rng(0)


def filled(layer, x) -> Network:
    """The network with every weight drawn anew, so that no bias is 0 and no scale 1."""
    net = Network(layer).initialised(jax.random.key(0), jnp.asarray(x))
    drawn = {p: RNG.uniform(0.1, 1, a.shape).astype(a.dtype) for p, a in weights(net).items()}
    return connect._with(net, drawn)


def first_channels(x):  # ours -> PyTorch's order of axes
    return np.moveaxis(x, -1, 1) if x.ndim > 2 else x


PAIRS = {
    "conv": (Conv(6, (3, 2), stride=2, padding=1, dilation=(1, 2), groups=2), (2, 7, 8, 4),
             lambda t: t.nn.Conv2d(4, 6, (3, 2), 2, 1, (1, 2), 2)),
    "conv 1-D": (Conv(3, 3, padding="valid"), (2, 9, 4), lambda t: t.nn.Conv1d(4, 3, 3)),
    "conv_transpose": (ConvTranspose(4, 3, stride=2, padding="valid", groups=2), (2, 5, 4, 6),
                       lambda t: t.nn.ConvTranspose2d(6, 4, 3, 2, groups=2)),
    "batch_norm": (BatchNorm(), (3, 5, 4, 6), lambda t: t.nn.BatchNorm2d(6)),
}  # fmt: skip
PLAIN = {
    "dense": (Dense(3), (4, 5), lambda t: t.nn.Linear(5, 3)),
    "layer_norm": (LayerNorm(), (4, 5), lambda t: t.nn.LayerNorm(5)),
    "rms_norm": (RMSNorm(), (4, 5), lambda t: t.nn.RMSNorm(5, eps=RMSNorm().epsilon)),
    "rnn": (RNN(3), (4, 6, 5), lambda t: t.nn.RNN(5, 3, batch_first=True)),
    "lstm": (LSTM(3), (4, 6, 5), lambda t: t.nn.LSTM(5, 3, batch_first=True)),
    "gru": (GRU(3), (4, 6, 5), lambda t: t.nn.GRU(5, 3, batch_first=True)),
    "bidirectional": (Bidirectional(GRU(3)), (4, 6, 5), lambda t: t.nn.GRU(5, 3, batch_first=True, bidirectional=True)),
    "attention": (Attention(2), (3, 5, 4), lambda t: t.nn.MultiheadAttention(4, 2, batch_first=True)),
}


@pytest.mark.parametrize("name", [*PAIRS, *PLAIN])
def test_as_pytorch_computes_and_back(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer, shape, make = {**PAIRS, **PLAIN}[name]
    x = RNG.normal(size=shape).astype(np.float32)
    net, module = filled(layer, x), make(torch).eval()
    module.load_state_dict({k: torch.from_numpy(np.array(a)) for k, a in connect.state_dict(net, x).items()})
    seen = torch.from_numpy(np.ascontiguousarray(first_channels(x) if name in PAIRS else x))
    y = module(seen, seen, seen) if name == "attention" else module(seen)
    y = (y[0] if isinstance(y, tuple) else y).detach().numpy()
    ours = np.asarray(net.apply(net.params, net.state, jnp.asarray(x))[0])
    np.testing.assert_allclose(first_channels(ours) if name in PAIRS else ours, y, rtol=2e-4, atol=2e-5)
    if name in ("rnn", "lstm", "gru"):  # both of its biases count
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.uniform_(-0.5, 0.5)
    theirs = {k: a.numpy() for k, a in module.state_dict().items()}
    back = connect.load_state_dict(net, theirs, x=x)
    ours = np.asarray(back.apply(back.params, back.state, jnp.asarray(x))[0])
    y = module(seen, seen, seen) if name == "attention" else module(seen)
    y = (y[0] if isinstance(y, tuple) else y).detach().numpy()
    np.testing.assert_allclose(first_channels(ours) if name in PAIRS else ours, y, rtol=2e-4, atol=2e-5)


def test_a_whole_network_behind_flatten(tmp_path):
    """Ours flattens [h, w, c], PyTorch [c, h, w]: the rows of what comes next are put in order."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layers = Sequential(
        ("conv", Conv(3, 3, padding=1)), ("relu", ReLU()), ("pool", MaxPool(2)), ("flatten", Flatten()),
        ("norm", LayerNorm()), ("output", Dense(2)),
    )  # fmt: skip
    x = RNG.normal(size=(2, 6, 4, 1)).astype(np.float32)
    net = filled(layers, x)
    assert connect.save(net, tmp_path / "w.safetensors", x) == ()
    module = torch.nn.Sequential()
    for name, part in [
        ("conv", torch.nn.Conv2d(1, 3, 3, padding=1)), ("relu", torch.nn.ReLU()), ("pool", torch.nn.MaxPool2d(2)),
        ("flatten", torch.nn.Flatten()), ("norm", torch.nn.LayerNorm(18)), ("output", torch.nn.Linear(18, 2)),
    ]:  # fmt: skip
        module.add_module(name, part)
    module.load_state_dict({k: torch.from_numpy(a) for k, a in load_file(tmp_path / "w.safetensors").items()})
    y = module(torch.from_numpy(first_channels(x).copy())).detach().numpy()
    np.testing.assert_allclose(net.apply(net.params, net.state, jnp.asarray(x))[0], y, rtol=1e-4, atol=1e-5)
    again = connect.load(net, tmp_path / "w.safetensors", x=x)
    for path, a in weights(net).items():
        np.testing.assert_array_equal(weights(again)[path], a)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Sequential(Embed(5, 4), SwiGLU(6)), np.zeros((2, 3), np.int32)),
        (Sequential(Positions("learned", 6), TransformerBlock(2, norm="rms")), np.zeros((2, 6, 8), np.float32)),
    ],
)
def test_every_weight_comes_back(layer, x, tmp_path):
    net = filled(layer, x)
    connect.save(net, tmp_path / "w.safetensors", x)
    other = connect._with(net, {p: np.zeros_like(a) for p, a in weights(net).items()})
    back = connect.load(other, tmp_path / "w.safetensors", x=x)
    for path in flatten(net.params):
        np.testing.assert_array_equal(weights(back)[path], weights(net)[path])


def test_names_and_mistakes(tmp_path):
    x = np.zeros((1, 4), np.float32)
    net = filled(Sequential(("hidden1", Dense(3)), ("output", Dense(2))), x)
    theirs = connect.state_dict(net, x)
    renamed = {k.replace("hidden1", "fc.1").replace("output", "head"): a for k, a in theirs.items()}
    back = connect.load_state_dict(net, renamed, names={"fc.1": "hidden1", "head": "output"}, x=x)
    np.testing.assert_array_equal(weights(back)["hidden1/w"], weights(net)["hidden1/w"])
    with pytest.raises(NetworkError, match=r"'hidden1' are missing(?s:.*)hidden1\.weight"):
        connect.load_state_dict(net, renamed, x=x)
    with pytest.raises(NetworkError, match="left over"):
        connect.load_state_dict(net, {**theirs, "more.weight": np.zeros(2)}, x=x)
    with pytest.raises(NetworkError, match="another shape"):
        connect.load_state_dict(net, {**theirs, "hidden1.weight": np.zeros((3, 5))}, x=x)
    with pytest.raises(NetworkError, match="number of axes"):
        connect.load_state_dict(net, {**theirs, "hidden1.weight": np.zeros((3, 5, 1))}, x=x)
    part = {k: a + 1 for k, a in theirs.items() if k.startswith("output")}
    back = connect.load_state_dict(net, {**part, "more": np.zeros(1)}, strict=False, x=x)
    np.testing.assert_array_equal(weights(back)["output/b"], weights(net)["output/b"] + 1)
    np.testing.assert_array_equal(weights(back)["hidden1/b"], weights(net)["hidden1/b"])
    with pytest.raises(DataError, match="cannot be read"):
        connect.load(net, tmp_path / "none", x=x)
    (tmp_path / "w.pt").write_bytes(b"PK no safetensors")
    with pytest.raises(DataError, match="no safetensors file"):
        connect.load(net, tmp_path / "w.pt", x=x)
