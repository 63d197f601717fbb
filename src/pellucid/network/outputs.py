"""What leaves every layer, for some examples: for pictures and probes, not for training."""

from functools import partial
from typing import Any

import jax
import numpy as np

from pellucid.network.layer import Context, Layer
from pellucid.network.network import Network
from pellucid.network.probes import Probes
from pellucid.network.trace import trace


class OutputTaps(Probes):
    """Keeps each output of a leaf; of a layer that is passed several times, the last."""

    def __init__(self) -> None:
        super().__init__({})

    def tap(self, path: str, y: Any) -> Any:
        self.taken[path] = y
        return y


@partial(jax.jit, static_argnums=0)
def _outputs(layer: Layer, params: Any, state: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    taps = OutputTaps()
    y = Context(state=state, probes=taps).run(layer, params, x)
    return y, taps.taken


def layer_outputs(network: Network, x: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(the network's raw outputs, {path: what leaves that layer, [n, ...]}) for encoded examples x [n, ...], in forward
    order. Layers inside a loop over steps (`ctx.scan`) are left out.

    >>> from pellucid.network.architectures import mlp
    >>> net = mlp((3,), outputs=2).initialised(jax.random.key(0), np.zeros((1, 4), np.float32))
    >>> y, found = layer_outputs(net, np.ones((5, 4), np.float32))
    >>> {path: value.shape for path, value in found.items()}
    {'input': (5, 4), 'flatten': (5, 4), 'hidden1': (5, 3), 'relu1': (5, 3), 'output': (5, 2)}
    """
    params, state = network._weights()
    y, found = _outputs(network.layer, params, state, x)
    # a compiled function gives its dicts back in the order of their names
    order = dict.fromkeys(leaf.path for leaf in trace(network.layer, x).leaves if leaf.path in found) | found
    return np.asarray(y), {path: np.asarray(found[path]) for path in order}
