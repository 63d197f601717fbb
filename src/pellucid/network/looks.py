"""Where attention looks: the weights that layers of attention give to the steps, for some examples. For pictures, not
for training, which never forms them all at once."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.network.attention import Attention
from pellucid.network.dense import weighted
from pellucid.network.layer import Context, Layer, Params
from pellucid.network.network import Network
from pellucid.network.seq2seq import BahdanauDecoder, LuongAttention, attended, bahdanau, luong


@dataclass
class _Watching(Context):
    """A pass that works out anew, for each layer of attention, what it looked at."""

    params: Params = field(default_factory=dict)
    looks: dict[str, jax.Array] = field(default_factory=dict)

    def _tap(self, part: Layer, x: Any, y: Any) -> Any:
        own = self.params
        for name in self.parts:
            own = own.get(name, {})
        if isinstance(part, Attention):
            self.looks[self.path] = part.look(own, x, self.valid)
        elif isinstance(part, LuongAttention):
            h, memory, real = x
            self.looks[self.path] = attended(luong(h, memory, own.get("k")), memory, real)[0][:, None]
        elif isinstance(part, BahdanauDecoder):
            self.looks[self.path] = _of_decoder(part, own, x, y)[:, None]
        return super()._tap(part, x, y)


def _of_decoder(part: BahdanauDecoder, p: Params, x: Any, y: jax.Array) -> jax.Array:
    """[batch, target, source], from the states that the decoder was in before each step."""
    _, first, memory, real = x
    states = y[..., : part.cell.width]
    before = jnp.concatenate([first[:, None], states[:, :-1]], axis=1)  # [batch, target, width]
    keys = weighted(memory, p["k"])
    scores = jax.vmap(lambda h: bahdanau(h, keys, p["q"], p["o"]), in_axes=1, out_axes=1)(before)
    return attended(scores, memory, real)[0]


@partial(jax.jit, static_argnums=0)
def _looks(layer: Layer, params: Params, state: Params, x: Any) -> tuple[Any, dict[str, jax.Array]]:
    ctx = _Watching(state=state, params=params)
    y = ctx.run(layer, params, x)
    return y, ctx.looks


def attention_looks(network: Network, x: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(the network's raw outputs, {path of a layer of attention: [n, heads, steps, looked at]}) for encoded examples x
    [n, ...], in forward order; nothing where nothing attends. Each row adds up to 1, or to 0 where there is nothing to
    look at.

    >>> from pellucid.network.composite import Sequential
    >>> net = Network(Sequential(("look", Attention(2)))).initialised(jax.random.key(0), jnp.zeros((1, 5, 4)))
    >>> {path: value.shape for path, value in attention_looks(net, jnp.ones((3, 5, 4)))[1].items()}
    {'look': (3, 2, 5, 5)}
    """
    params, state = network._weights()
    y, found = _looks(network.layer, params, state, x)
    return np.asarray(y), {path: np.asarray(value) for path, value in found.items()}
