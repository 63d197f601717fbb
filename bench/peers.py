"""The rows of `architectures.py` in other libraries on JAX: Keras 3 and Flax NNX, each as its own documentation has it.

`keras(row, data)` trains by `model.fit`; `flax(row, data)` by a jitted `nnx` step a batch with optax's Adam. Both give
what the benchmark wants of a contender: {"seconds": [of an epoch, ...], "loss": ...}.
"""

import os
import time
from typing import Any

import numpy as np

LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 4, 4, 128, 64, 65


def kind_and_width(row: str) -> tuple[str, int]:
    """ "lstm128" -> ("lstm", 128)"""
    kind = row.rstrip("0123456789")
    return kind, int(row.removeprefix(kind))


def keras(row: str, data: tuple[np.ndarray, np.ndarray, int], epochs: int) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras as k

    x, y, batch = data
    k.utils.set_random_seed(0)
    model = keras_model(k, row)
    model.compile(optimizer=k.optimizers.Adam(1e-3), loss=k.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Clock(k.callbacks.Callback):
        seconds: list[float] = []  # noqa: RUF012  (one process, one training)

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds.append(time.perf_counter() - self.start)

    clock = Clock()
    history = model.fit(x, y, batch_size=batch, epochs=epochs + 1, verbose=0, callbacks=[clock])
    return {"seconds": clock.seconds[1:], "loss": float(history.history["loss"][-1])}


def keras_model(k, row: str):
    layers = k.layers
    if row.startswith("cnn"):
        shape = (28, 28, 1) if row == "cnn28" else (32, 32, 3)
        block = lambda width: (layers.Conv2D(width, 3, padding="same", activation="relu"), layers.MaxPool2D(2))  # noqa: E731
        return k.Sequential(
            [k.Input(shape), *block(32), *block(64), layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10)]
        )
    if row == "transformer":
        return keras_transformer(k)
    kind, width = kind_and_width(row)
    cell = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[kind]
    return k.Sequential([k.Input((64, 32)), cell(width), layers.Dense(10)])


def keras_transformer(k):
    layers, ops = k.layers, k.ops
    ids = k.Input((CONTEXT,), dtype="int32")
    table = layers.Embedding(VOCABULARY, WIDTH)
    x = table(ids) + layers.Embedding(CONTEXT, WIDTH)(ops.arange(CONTEXT)[None])
    for _ in range(LAYERS):
        h = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(h, h, use_causal_mask=True)
        h = layers.Dense(4 * WIDTH, "gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(WIDTH)(h)
    return k.Model(ids, layers.Dense(VOCABULARY, use_bias=False)(layers.LayerNormalization()(x)))


def flax(row: str, data: tuple[np.ndarray, np.ndarray, int], epochs: int) -> dict[str, Any]:
    import jax
    import optax
    from flax import nnx

    x, y, batch = data
    model = flax_model(nnx, row)
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss_of(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        loss, gradient = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradient)
        return loss

    x, y = jax.device_put(x), jax.device_put(y)
    seconds, loss, random = [], None, np.random.default_rng(0)
    for _ in range(epochs + 1):
        start, order = time.perf_counter(), random.permutation(len(x))
        for i in range(0, len(x), batch):
            pick = order[i : i + batch]
            loss = step(model, optimizer, x[pick], y[pick])
        jax.block_until_ready(loss)
        seconds.append(time.perf_counter() - start)
    assert loss is not None
    return {"seconds": seconds[1:], "loss": float(loss)}


def flax_model(nnx, row: str):
    rngs = nnx.Rngs(0)
    if row.startswith("cnn"):
        side, channels = (28, 1) if row == "cnn28" else (32, 3)

        class Convolutions(nnx.Module):
            def __init__(self):
                self.conv1 = nnx.Conv(channels, 32, (3, 3), rngs=rngs)
                self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
                self.dense = nnx.Linear(64 * (side // 4) ** 2, 128, rngs=rngs)
                self.out = nnx.Linear(128, 10, rngs=rngs)

            def __call__(self, x):
                for conv in (self.conv1, self.conv2):
                    x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
                return self.out(nnx.relu(self.dense(x.reshape(len(x), -1))))

        return Convolutions()
    if row == "transformer":
        return flax_transformer(nnx, rngs)
    kind, width = kind_and_width(row)
    cell = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[kind]

    class Recurrent(nnx.Module):
        def __init__(self):
            self.rnn, self.out = nnx.RNN(cell(32, width, rngs=rngs)), nnx.Linear(width, 10, rngs=rngs)

        def __call__(self, x):
            return self.out(self.rnn(x)[:, -1])

    return Recurrent()


def flax_transformer(nnx, rngs):
    import jax.numpy as jnp

    class Block(nnx.Module):
        def __init__(self):
            self.norm1, self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
            self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

        def __call__(self, x):
            x = x + self.attention(self.norm1(x), mask=nnx.make_causal_mask(x[..., 0]))
            return x + self.down(nnx.gelu(self.up(self.norm2(x))))

    class GPT(nnx.Module):
        def __init__(self):
            self.table = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
            self.places = nnx.Embed(CONTEXT, WIDTH, rngs=rngs)
            self.blocks = nnx.List([Block() for _ in range(LAYERS)])
            self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

        def __call__(self, ids):
            x = self.table(ids) + self.places(jnp.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.table.attend(self.norm(x))

    return GPT()
