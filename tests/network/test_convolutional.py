"""The convolutional architectures: what they are made of, that they learn, and what they refuse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pellucid.errors import NetworkError, SettingError
from pellucid.network.activations import ELU
from pellucid.network.architecture import Architecture, Arriving, find
from pellucid.network.composite import walk
from pellucid.network.conv import Conv
from pellucid.network.convolutional import CNN, LeNet, ResNet, cnn, lenet, resnet
from pellucid.network.dense import resolve_output
from pellucid.network.initial import Zeros
from pellucid.network.layer import Layer
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm
from pellucid.network.trace import trace


def made(text, shape, dtype="uint8", **more):
    """(path -> output shape of every leaf, how many weights) for 10 classes."""
    layer = resolve_output(find(text).build(Arriving(shape, dtype, **more)), 10)
    traced = trace(layer, jax.ShapeDtypeStruct((1, *shape), dtype))
    count = sum(int(np.prod(p.shape)) for p in traced.declared.values() if p.trained)
    assert Layer.from_json(json.loads(json.dumps(layer.to_json()))) == layer
    return {leaf.path: leaf.y.shape[1:] for leaf in traced.leaves}, count


def widths(layer):
    return [part.width for _, part in walk(layer) if isinstance(part, Conv)]


@pytest.mark.parametrize(("side", "expected"), [
    (2, [32]), (8, [32]), (16, [32, 64]), (28, [32, 64]), (32, [32, 64, 128]), (64, [32, 64, 128, 256]),
    (224, [32, 64, 128, 256, 256]), (1024, [32, 64, 128, 256, 256, 256]),
])  # fmt: skip
def test_cnn_is_sized_by_the_image(side, expected):
    assert widths(CNN().build(Arriving((side, side + 9, 3)))) == expected


def test_cnn_is_what_its_settings_say():
    shapes, count = made("cnn:4,8,repeat=2,norm=none,activation=elu,dense=0,size=5", (28, 30, 1))
    assert list(shapes)[:7] == ["input", "conv1a", "elu1a", "conv1b", "elu1b", "pool1", "conv2a"]
    assert shapes["pool2"] == (7, 7, 8) and list(shapes)[-3:] == ["flatten", "dropout", "output"]
    assert count == 25 * (4 + 16 + 32 + 64) + 4 + 4 + 8 + 8 + 7 * 7 * 8 * 10 + 10
    assert cnn((4,), "elu").layer.architecture == CNN((4,), ELU())
    assert CNN.parse("cnn:widths=8x16").widths == (8, 16)
    assert CNN().suggests() == {"batch_size": 64}


def test_cnn_reads_grey_images_without_channels_sequences_and_texts():
    assert made("cnn:4", (28, 28))[0]["conv1"] == (28, 28, 4)
    shapes, _ = made("cnn:4,8", (50, 3), "float32")
    assert shapes["pool2"] == (12, 8) and shapes["largest"] == (8,)
    text = CNN((4,)).build(Arriving((9,), "int32", vocabulary=7, padded=True))
    assert [name for name, _ in text.layers][:2] == ["embed", "conv1"]


def test_lenet_is_lenet():
    shapes, count = made("lenet", (28, 28, 1))
    assert shapes["conv1"] == (28, 28, 6) and shapes["pool2"] == (5, 5, 16)
    assert count == 61_706  # the count that is told everywhere for this form
    assert made("lenet:relu", (32, 32, 3))[0]["conv1"] == (28, 28, 6)
    assert made("lenet", (28, 28))[0]["pool2"] == (5, 5, 16)


@pytest.mark.parametrize(("text", "parameters"), [
    ("resnet:18", 11_173_962), ("resnet:34", 21_282_122),  # as the PyTorch code for CIFAR that most papers use has them
    ("resnet:20", 272_474), ("resnet:56", 855_770),  # 0.27 M and 0.85 M in the paper, whose shortcuts have no weights
])  # fmt: skip
def test_resnets_have_the_known_sizes(text, parameters):
    shapes, count = made(text, (32, 32, 3))
    assert count == parameters
    assert shapes["mean"] == (512,) if parameters > 10**7 else (64,)


def test_resnet_is_what_its_settings_say():
    assert widths(ResNet(20, width=2).build(Arriving((8, 8, 1))))[:2] == [32, 32]
    shapes, _ = made("resnet:20", (9, 7, 1))
    assert shapes["stage3_block3/body/norm2"] == (3, 2, 64)
    block = dict(walk(ResNet(20).build(Arriving((8, 8, 1)))))["stage1_block2/body/norm2"]
    assert isinstance(block, BatchNorm) and block.scale_initial == Zeros()  # the block begins as the identity


def test_cnn_learns_which_half_is_bright():
    net = cnn((4,), dense=8, outputs=2)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 32)
    x = rng.normal(0, 0.5, (32, 12, 12, 1)).astype("float32")
    x[y == 1, :6] += 1
    params, state = net.init(jax.random.key(0), x)
    update = optax.adam(3e-3)

    def loss(params, state):
        out, state = net.apply(params, state, x, train=True, key=jax.random.key(1))
        return optax.softmax_cross_entropy_with_integer_labels(out, jnp.asarray(y)).mean(), state

    def step(_, carry):
        params, state, opt, _ = carry
        (value, state), slopes = jax.value_and_grad(loss, has_aux=True)(params, state)
        changes, opt = update.update(slopes, opt)
        return optax.apply_updates(params, changes), state, opt, value

    first = jnp.float32(0)
    run = jax.jit(lambda carry: jax.lax.fori_loop(0, 60, step, carry))
    assert float(run((params, state, update.init(params), first))[-1]) < 0.1


def test_what_they_cannot_read_is_refused():
    def refusal(text, *data, **more):
        with pytest.raises(NetworkError) as caught:
            find(text).build(Arriving(*data, **more))
        return str(caught.value)

    for text in ("cnn", "lenet", "resnet"):
        assert "--network mlp" in refusal(text, (64,))
    assert "at most 3 widths for 8 places" in refusal("cnn:1,2,3,4", (8, 9, 1))
    assert "at least 12 x 12" in refusal("lenet", (8, 8, 1))
    assert "at least 4 x 4" in refusal("resnet", (2, 9, 1))
    assert "lstm" in refusal("cnn", (9,), "int32", vocabulary=5, each_step=True)
    for wrong in ("resnet:19", "resnet:18,width=0", "cnn:0", "cnn:dropout=1", "cnn:repeat=0", "cnn:8,widths=8"):
        with pytest.raises(SettingError):
            find(wrong)


def test_builders_and_names_agree():
    assert lenet("relu").layer.architecture == LeNet("relu") == Architecture.of("lenet:relu")
    assert resnet(20, width=2).layer.architecture == ResNet(20, 2.0)
    assert isinstance(cnn(outputs=3), Network)
