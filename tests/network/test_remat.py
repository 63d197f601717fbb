"""Blocks computed again: the same gradients and running state, in less memory, whatever passes between the blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.network.activations import Tanh
from pellucid.network.composite import Residual, Sequential
from pellucid.network.dense import Dense, Dropout, Embed, Output
from pellucid.network.layer import Context
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm
from pellucid.network.pool import GlobalPool
from pellucid.network.probes import Probes
from pellucid.network.recurrent import GRU
from pellucid.network.remat import Blocks, in_blocks
from pellucid.network.transformer import TiedEmbedding, TransformerBlock

PARTS = [part for _ in range(4) for part in (Dense(6), Tanh())]
NETWORKS = {
    "running state": Sequential(*PARTS, BatchNorm(), *PARTS, Output(2)),
    "dropout": Sequential(*PARTS, Dropout(0.5), *PARTS, Output(2)),
    "ids, and steps that only fill up": Sequential(
        Embed(5, 6, padding=True), GRU(6), *(Residual(Dense(6)) for _ in range(6)), GlobalPool(), Output(2)
    ),
    "inside another layer": TiedEmbedding(5, 4, Sequential(*(TransformerBlock(2, factor=1) for _ in range(3)))),
}


@pytest.mark.parametrize("layer", NETWORKS.values(), ids=NETWORKS.keys())
def test_gradients_signals_and_running_state_are_those_without(layer):
    ids = isinstance(layer, TiedEmbedding) or isinstance(layer.layers[0][1], Embed)
    rng = np.random.default_rng(0)
    x = np.array([[1, 2, 3, 0], [4, 1, 0, 0], [2, 2, 2, 2]]) if ids else rng.normal(size=(3, 4))
    plan = in_blocks(layer, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    assert plan is not None and plan.blocks >= 2 and plan.kept <= 0.75 * plan.all

    def found(layer, params, x):
        def loss(params, slots):
            ctx = Context(
                train=True, key=jax.random.key(7), state=network.state, reverse_only=True, probes=Probes(slots)
            )
            y = ctx.run(layer, params, x)
            return jnp.square(y - 1).sum(), (ctx.updates, ctx.probes.taken)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, Probes.empty(watched))

    with jax.enable_x64(True):
        x = jnp.asarray(x)
        network = Network(layer).initialised(jax.random.key(1), x)
        params = jax.tree.map(lambda a: a.astype("float64"), network.params)
        watched = ("embed1", "gru1") if ids and isinstance(layer, Sequential) else ()
        run = jax.jit(found, static_argnums=0)
        plain, blocks = run(layer, params, x), run(plan.layer, params, x)
    assert jax.tree.structure(plain) == jax.tree.structure(blocks)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(blocks), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_compiled_step_takes_less_memory():
    layer = Sequential(*[part for _ in range(12) for part in (Dense(64), Tanh())])
    x = jax.ShapeDtypeStruct((2048, 64), "float32")
    plan = in_blocks(layer, jax.ShapeDtypeStruct((1, 64), "float32"))
    params = jax.eval_shape(lambda: Network(layer).init(jax.random.key(0), jnp.zeros((1, 64)))[0])

    def temporary(layer):
        def loss(params, x):
            return jnp.square(Context(train=True, reverse_only=True).run(layer, params, x)).sum()

        return jax.jit(jax.grad(loss)).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary(plan.layer) < 0.75 * temporary(layer)


def test_what_is_not_worth_cutting_is_left_whole():
    shape = jax.ShapeDtypeStruct((1, 4), "float32")
    assert in_blocks(Sequential(Dense(8), Tanh(), Output(2)), shape) is None
    assert in_blocks(Dense(8), shape) is None


def test_the_last_block_is_not_computed_twice():
    plan = in_blocks(Sequential(*PARTS), jax.ShapeDtypeStruct((1, 6), "float32"))
    assert isinstance(plan.layer, Blocks) and plan.layer.cuts[0] == 0 and plan.layer.cuts[-1] == 8
    text = str(jax.make_jaxpr(jax.grad(lambda x: Context(reverse_only=True).run(plan.layer, _zeros(plan), x).sum()))(
        jnp.ones((1, 6))
    ))  # fmt: skip
    assert text.count("tanh") == 4 + (4 - (8 - plan.layer.cuts[-2]) // 2)


def _zeros(plan):
    return {
        name: {"w": jnp.zeros((6, 6)), "b": jnp.zeros(6)} for name, part in plan.layer.whole.layers if part != Tanh()
    }
