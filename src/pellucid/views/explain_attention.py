"""The rules of attention and of the blocks around it.

    q, k, v = x·w + b;   a = softmax(q·kᵀ / sqrt(d)), of what may be seen;   y = (a·v)·out

The softmax's own derivative brings a gradient back to the scores: dL/ds = a · (dL/da - Σ a · dL/da), row by row.
"""

import numpy as np

from pellucid.network.attention import Attention
from pellucid.network.layer import join
from pellucid.network.norm import LayerNorm, RMSNorm
from pellucid.views.explain_math import softmax
from pellucid.views.explain_rules import looked_up
from pellucid.views.explain_stage import Array, Env, Rule, Stage, backward, out_of, rule


def turn(x: Array, way: int = 1) -> Array:
    """Rotary positions, [steps, heads, d]: numbers i and i + d/2 turned by step · 10000^(-2i/d); way -1: back."""
    half = x.shape[-1] // 2
    angles = way * np.arange(len(x))[:, None, None] * 10_000.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], axis=-1)


@rule("attention")
class _Attention(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        layer, steps, valid = s.layer, len(s.x), env.steps_of(s.x)
        mixed = (s.x @ s.weights["w"] + s.weights.get("b", 0.0)).reshape(steps, 3, layer.heads, -1)
        q, k, v = mixed[:, 0], mixed[:, 1], mixed[:, 2]  # [steps, heads, d]
        if layer.rotary:
            q, k = turn(q), turn(k)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        seen = np.tril(np.ones((steps, steps), bool)) if layer.causal else np.ones((steps, steps), bool)
        seen = seen if valid is None else seen & valid
        some = seen.any(-1, keepdims=True)
        a = np.where(some, softmax(np.where(seen, scores, np.where(some, -np.inf, 0.0))), 0.0)
        s.kept |= {"q": q, "k": k, "v": v, "scores": scores, "seen": seen, "weights": a}
        s.kept["taken"] = np.einsum("hqk,khd->qhd", a, v)
        return s.kept["taken"].reshape(steps, -1) @ s.weights["out"] + s.weights.get("out_bias", 0.0)

    def backward(self, s: Stage, dy: Array) -> Array:
        q, k, v, a = (s.kept[name] for name in ("q", "k", "v", "weights"))
        steps = len(dy)
        s.gradients["out"] = s.kept["taken"].reshape(steps, -1).T @ dy
        dtaken = (dy @ s.weights["out"].T).reshape(v.shape)
        da = np.einsum("qhd,khd->hqk", dtaken, v)
        dscores = a * (da - (a * da).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
        dq, dk = np.einsum("hqk,khd->qhd", dscores, k), np.einsum("hqk,qhd->khd", dscores, q)
        if s.layer.rotary:
            dq, dk = turn(dq, -1), turn(dk, -1)
        dv = np.einsum("hqk,qhd->khd", a, dtaken)
        s.kept["da"] = da
        dmixed = np.stack([dq, dk, dv], axis=1).reshape(steps, -1)
        s.gradients["w"] = s.x.T @ dmixed
        if "b" in s.weights:
            s.gradients |= {"b": dmixed.sum(0), "out_bias": dy.sum(0)}
        return dmixed @ s.weights["w"].T


@rule("transformer_block")
class _Block(Rule):
    """Twice x + part(norm(x)), or norm(x + part(x)) in the order "post"; dropout drops nothing in evaluation."""

    def forward(self, s: Stage, env: Env) -> Array:
        layer, x = s.layer, s.x
        attention = Attention(layer.heads, layer.causal, layer.rotary, bias=layer.bias, context=layer.context)
        norm = LayerNorm(bias=layer.bias) if layer.norm == "layer" else RMSNorm()
        for number, (name, part) in enumerate((("attention", attention), ("feed_forward", layer._dense(x))), 1):
            before = f"norm{number}"
            if layer.order == "pre":
                s.parts[before] = env.run(join(s.path, before), norm, x)
                s.parts[name] = env.run(join(s.path, name), part, s.parts[before][-1].y)
                x = x + s.parts[name][-1].y
            else:
                s.parts[name] = env.run(join(s.path, name), part, x)
                s.parts[before] = env.run(join(s.path, before), norm, x + s.parts[name][-1].y)
                x = s.parts[before][-1].y
        return x

    def backward(self, s: Stage, dy: Array) -> Array:
        for number, name in ((2, "feed_forward"), (1, "attention")):
            norm, part = s.parts[f"norm{number}"], s.parts[name]
            if s.layer.order == "pre":
                dy = dy + backward(norm, backward(part, dy))
            else:
                dy = backward(norm, dy)
                dy = dy + backward(part, dy)
        return dy


@rule("tied_embedding")
class _Tied(Rule):
    """The same vectors twice: looked up on the way in, compared with on the way out."""

    def forward(self, s: Stage, env: Env) -> Array:
        w = s.weights["w"]
        s.parts["body"] = env.run(join(s.path, "body"), s.layer.body, w[s.x])
        return out_of(s.parts["body"], w[s.x]) @ w.T

    def backward(self, s: Stage, dy: Array) -> Array:
        w = s.weights["w"]
        s.gradients["w"] = dy.T @ out_of(s.parts["body"], w[s.x])  # as outputs
        s.grow("w", looked_up(w, s.x, backward(s.parts["body"], dy @ w)))  # as inputs
        return np.zeros(s.x.shape)
