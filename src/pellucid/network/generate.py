"""Writing: token by token from a language model, and whole targets from an encoder-decoder.

A language model is fed a piece at a time and keeps what it needs of the past (a recurrent state, or attention's keys
and values), with the same `apply` that trained it. What attends to a limited context begins anew, when that is full,
from the context's second half.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.errors import NetworkError, SettingError
from pellucid.network.composite import walk
from pellucid.network.layer import Context, Layer, Params
from pellucid.network.rows import pad_rows, power_of_two
from pellucid.network.trace import block_rows, carried_over

PIECE = 32  # tokens of a prompt that are fed at once


@partial(jax.jit, static_argnums=0)
def _advance(layer: Layer, params: Params, state: Params, ids: jax.Array, carried: Any) -> tuple[jax.Array, Any]:
    """The logits after the last of these ids [1, n], and what is kept for the next."""
    ctx = Context(state=state, carried=carried)
    outputs = ctx.run(layer, params, ids)
    return outputs[0, -1], ctx.kept


class Writer:
    """A language model in the middle of a text: `feed(ids)` gives the logits [vocabulary] of what comes next."""

    def __init__(self, layer: Layer, params: Params, state: Params):
        self.layer, self.params, self.state = layer, params, state
        limits = (getattr(part, "context", None) for _, part in walk(layer) if part.caches)
        self.context: int | None = min((limit for limit in limits if limit), default=None)
        self.begin()

    def begin(self) -> None:
        """Forget everything."""
        shapes = carried_over(self.layer, jax.ShapeDtypeStruct((1, 1), "int32"))
        self.carried = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        self.seen: list[int] = []

    def feed(self, ids: Any) -> np.ndarray:
        ids = [int(i) for i in ids]
        if not ids:
            raise NetworkError("there is nothing to feed", expected="at least one token")
        if self.context is not None and len(self.seen) + len(ids) > self.context:
            ids = [*self.seen, *ids][-max(self.context // 2, 1) :]
            self.begin()
        whole = len(ids) - len(ids) % PIECE
        pieces = [ids[i : i + PIECE] for i in range(0, whole, PIECE)] + [[i] for i in ids[whole:]]  # two shapes in all
        logits = None
        for piece in pieces:
            logits, self.carried = _advance(
                self.layer, self.params, self.state, jnp.asarray([piece], jnp.int32), self.carried
            )
        self.seen += ids
        return np.asarray(logits, np.float64)


def chances(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """The probabilities that the next token is drawn from.

    temperature: below 1 makes the likely likelier, above 1 the reverse; 0 takes the likeliest.   top_k: only the k
    likeliest (Fan et al. 2018).   top_p: only the likeliest that together reach this share (Holtzman et al. 2020).

    >>> chances(np.log([0.5, 0.3, 0.2]), top_k=2).round(3).tolist()
    [0.625, 0.375, 0.0]
    >>> chances(np.log([0.5, 0.3, 0.2]), top_p=0.4).tolist()
    [1.0, 0.0, 0.0]
    """
    if temperature <= 0:
        found = np.zeros(len(logits))
        found[int(np.argmax(logits))] = 1.0
        return found
    scaled = logits / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    kept = len(p) if top_k is None else min(top_k, len(p))
    if top_p is not None:
        kept = min(kept, int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1)
    p[order[kept:]] = 0.0
    return p / p.sum()


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise a `SettingError` where these make no sense."""
    if not 0 <= temperature < float("inf"):
        raise SettingError("a setting is out of range", where="temperature", expected="a number >= 0", got=temperature)
    if top_k is not None and top_k < 1:
        raise SettingError("a setting is out of range", where="top_k", expected="a whole number >= 1", got=top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise SettingError("a setting is out of range", where="top_p", expected="a share > 0 and <= 1", got=top_p)


def write(
    writer: Writer, prompt: Any, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    seed: int = 0,
) -> Iterator[int]:  # fmt: skip
    """Token after token, without end, after the ids of a prompt; the same for the same seed."""
    check_sampling(temperature, top_k, top_p)
    generator = np.random.Generator(np.random.Philox(seed))
    logits = writer.feed(prompt)
    while True:
        p = chances(logits, temperature, top_k, top_p)
        token = int(min(np.searchsorted(np.cumsum(p), generator.random()), len(p) - 1))
        yield token
        logits = writer.feed([token])


@partial(jax.jit, static_argnums=(0, 4))
def complete(layer: Layer, params: Params, state: Params, pairs: jax.Array, source: int) -> jax.Array:
    """What an encoder-decoder writes for each source, the likeliest token at every step: ids [batch, target].

    pairs: [batch, source + target]: the sources, then the begin id; what stands behind it is not read.
    """
    steps = pairs.shape[1] - source
    padded = jnp.concatenate([pairs, pairs[:, :1]], axis=1)  # room for the last token

    def step(i, padded):
        best = Context(state=state).run(layer, params, padded[:, :-1])[:, i].argmax(-1).astype(padded.dtype)
        return jax.lax.dynamic_update_slice(padded, best[:, None], (0, source + i + 1))

    return jax.lax.fori_loop(0, steps, step, padded)[:, source + 1 :]


def generate(
    network: Any, prompt: str | None, tokens: int, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, seed: int = 0,
) -> Iterator[str]:  # fmt: skip
    """The text that a language model writes, as it comes; see `Network.generate`."""
    check_sampling(temperature, top_k, top_p)
    if tokens < 0:
        raise SettingError("a setting is out of range", where="tokens", expected="a whole number >= 0", got=tokens)
    params, state = network._weights()
    if network.targets is None or network.targets.task != "language":
        raise NetworkError(
            "only a language model can write", expected="a network trained on a text file",
            got="no data" if network.targets is None else f"a network for {network.targets.task}",
            fix="train one: pellucid train book.txt --network lstm:256",
        )  # fmt: skip
    tokenizer = network.features.encoder.tokenizer
    ids = tokenizer.encode(prompt, "the prompt") if prompt else _opening(tokenizer)
    return _pieces(Writer(network.layer, params, state), ids, tokenizer, tokens, (temperature, top_k, top_p, seed))


def _pieces(writer: Writer, ids: Any, tokenizer: Any, tokens: int, how: tuple) -> Iterator[str]:
    temperature, top_k, top_p, seed = how
    stream = tokenizer.stream()
    for token in islice(write(writer, ids, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed), tokens):
        if piece := stream.add(token):
            yield piece
    if piece := stream.end():
        yield piece


def _opening(tokenizer: Any) -> np.ndarray:
    """A new line, or where the text had none, its first token."""
    names = tokenizer.names
    return np.array([names.index(repr("\n")[1:-1]) if repr("\n")[1:-1] in names else 0])


def completed(network: Any, x: Any) -> np.ndarray:
    """What an encoder-decoder writes for each source, as text [n]."""
    params, state = network._weights()
    rows, encoder = network.features.transform(x), network.features.encoder
    size = min(
        block_rows(network.layer, jax.ShapeDtypeStruct((1, *rows.shape[1:]), rows.dtype)), power_of_two(len(rows))
    )
    out: list[str] = []
    for start in range(0, len(rows), size):
        block, n = pad_rows(rows[start : start + size], size)
        ids = np.asarray(complete(network.layer, params, state, jnp.asarray(block), encoder.source_steps))[:n]
        out += [until_end(row, encoder.tokenizer) for row in ids]
    return np.array(out, dtype=object)


def until_end(ids: np.ndarray, tokenizer: Any) -> str:
    """The text of these ids, up to the end id."""
    ends = np.flatnonzero(ids == tokenizer.special("end"))
    return tokenizer.decode(ids[: ends[0]] if len(ends) else ids)
