"""Transformers: blocks of attention and of a dense network that every step passes by itself. Vaswani et al. 2017."""

import math
from typing import Any, ClassVar, Literal, cast

import jax

from pellucid.native import calls
from pellucid.network.activations import GELU, ReLU
from pellucid.network.architecture import Architecture, Arriving, Blueprint
from pellucid.network.attention import Attention, Positions
from pellucid.network.composite import Sequential
from pellucid.network.dense import Dense, Dropout, Embed, Input, Output, by_kernel, weighted
from pellucid.network.initial import GlorotUniform, Initializer, Normal
from pellucid.network.layer import Context, Layer, Param, layer, width_of
from pellucid.network.network import Network
from pellucid.network.norm import LayerNorm, RMSNorm
from pellucid.network.pool import GlobalPool
from pellucid.spec import register

RATE, RATE_WIDTH = 0.002, 128  # AdamW's step size, and the width up to which it holds


@layer("swiglu")
class SwiGLU(Layer):
    """y = (silu(x·gate) * (x·up))·down: a hidden layer whose units are opened and closed by others. Shazeer 2020.

    x: [batch, ..., n] -> y: the same; gate, up: [n, width], down: [width, n]; no biases.

    >>> import jax.numpy as jnp
    >>> p = {"gate": jnp.array([[100.0]]), "up": jnp.array([[2.0]]), "down": jnp.array([[0.5]])}
    >>> SwiGLU(1).apply(p, jnp.array([[1.0], [-1.0]]), None).ravel().tolist()
    [100.0, 0.0]
    """

    width: int
    initial: Initializer = GlorotUniform()
    out_initial: Initializer = GlorotUniform()

    def check(self):
        if self.width < 1:
            self.refuse("width", "a whole number >= 1")

    def declare(self, x):
        n = width_of(x)
        gates = {name: Param((n, self.width), self.initial) for name in ("gate", "up")}
        return {**gates, "down": Param((self.width, n), self.out_initial)}

    def apply(self, p, x, ctx):
        return weighted(jax.nn.silu(weighted(x, p["gate"])) * weighted(x, p["up"]), p["down"])


@layer
class TransformerBlock(Layer):
    """Attention among the steps, then a dense network for each step; each is added to what came in.

        pre:   x + attention(norm1(x)),  then  x + feed_forward(norm2(x))      (GPT-2; trains without warm-up)
        post:  norm1(x + attention(x)),  then  norm2(x + feed_forward(x))      (Vaswani et al. 2017)

    feed_forward: "gelu" or "relu", a hidden layer `factor` times as wide, or "swiglu" (2/3 of that, so that it has as
    many weights).   norm: "layer" or "rms".   dropout: of the attention's weights and of what both parts add.
    x: [batch, steps, n] -> y: the same. See `Attention` for the other settings.
    """

    caches: ClassVar = True

    heads: int = 4
    causal: bool = False
    order: Literal["pre", "post"] = "pre"
    norm: Literal["layer", "rms"] = "layer"
    feed_forward: Literal["gelu", "relu", "swiglu"] = "gelu"
    factor: float = 4.0
    rotary: bool = False
    dropout: float = 0.0
    bias: bool = True
    context: int | None = None
    initial: Initializer = GlorotUniform()
    out_initial: Initializer = GlorotUniform()

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        attention = Attention(
            self.heads, self.causal, self.rotary, self.dropout, self.bias, context=self.context, initial=self.initial,
            out_initial=self.out_initial,
        )  # fmt: skip
        for number, (name, part) in enumerate((("attention", attention), ("feed_forward", self._dense(x))), 1):
            norm = LayerNorm(bias=self.bias) if self.norm == "layer" else RMSNorm()
            if self.order == "pre":
                y = ctx.call(name, part, p, ctx.call(f"norm{number}", norm, p, x))
                x = x + self._drop(ctx, f"dropout{number}", p, y)
            else:
                y = self._drop(ctx, f"dropout{number}", p, ctx.call(name, part, p, x))
                x = ctx.call(f"norm{number}", norm, p, x + y)
        return x

    def _dense(self, x) -> Layer:
        n = x.shape[-1]
        hidden = max(int(n * self.factor), 1)
        if self.feed_forward == "swiglu":
            return SwiGLU(max(hidden * 2 // 3, 1), self.initial, self.out_initial)
        bend = GELU(approximate=True) if self.feed_forward == "gelu" else ReLU()
        return Sequential(
            ("hidden", Dense(hidden, self.bias, self.initial)), ("bend", bend),
            ("back", Dense(n, self.bias, self.out_initial)),
        )  # fmt: skip

    def _drop(self, ctx: Context, name: str, p, y):
        return ctx.call(name, Dropout(self.dropout), p, y) if self.dropout else y


@layer
class TiedEmbedding(Layer):
    """The vectors of the tokens are looked up on the way in, and compared with on the way out: logits = body(w[x])·wᵀ.

    One array serves both (Press & Wolf 2017). vocabulary None: the data's, filled in by `fit`.
    x: ids [batch, steps] -> logits [batch, steps, vocabulary]; `body`: [batch, steps, width] -> the same.

    >>> from pellucid.network.activations import Identity
    >>> import jax.numpy as jnp
    >>> w = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> TiedEmbedding(2, 2, Identity()).apply({"w": w}, jnp.array([[0, 1]]), None).tolist()
    [[[1.0, 0.0], [0.0, 4.0]]]
    """

    full_precision: ClassVar = True

    vocabulary: int | None
    width: int
    body: Layer
    initial: Initializer = Normal(0.02)

    def check(self):
        Embed(self.vocabulary, self.width)  # the same bounds

    def declare(self, x):
        return Embed(self.vocabulary, self.width, self.initial).declare(x)

    def operations(self, x, y):
        return 2 * x.shape[1] * self.width * (self.vocabulary or 0)

    def apply(self, p, x, ctx):
        ctx = ctx or Context()
        y = ctx.call("body", self.body, p, ctx.low(Embed(self.vocabulary, self.width).apply(p, x, None)))
        w = ctx.low(p["w"])
        if by_kernel(y, w.T, None, ctx):
            return cast(jax.Array, calls.compared(y.reshape(-1, self.width), w)).reshape(*y.shape[:-1], len(w))
        return weighted(y, w.T)


@register("transformer")
class TransformerArchitecture(Architecture):
    """Transformer blocks: a language model (causal) for texts, an encoder with a mean over the steps for the rest.

    layers, heads, width: of the blocks.   positions: "rotary", "learned" or "sinusoidal".   tied: the logits come from
    the same vectors as the tokens (language models).   Initial weights: N(0, 0.02²), those that add to the stream
    smaller by sqrt(2 layers), as in GPT-2 (Radford et al. 2019). Rotary positions learn a small text faster than
    learned ones do (tinyshakespeare: 1.75 against 1.94 after the same 2,000 updates), and have no weights.

    >>> text = Arriving((64,), "uint8", vocabulary=65, each_step=True)
    >>> [name for name, _ in TransformerArchitecture.parse("transformer:2,4,32").build(text).body.layers]
    ['block1', 'block2', 'norm']
    """

    layers: int = 4
    heads: int = 4
    width: int = 128
    dropout: float = 0.0
    positions: Literal["rotary", "learned", "sinusoidal"] = "rotary"
    feed_forward: Literal["gelu", "relu", "swiglu"] = "gelu"
    norm: Literal["layer", "rms"] = "layer"
    order: Literal["pre", "post"] = "pre"
    factor: float = 4.0
    tied: bool = True
    bias: bool = False

    def check(self):
        for name in ("layers", "heads", "width"):
            if getattr(self, name) < 1:
                self.refuse(name, "a whole number >= 1")
        if self.width % self.heads:
            self.refuse("width", f"a multiple of heads ({self.heads})")
        if self.positions == "rotary" and self.width // self.heads % 2:
            self.refuse(
                "width", f"a multiple of {2 * self.heads}, for rotary positions turn pairs; or positions=learned"
            )
        if self.factor <= 0:
            self.refuse("factor", "a number > 0")
        if not 0 <= self.dropout < 1:
            self.refuse("dropout", "a share >= 0 and < 1")

    def build(self, data: Arriving) -> Layer:
        if data.each_step and data.source is None and data.vocabulary is not None:
            body = Sequential(*self._blocks(data.shape[0], causal=True))
            if self.tied:
                return TiedEmbedding(None, self.width, body)
            embed = ("embed", Embed(None, self.width, Normal(0.02)))
            return Sequential(embed, *body.layers, ("output", Output(initial=Normal(0.02))))
        if data.kind == "tokens":
            start: list[tuple[str, Layer]] = [("embed", Embed(None, self.width, Normal(0.02), padding=data.padded))]
        elif data.kind == "sequence":
            start = [("input", Input()), ("embed", Dense(self.width))]
        else:
            raise self.refuse_data(
                data, "texts, or sequences [steps, features]",
                "use --network cnn for images, mlp for rows, seq2seq for pairs",
            )  # fmt: skip
        blocks = self._blocks(data.shape[0], causal=False)
        return Sequential(*start, *blocks, ("mean", GlobalPool()), ("output", Output(initial=Normal(0.02))))

    def _blocks(self, context: int, causal: bool) -> list[tuple[str, Layer]]:
        parts: list[tuple[str, Layer]] = []
        if self.positions != "rotary":
            parts.append(("positions", Positions(self.positions, context)))
        if self.dropout:
            parts.append(("dropout", Dropout(self.dropout)))
        small = Normal(0.02 / math.sqrt(2 * self.layers))
        for number in range(1, self.layers + 1):
            block = TransformerBlock(
                self.heads, causal, self.order, self.norm, self.feed_forward, self.factor, self.positions == "rotary",
                self.dropout, self.bias, context, Normal(0.02), small,
            )  # fmt: skip
            parts.append((f"block{number}", block))
        if self.order == "pre":
            parts.append(("norm", LayerNorm(bias=self.bias) if self.norm == "layer" else RMSNorm()))
        return parts

    def suggests(self) -> dict[str, Any]:
        # nanoGPT's for small ones, but for the rate: 0.002 at width 128, as measured, and less for wider ones, whose
        # best rate falls (0.0008 at 768, where GPT-2 and its kin take 0.0003 to 0.0006 in far longer runs)
        rate = float(f"{RATE * min(1.0, math.sqrt(RATE_WIDTH / self.width)):.3g}")
        return {"optimizer": f"adamw:learning_rate={rate},b2=0.99,weight_decay=0.1,clip_norm=1"}


def transformer(
    layers: int = 4, heads: int = 4, width: int = 128, *, outputs: int | None = None, **settings: Any
) -> Network:
    """A transformer, not initialised yet. See `TransformerArchitecture` for the settings.

    >>> transformer(2, 2, 32, positions="rotary")
    Network(Blueprint(...), not initialised)
    """
    made = TransformerArchitecture.make({"layers": layers, "heads": heads, "width": width, **settings})
    return Network(Blueprint(made, outputs))
