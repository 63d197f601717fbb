"""A Pellucid network in a training loop written by hand: `net.init` and `net.apply` are pure functions, optax does the
rest. One epoch is one compiled `lax.scan` over its batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import pellucid as pc

BATCH, EPOCHS = 32, 30

data = pc.prepare(pc.load("digits"))
train, test = data.train, data.test
mean, scale = data.features.mean, data.features.scale

net = pc.mlp((64,), activation="relu", outputs=10)
params, state = net.init(jax.random.key(0), jnp.zeros((1, 64)))
optimizer = optax.adam(1e-3)


def loss(params, state, x, y, key):
    logits, state = net.apply(params, state, x, train=True, key=key)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state


@jax.jit
def epoch(carry, xs, ys, keys):
    def step(carry, batch):
        params, state, opt = carry
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, *batch)
        updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), state, opt), value

    carry, losses = jax.lax.scan(step, carry, (xs, ys, keys))
    return carry, losses.mean()


def standardised(x):
    return jnp.asarray((x.reshape(len(x), -1) - mean.reshape(-1)) / scale.reshape(-1), jnp.float32)


x, y = standardised(train.x), jnp.asarray(train.y)
batches = len(x) // BATCH
carry = params, state, optimizer.init(params)
rng = np.random.default_rng(0)
for number in range(EPOCHS):
    rows = rng.permutation(len(x))[: batches * BATCH].reshape(batches, BATCH)
    keys = jax.random.split(jax.random.key(number), batches)
    carry, value = epoch(carry, x[rows], y[rows], keys)

logits, _ = net.apply(carry[0], carry[1], standardised(test.x))
print(f"training loss {value:.4f}, test accuracy {float((logits.argmax(-1) == test.y).mean()):.3f}")
