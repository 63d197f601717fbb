"""A layer of one's own: settings, the weights it declares, and arithmetic. It is then used like any other."""

import jax.numpy as jnp

import pellucid as pc


@pc.layer
class Bumps(pc.Layer):
    """y_j = exp(-|x - c_j|^2 / (2 w_j^2)): each neuron answers near a centre of its own (Broomhead & Lowe 1988).

    x: [batch, n] -> y: [batch, width].   centre: [width, n], spread: [width] (its logarithm is learned).
    """

    width: int

    def declare(self, x):
        return {
            "centre": pc.Param((self.width, x.shape[-1]), "normal:1"),
            "log_spread": pc.Param((self.width,), "zeros"),
        }

    def apply(self, p, x, ctx):
        distance = jnp.square(x[:, None, :] - p["centre"]).sum(-1)  # [batch, 1, n] - [width, n] -> [batch, width]
        return jnp.exp(-distance / (2 * jnp.exp(2 * p["log_spread"])))


net = pc.Sequential(pc.Input(), Bumps(24), pc.Output())
run = pc.fit(net, "moons", optimizer="adam", learning_rate=0.02, epochs=60, out=None)

print(run.network.summary())
print(f"test accuracy {run.result['test']['accuracy']:.3f}")
