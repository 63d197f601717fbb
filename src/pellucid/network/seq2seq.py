"""From one sequence to another: an encoder reads the source, a decoder writes the target, and attends to the source.

x: [batch, source + target] token ids: the source, filled up with 0, then what the decoder is fed: the begin id and the
target without its last token ("teacher forcing"; when writing by itself, what it wrote). y: [batch, target, width].
"""

from typing import Literal

import jax
import jax.numpy as jnp

from pellucid.errors import NetworkError
from pellucid.network.architecture import Architecture, Arriving, Blueprint
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Embed, Output, weighted
from pellucid.network.initial import GlorotUniform, LeCunNormal
from pellucid.network.layer import Context, Layer, Param, layer
from pellucid.network.network import Network
from pellucid.network.precision import wide
from pellucid.network.recurrent import GRU, LSTM, Bidirectional, Recurrent, feed_back
from pellucid.spec import register

HIDDEN = -1e9  # the score of a step that only fills up a shorter source


def luong(h: jax.Array, memory: jax.Array, key: jax.Array | None) -> jax.Array:
    """score(h, m) = h·k·m, or h·m without k: how well each state of the memory suits each state of the decoder.

    h: [batch, target, n], memory: [batch, source, m], key: [n, m] -> [batch, target, source]. Luong et al. 2015.

    >>> luong(jnp.ones((1, 1, 2)), jnp.array([[[1.0, 2.0], [0.0, 1.0]]]), None).tolist()
    [[[3.0, 1.0]]]
    """
    return jnp.einsum("btm,bsm->bts", h if key is None else weighted(h, key), memory)


def bahdanau(h: jax.Array, keys: jax.Array, query: jax.Array, output: jax.Array) -> jax.Array:
    """score(h, m) = o·tanh(h·q + m·k), the products m·k given as `keys`, for they are the same at every step.

    h: [batch, n], keys: [batch, source, a], query: [n, a], output: [a] -> [batch, source]. Bahdanau et al. 2015.

    >>> bahdanau(jnp.zeros((1, 1)), jnp.array([[[0.0], [100.0]]]), jnp.ones((1, 1)), jnp.array([2.0])).tolist()
    [[0.0, 2.0]]
    """
    return jnp.tanh((h @ query)[:, None] + keys) @ output


def attended(scores: jax.Array, memory: jax.Array, real: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """(weights, context): the softmax of the scores over the source's real steps, and the memory's mean by them.

    scores: [batch, ..., source], memory: [batch, source, m], real: [batch, source]
    -> [batch, ..., source], [batch, ..., m].

    >>> weights, context = attended(jnp.zeros((1, 2)), jnp.array([[[1.0], [3.0]]]), None)
    >>> weights.tolist(), context.tolist()
    ([[0.5, 0.5]], [[2.0]])
    """
    scores = wide(scores)
    if real is not None:
        real = real.reshape(real.shape[0], *(1,) * (scores.ndim - 2), real.shape[1])
        scores = jnp.where(real, scores, HIDDEN)
    weights = jax.nn.softmax(scores, axis=-1).astype(memory.dtype)
    if scores.ndim == 2:
        return weights, jnp.einsum("bs,bsm->bm", weights, memory)
    return weights, jnp.einsum("bts,bsm->btm", weights, memory)


@layer
class LuongAttention(Layer):
    """y = tanh([context; h]·w + b): at every step h of the decoder, a look at the encoder's states ("memory").

    score(h, m) = h·k·m ("general"), or h·m ("dot", where both have one width); softmax over the source's real steps
    gives the weights, and the context is the memory's mean by them. Luong et al. 2015.
    x: (h [batch, target, n], memory [batch, source, m], real [batch, source]) -> y: [batch, target, width].

    >>> layer = LuongAttention(2, "dot")
    >>> shapes = [jax.ShapeDtypeStruct(s, "float32") for s in ((1, 4, 3), (1, 5, 3), (1, 5))]
    >>> {name: p.shape for name, p in layer.declare(tuple(shapes)).items()}
    {'w': (6, 2), 'b': (2,)}
    """

    width: int
    score: Literal["general", "dot"] = "general"

    def declare(self, x):
        h, memory, _ = x
        n, m = h.shape[-1], memory.shape[-1]
        if self.score == "dot" and n != m:
            raise NetworkError(
                "the score 'dot' needs a decoder as wide as the encoder's states", expected=m, got=n,
                fix="use score='general', or change one of the widths",
            )  # fmt: skip
        key = {"k": Param((n, m), GlorotUniform())} if self.score == "general" else {}
        return {**key, "w": Param((m + n, self.width), GlorotUniform()), "b": Param((self.width,))}

    def apply(self, p, x, ctx):
        h, memory, real = x
        _, context = attended(luong(h, memory, p.get("k")), memory, real)  # [batch, target, m]
        return jnp.tanh(weighted(jnp.concatenate([context, h], axis=-1), p["w"]) + p["b"])


@layer
class BahdanauDecoder(Layer):
    """A recurrent decoder that looks at the encoder's states before every step, and reads what it saw beside its input.

    score(h, m) = o·tanh(h·q + m·k), h being the state before the step; context as in `LuongAttention`; the cell then
    reads [input; context]. y = [h_t; context_t]. Bahdanau et al. 2015.
    x: (inputs [batch, target, n], first state [batch, width], memory [batch, source, m], real [batch, source])
    -> y: [batch, target, width + m].
    """

    cell: Recurrent

    def declare(self, x):
        inputs, _, memory, _ = x
        n, m, width = inputs.shape[-1], memory.shape[-1], self.cell.width
        own = self.cell.declare(jax.ShapeDtypeStruct((*inputs.shape[:2], n + m), inputs.dtype))
        look = {"q": (width, width), "k": (m, width), "o": (width,)}
        return {
            **own,
            **{name: Param(s, LeCunNormal() if name == "o" else GlorotUniform()) for name, s in look.items()},
        }

    def apply(self, p, x, ctx):
        inputs, first, memory, real = x
        keys = weighted(memory, p["k"])  # [batch, source, width]
        n, cell = inputs.shape[-1], self.cell
        z = (weighted(inputs, p["w"][:n]) + p["b"]).swapaxes(0, 1)  # -> [target, batch, gates * width]
        bias, feedback = cell.recurrent_bias(p), cell.split(p["u"])
        start = (first, *((jnp.zeros_like(first),) * (cell.states - 1)))

        def step(state, z):
            _, context = attended(bahdanau(state[0], keys, p["q"], p["o"]), memory, real)  # [batch, m]
            state = cell.bend(cell.split(z + context @ p["w"][n:]), feed_back(state[0], feedback, bias), state)
            return state, (state[0], context)

        _, (hs, contexts) = jax.lax.scan(step, start, z)
        return jnp.concatenate([hs, contexts], axis=-1).swapaxes(0, 1)


@layer
class EncoderDecoder(Layer):
    """The encoder reads the source forwards and backwards; the decoder begins with what it said last, and attends.

    attention: "luong" (after each step of the decoder), "bahdanau" (before it), or "none": all that the decoder knows
    of the source is one state (Sutskever et al. 2014). Source and target share the vectors of their tokens.
    x: [batch, source + target] ids -> y: [batch, target, width].
    """

    source: int
    embed: Embed
    cell: Recurrent
    attention: Literal["luong", "bahdanau", "none"] = "luong"
    dropout: float = 0.0

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        if x.shape[1] <= self.source:
            raise NetworkError(
                "there is no target behind the source", expected=f"more than {self.source} steps", got=list(x.shape)
            )
        read = self._drop(p, ctx.call("embed", self.embed, p, x[:, : self.source]), ctx)
        real = ctx.valid
        memory = ctx.call("encoder", Bidirectional(self.cell), p, read)  # [batch, source, 2 * width]
        written = self._drop(p, ctx.call("embed", self.embed, p, x[:, self.source :]), ctx)
        ctx.valid = None  # what is written is masked by the loss
        width = self.cell.width
        ends = jnp.concatenate([memory[:, -1, :width], memory[:, 0, width:]], axis=-1)  # where each direction ended
        first = jnp.tanh(ctx.call("bridge", Dense(width), p, ends))
        real = jnp.ones(memory.shape[:2], bool) if real is None else real
        if self.attention == "bahdanau":
            return ctx.call("decoder", BahdanauDecoder(self.cell), p, (written, first, memory, real))
        hs = ctx.call("decoder", self.cell, p, (written, first))
        if self.attention == "none":
            return hs
        return ctx.call("attention", LuongAttention(width), p, (hs, memory, real))

    def _drop(self, p, x, ctx):
        return ctx.call("dropout", Dropout(self.dropout), p, x) if self.dropout else x


@register("seq2seq")
class Seq2SeqArchitecture(Architecture):
    """An encoder and a decoder with attention, for pairs of texts: translation, spelling, reversing, sorting.

    width: of the recurrent layers.   cell: "gru" or "lstm".   attention: "luong", "bahdanau" or "none".

    >>> pairs = Arriving((22,), "int32", vocabulary=30, padded=True, each_step=True, source=10)
    >>> [name for name, _ in Seq2SeqArchitecture.parse("seq2seq:64").build(pairs).layers]
    ['pairs', 'output']
    """

    width: int = 128
    embed: int = 64
    cell: Literal["gru", "lstm"] = "gru"
    attention: Literal["luong", "bahdanau", "none"] = "luong"
    dropout: float = 0.0

    def check(self):
        for name in ("width", "embed"):
            if getattr(self, name) < 1:
                self.refuse(name, "a whole number >= 1")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "a share >= 0 and < 1")

    def build(self, data: Arriving) -> Sequential:
        if data.source is None:
            raise self.refuse_data(data, "pairs of texts", "use --task pairs for a file of pairs, or another network")
        cell = GRU(self.width) if self.cell == "gru" else LSTM(self.width)
        embed = Embed(None, self.embed, LeCunNormal(), padding=True)
        body = EncoderDecoder(data.source, embed, cell, self.attention, self.dropout)
        return Sequential(("pairs", body), ("output", Output()))

    def suggests(self):
        return {"optimizer": "adamw:learning_rate=0.003,clip_norm=1"}


def seq2seq(width: int = 128, *, cell: str = "gru", attention: str = "luong", dropout: float = 0.0) -> Network:
    """An encoder-decoder with attention, not initialised yet. See `Seq2SeqArchitecture` for the settings.

    >>> seq2seq(64, attention="bahdanau")
    Network(Blueprint(...), not initialised)
    """
    settings = {"width": width, "cell": cell, "attention": attention, "dropout": dropout}
    return Network(Blueprint(Seq2SeqArchitecture.make(settings)))
