"""An Equinox module, trained, watched and saved by Pellucid."""

import tempfile

import equinox as eqx
import jax

import pellucid as pc

module = eqx.nn.MLP(4, 3, width_size=32, depth=2, key=jax.random.key(0))
net = pc.connect.jax.from_equinox(module)

with tempfile.TemporaryDirectory() as folder:
    run = pc.fit(net, "iris", learning_rate=0.01, epochs=50, out=folder)
    print(f"test accuracy {run.result['test']['accuracy']:.3f}; weights {', '.join(sorted(run.network.params['mlp']))}")

    # the files hold the weights, not the module's code: it is given again to load them
    again = pc.connect.jax.load(run.path, module)
    flowers = pc.load("iris").x
    print("loaded network agrees:", bool((again.predict(flowers) == run.network.predict(flowers)).all()))
