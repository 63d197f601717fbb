"""A Flax NNX module with batch normalisation and dropout, trained by Pellucid."""

import jax
from flax import nnx

import pellucid as pc


class Classifier(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(13, 32, rngs=rngs)
        self.norm = nnx.BatchNorm(32, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.output = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # [batch, 13] -> [batch, 3]
        return self.output(self.dropout(jax.nn.relu(self.norm(self.hidden(x)))))


net = pc.connect.jax.from_flax(Classifier(nnx.Rngs(0)))
run = pc.fit(net, "wine", learning_rate=0.01, epochs=50, out=None)

print(f"test accuracy {run.result['test']['accuracy']:.3f} after {run.result['epochs']} epochs")
print("running state:", ", ".join(sorted(run.network.state["classifier"]["norm"])))
