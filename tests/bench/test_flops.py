"""The counted operations beside XLA's own count and published figures."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench.models import CNN, GPT, MLP, Recurrent, ResNet

from bench import flops, models


def shapes(model):
    return {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in model.shapes.items()}


def mlp(w, x):
    return jax.nn.relu(x @ w["dense1/w"] + w["dense1/b"]) @ w["dense2/w"] + w["dense2/b"]


def of(function, model, x):
    return (
        jax.jit(function).lower(shapes(model), jax.ShapeDtypeStruct(x, jnp.float32)).compile().cost_analysis()["flops"]
    )


def test_a_dense_networks_passes():
    model = MLP((784, 128, 10))
    assert of(mlp, model, (64, 784)) == pytest.approx(64 * flops.forward(model), rel=0.02)
    gradient = jax.grad(lambda w, x: jnp.square(mlp(w, x)).sum())
    assert of(gradient, model, (64, 784)) == pytest.approx(64 * flops.training(model), rel=0.03)


def test_a_convolutional_networks_pass():
    """XLA leaves out products with the zeros around an image, so it counts up to 2/side fewer on each axis."""
    model = CNN(28, 1)

    def forward(w, x):
        for i in (1, 2):
            x = jax.lax.conv_general_dilated(
                x, w[f"conv{i}/w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = x.reshape(-1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).max((2, 4))
        return x.reshape(len(x), -1) @ w["dense1/w"] @ w["dense2/w"]

    count = of(forward, model, (8, 28, 28, 1))
    assert 0.88 * flops.forward(model) < count / 8 < 1.03 * flops.forward(model)


def test_a_recurrent_networks_pass():
    model = Recurrent("lstm", 64, features=32, steps=3)

    def forward(w, x):
        h = c = jnp.zeros((len(x), 64))
        for step in range(3):
            i, f, g, o = jnp.split(x[:, step] @ w["cell/w"] + h @ w["cell/u"] + w["cell/b"], 4, axis=-1)
            c = f * c + i * g
            h = o * c
        return h @ w["out/w"]

    assert of(forward, model, (16, 3, 32)) / 16 == pytest.approx(flops.forward(model), rel=0.03)


def test_published_figures():
    assert flops.parameters(ResNet()) == 11_173_962  # ResNet-18 for CIFAR-10, as in kuangliu/pytorch-cifar
    assert round(flops.forward(ResNet()) / 2e9, 2) == 0.56  # its multiply-accumulates, in billions
    gpt = GPT()
    weights = flops.parameters(gpt) - gpt.context * gpt.width
    assert round(weights / 1e6, 2) == 0.80  # as nanoGPT prints it for this recipe
    a_token = 6 * weights + 12 * gpt.layers * gpt.width * gpt.context  # nanoGPT's estimate_mfu, after PaLM's appendix B
    assert flops.training(gpt) / gpt.context == pytest.approx(a_token, rel=0.002)


def test_bytes_and_initial_weights():
    model = Recurrent("gru", 8, features=3)
    assert flops.update_bytes(model, "sgd") == flops.parameters(model) * 8
    first, again = models.initial(model), models.initial(model)
    assert all(np.array_equal(first[path], again[path]) for path in first)
    assert {path: a.shape for path, a in first.items()} == model.shapes


@pytest.mark.parametrize("module", [flops, models])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
