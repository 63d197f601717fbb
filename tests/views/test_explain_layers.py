"""`explain` through convolutions, recurrent layers and attention: each against `jax.grad`, and what is said of it."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import NetworkError
from pellucid.network.activations import Activation
from pellucid.network.attention import Attention, Positions
from pellucid.network.composite import Parallel, Residual, Sequential
from pellucid.network.conv import Conv, Grey, Upsample
from pellucid.network.dense import Dense, Embed, Flatten, Input
from pellucid.network.layer import nest
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm, LayerNorm, RMSNorm
from pellucid.network.pool import AvgPool, GlobalPool, MaxPool
from pellucid.network.recurrent import GRU, LSTM, RNN, Bidirectional, Steps
from pellucid.network.seq2seq import EncoderDecoder
from pellucid.network.trace import trace
from pellucid.network.transformer import SwiGLU, TiedEmbedding, TransformerBlock
from pellucid.train.losses import Loss
from pellucid.views.explain import to_json, walk
from pellucid.views.explain_conv import gather, geometry
from pellucid.views.explain_stage import every
from pellucid.views.explain_text import written
from pellucid.views.explain_text_recurrent import verdict
from pellucid.views.explain_words import Wish

IMAGE = np.random.default_rng(0).normal(size=(7, 6, 4))
STEPS = np.random.default_rng(1).normal(size=(6, 3))
SHORT = np.where(np.arange(6)[:, None] < 4, STEPS, np.nan).astype("float32")  # two steps that only fill up
IDS = np.array([3, 1, 2, 1, 0, 0], np.int32)


def network(*layers, x):
    """With weights drawn by NumPy, none of them 0 or 1 for all, and running variances above 0."""
    top = layers[0] if len(layers) == 1 else Sequential(*layers)
    draw = np.random.default_rng(2)
    weights, state = {}, {}
    for path, param in trace(top, jax.ShapeDtypeStruct((1, *x.shape), x.dtype)).declared.items():
        values = draw.uniform(0.5, 1.5, param.shape) if not param.trained else 0.4 * draw.normal(size=param.shape)
        (weights if param.trained else state)[path] = jax.numpy.asarray(values, "float32")
    return Network(top, nest(weights), nest(state))


def followed(*layers, x, y=1, **more):
    made = walk(network(*layers, x=x.astype("float32") if x.dtype.kind == "f" else x), x, np.int32(y), CROSS, **more)
    assert made.check.relative < 1e-11
    assert made.loss.value == pytest.approx(made.check.loss, rel=1e-11)
    return made


CROSS = Loss.of("cross_entropy")


def text_of(made, wish=None, names=(), labels=None, **more):
    labels = labels or [str(i) for i in range(made.loss.outputs.shape[-1])]
    lines = [line for line, _ in written(made, wish or Wish(), names, labels, **more)]
    assert max(map(len, lines)) <= 80
    return "\n".join(lines)


# -- against jax.grad -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers",
    [
        [Conv(6, (3, 2), stride=2), Activation.of("tanh"), MaxPool(2)],
        [Conv(6, 3, padding="valid", dilation=2), BatchNorm(), AvgPool(2)],
        [Conv(6, 3, padding=1, groups=2, stride=(2, 1)), MaxPool(3, 2, "same")],
        [Conv(4, 2, padding=((1, 0), (0, 2)), groups=4, bias=False), AvgPool(3, 2, padding=1)],
        [Conv(5), Residual(Sequential(Conv(3), BatchNorm()), Conv(3, 1)), Residual(Conv(3)), GlobalPool()],
        [Parallel(Conv(2), Conv(3, 1)), Parallel(Conv(4), Conv(4, 1), combine="mean"), GlobalPool("max")],
    ],
)
def test_images_agree_with_jax(layers):
    made = followed(*layers, Flatten(), Dense(3), x=IMAGE)
    text_of(made)


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(1, 3), stride=st.integers(1, 3), dilation=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid", 0, 1]), length=st.integers(5, 9),
)  # fmt: skip
def test_what_a_window_sees_adds_up_to_the_layer(size, stride, dilation, padding, length):
    """The windows of `explain`, which know nothing of the network's, give the network's own convolution."""
    layer = Conv(2, size, stride, padding, dilation, bias=False)
    x = np.random.default_rng(length).normal(size=(length, length + 1, 3)).astype("float32")
    w = np.random.default_rng(0).normal(size=(size, size, 3, 2)).astype("float32")
    theirs = np.asarray(layer.apply({"w": w}, jax.numpy.asarray(x)[None], None))[0]
    np.testing.assert_allclose(np.tensordot(gather(x, geometry(layer, x)), w, 3), theirs, atol=1e-5)


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
@pytest.mark.parametrize("each_step", [False, True])
def test_recurrent_layers_agree_with_jax(cell, each_step):
    """Stacked, the first reading backwards, with steps that only fill up."""
    layers = Input(padded=True), cell(4, backwards=True), cell(3, each_step=each_step), Dense(3)
    net = network(*layers, x=SHORT)
    y = np.array([0, 1, 2, 1, -1, -1], np.int32) if each_step else np.int32(1)
    made = walk(net, SHORT, y, CROSS)
    assert made.check.relative < 1e-11
    assert f"{cell.__name__.lower()}2: backpropagation through time" in text_of(made)


@pytest.mark.parametrize(
    "layers",
    [
        [Input(padded=True), Conv(4, 3, stride=2), MaxPool(2), GlobalPool()],
        [Input(padded=True), Conv(4, 3), AvgPool(2, padding="same"), GlobalPool("max")],
        [Input(padded=True), Bidirectional(GRU(3, each_step=False))],
        [Input(padded=True), Dense(8), Attention(2), SwiGLU(5), RMSNorm(), GlobalPool()],
    ],
)
def test_short_sequences_agree_with_jax(layers):
    made = walk(network(*layers, Dense(3), x=SHORT), SHORT, np.int32(1), CROSS)
    assert made.check.relative < 1e-11
    text_of(made)


@pytest.mark.parametrize(
    "block",
    [
        TransformerBlock(2, True, "post", "rms", "swiglu", rotary=True),
        TransformerBlock(2, feed_forward="relu", bias=False),
        TransformerBlock(4, True),
    ],
)
def test_transformers_agree_with_jax(block):
    followed(Embed(5, 8, padding=True), Positions("sinusoidal", 8), block, LayerNorm(), GlobalPool(), Dense(3), x=IDS)


@functools.cache
def language_model():
    body = Sequential(Positions("learned", 8), ("block", TransformerBlock(2, True)), RMSNorm())
    return walk(network(TiedEmbedding(5, 8, body), x=IDS), IDS, np.array([1, 2, 1, 0, 0, 4], np.int32), CROSS)


def test_a_language_model_agrees_with_jax():
    assert language_model().check.relative < 1e-11


@pytest.mark.parametrize(("cell", "attention"), [(GRU(3), "luong"), (LSTM(4), "bahdanau"), (GRU(3), "none")])
def test_sequence_to_sequence_agrees_with_jax(cell, attention):
    ids = np.array([3, 1, 2, 0, 0, 1, 4, 2, 0], np.int32)
    layers = EncoderDecoder(5, Embed(6, 4, padding=True), cell, attention), Dense(6)
    made = walk(network(*layers, x=ids), ids, np.array([4, 2, 3, -1], np.int32), CROSS)
    assert made.check.relative < 1e-11
    assert ("over 3 steps of the source" in text_of(made)) == (attention != "none")


# -- what is said -----------------------------------------------------------------------------------------------------


def test_a_convolution_is_told_by_pixels_filter_and_sum():
    image = np.arange(16.0).reshape(4, 4)
    net = network(Input(), Grey(), ("conv", Conv(1, 2, padding="valid")), Flatten(), Dense(2), x=image)
    w = np.array([[1.0, -1.0], [0.5, 2.0]]).reshape(2, 2, 1, 1)
    net.params["conv"] = {"w": jax.numpy.array(w), "b": jax.numpy.array([0.25])}
    net.state["input1"] = {"mean": jax.numpy.array(0.0), "scale": jax.numpy.array(1.0)}
    made = walk(net, image, np.int32(1), CROSS)
    text = text_of(made, Wish("conv", 1, place=(2, 3)))
    # pixels 6 7 / 10 11, filter 1 -1 / 0.5 2: 6 - 7 + 5 + 22 + 0.25
    assert "filter 1 at place (2, 3): rows 2 to 3, columns 3 to 4" in text
    numbers = " ".join(text.split())
    assert "6 7 6 7 1.00 -1.00 6 -7 10 11 10 11 0.50 2.00 5 22" in numbers  # pixels, x, w, x·w
    assert "z1 = 26 + 0.25 = 26.25" in text
    conv = made.stages[2]
    assert conv.gradients["b"][0] == pytest.approx(conv.dy.sum())
    whole = sum(image[i : i + 2, j : j + 2] * conv.dy[i, j, 0] for i in range(3) for j in range(3))
    np.testing.assert_allclose(conv.gradients["w"][:, :, 0, 0], whole)
    assert "the sum over 9: dL/dw" in text


def test_gates_are_told_by_name_and_number():
    made = followed(GRU(4, each_step=False), Dense(3), x=STEPS)
    gates = made.stages[0].kept["steps"][2]
    text = text_of(made, Wish("gru1", 2, step=3))
    assert f"= {gates['r'][1]:.4g}   reset gate" in text.replace("\n          ", " ")
    assert f"= {gates['s'][1]:.4g}   update gate" in text.replace("\n          ", " ")
    assert "step 3, unit 2:" in text and f"= {made.stages[0].kept['h'][2][1]:.4g}" in text


@pytest.mark.parametrize(("size", "said"), [(0.05, "It vanishes"), (1.0, "It lasts"), (4.0, "It explodes")])
def test_the_gradient_through_time_is_measured_and_told(size, said):
    """h_t = size · h_{t-1}: the gradient is multiplied by exactly that, once a step."""
    net = network(RNN(1, each_step=False, activation="identity"), Dense(2), x=STEPS)
    net.params["rnn1"]["u"] = jax.numpy.array([[size]])
    made = walk(net, STEPS, np.zeros(2), Loss.of("mean_squared_error"))
    text = " ".join(text_of(made).split())
    assert said in text and f"× {size:.3g} a step" in text
    sizes = np.abs(made.stages[0].kept["dh"][:, 0])
    np.testing.assert_allclose(sizes[:-1] / sizes[1:], size, rtol=1e-6)


def test_no_gradient_and_a_single_step_are_told():
    assert verdict(np.array([1.0])) == "There is one step only."
    assert verdict(np.array([0.0, 0.0])) == "No gradient arrives from this loss."
    assert "nothing at all" in verdict(np.array([1.0, 0.0]))


def test_with_a_loss_at_every_step_one_is_followed_back():
    net = network(RNN(3), Dense(3), x=STEPS)
    made = walk(net, STEPS, np.array([0, 1, 2, 0, 1, 2], np.int32), CROSS, step=3)
    kept = made.stages[0].kept
    assert kept["of step"] == 3 and not kept["dh alone"][4:].any() and kept["dh alone"][:4].all()
    text = text_of(made, Wish(step=4))
    assert "of the loss at step 4 alone" in text and "perplexity e^L" in " ".join(text.split())
    assert text.index("\n         4  ") < text.index("\n         1  ")


def test_a_head_is_told_by_scores_weights_and_what_it_takes():
    made = language_model()
    attention = next(s for s in every(made.stages) if s.kind == "attention")
    text = text_of(made, Wish("body/block/attention", step=3, head=2), vocabulary="abcde")
    assert "head 2 at step 3 'c', which may look at 3 of 6 steps" in text
    scores, weights = attention.kept["scores"][1, 2], attention.kept["weights"][1, 2]
    assert weights[:3].sum() == pytest.approx(1) and not weights[3:].any()
    for i, name in enumerate("dbc"):
        assert f"{i + 1}  '{name}'" in text and f"{scores[i]:.4g}" in text and f"{weights[i]:.4g}" in text
    q, k = attention.kept["q"][2, 1], attention.kept["k"][:3, 1]
    np.testing.assert_allclose(scores[:3], k @ q / np.sqrt(4))
    np.testing.assert_allclose(attention.kept["taken"][2, 1], weights[:3] @ attention.kept["v"][:3, 1])
    inside = text_of(made, Wish("body/block"))
    assert "body/block/norm1" in inside and "body/positions" not in inside


def test_deep_networks_are_told_in_brief():
    made = followed(*[Residual(Sequential(Dense(4), LayerNorm(), Dense(4)))] * 9, GlobalPool(), Dense(3), x=IMAGE)
    assert text_of(made).count("\n") < 200
    assert "--layer PATH shows a layer" in text_of(made)
    assert "z = Σ w·x + b, 4 → 4" in text_of(made, Wish("residual2/body/dense1"))


def test_all_numbers_of_a_composite_as_json():
    found = to_json(language_model())
    inside = {stage["path"]: stage["inside"] for stage in found["stages"]}
    assert np.shape(inside["body/block/attention"]["weights"]) == (2, 6, 6)
    found = to_json(followed(Steps(), LSTM(2, each_step=False), Dense(3), x=IMAGE))
    assert sorted(found["stages"][1]["inside"]["steps"][0]) >= ["back", "below", "c", "c before", "f", "g"]


def test_what_has_no_rule_is_named():
    with pytest.raises(NetworkError, match="cannot step through a layer 'upsample' yet") as caught:
        followed(Upsample(2), Flatten(), Dense(3), x=IMAGE)
    assert "conv" in str(caught.value) and "upsample1" in str(caught.value)
    with pytest.raises(NetworkError, match="a loss at every step only where"):
        walk(network(RNN(3), Dense(1), x=STEPS), STEPS, np.zeros((6, 1)), Loss.of("mean_squared_error"))
