"""The rules of sequence to sequence: an encoder that reads both ways, a decoder that begins with what it said last.

score(h, m) = h·k·m (Luong), o·tanh(h·q + m·k) (Bahdanau);   a = softmax(score);   context = Σ a·m
"""

from typing import Any

import numpy as np

from pellucid.network.dense import Dense
from pellucid.network.layer import join
from pellucid.network.recurrent import Bidirectional
from pellucid.network.seq2seq import BahdanauDecoder, LuongAttention
from pellucid.views.explain_math import softmax
from pellucid.views.explain_recurrent import cell_back, cell_step
from pellucid.views.explain_stage import Array, Env, Rule, Stage, backward, rule


def _looks(scores: Array, real: Array) -> Array:
    """The softmax over the source's real steps."""
    return softmax(np.where(real, scores, -np.inf if real.any() else 0.0))


@rule("luong_attention")
class _Luong(Rule):
    """x: (h [target, n], memory [source, m], real [source]) -> tanh([context; h]·w + b)."""

    def forward(self, s: Stage, env: Env) -> Array:
        h, memory, real = s.x
        asked = h @ s.weights["k"] if "k" in s.weights else h
        s.kept["scores"] = asked @ memory.T  # [target, source]
        s.kept["weights"] = _looks(s.kept["scores"], real)
        s.kept["both"] = np.concatenate([s.kept["weights"] @ memory, h], axis=-1)
        return np.tanh(s.kept["both"] @ s.weights["w"] + s.weights["b"])

    def backward(self, s: Stage, dy: Array) -> Any:
        h, memory, real = s.x
        a, dz = s.kept["weights"], dy * (1 - s.y**2)
        s.gradients = {"w": s.kept["both"].T @ dz, "b": dz.sum(0)}
        dcontext, dh = np.split(dz @ s.weights["w"].T, [memory.shape[1]], axis=-1)
        da = dcontext @ memory.T
        dscores = a * (da - (a * da).sum(-1, keepdims=True))
        dmemory = a.T @ dcontext
        if "k" not in s.weights:
            return dh + dscores @ memory, dmemory + dscores.T @ h, real
        k = s.weights["k"]
        s.gradients["k"] = h.T @ dscores @ memory
        return dh + dscores @ memory @ k.T, dmemory + dscores.T @ h @ k, real


@rule("bahdanau_decoder")
class _Bahdanau(Rule):
    """x: (inputs [target, n], first state, memory [source, m], real [source]) -> [h_t; context_t] of each step."""

    def forward(self, s: Stage, env: Env) -> Array:
        inputs, h, memory, real = s.x
        w, cell, n = s.weights, s.layer.cell, s.x[0].shape[1]
        keys, c = memory @ w["k"], np.zeros(cell.width)
        fed = np.concatenate([np.zeros(2 * cell.width), w["v"]]) if "v" in w else 0.0
        below, out, steps, looked = inputs @ w["w"][:n] + w["b"], [], [], []
        for z in below:
            bent = np.tanh(h @ w["q"] + keys)  # [source, width]
            a = _looks(bent @ w["o"], real)
            context, r = a @ memory, h @ w["u"] + fed
            before = {"h before": h, "c before": c, "r·g": r[2 * cell.width : 3 * cell.width], "bent": bent, "a": a}
            h, c, gates = cell_step(cell, z + context @ w["w"][n:], r, h, c)
            steps.append({**before, **gates, "c": c, "context": context})
            looked.append(a)
            out.append(np.concatenate([h, context]))
        s.kept |= {"steps": steps, "weights": np.array(looked)}
        return np.array(out)

    def backward(self, s: Stage, dy: Array) -> Any:
        inputs, _, memory, real = s.x
        w, cell, n, width = s.weights, s.layer.cell, inputs.shape[1], s.layer.cell.width
        s.gradients = {name: np.zeros_like(value) for name, value in w.items()}
        g, dinputs, dmemory = s.gradients, np.zeros_like(inputs), np.zeros_like(memory)
        dkeys, dh, dc = np.zeros((len(memory), width)), np.zeros(width), np.zeros(width)
        for t in reversed(range(len(inputs))):
            kept = s.kept["steps"][t]
            before, a, bent = kept["h before"], kept["a"], kept["bent"]
            dz, dr, straight, dc = cell_back(cell, kept, dh + dy[t, :width], dc)
            dcontext = dy[t, width:] + w["w"][n:] @ dz
            da = memory @ dcontext
            dscores = a * (da - (a * da).sum())
            dbent = np.outer(dscores, w["o"]) * (1 - bent**2)
            dmemory += np.outer(a, dcontext)
            dkeys += dbent
            dinputs[t] = w["w"][:n] @ dz
            g["o"] += bent.T @ dscores
            g["q"] += np.outer(before, dbent.sum(0))
            g["w"] += np.outer(np.concatenate([inputs[t], kept["context"]]), dz)
            g["u"] += np.outer(before, dr)
            g["b"] += dz
            if "v" in w:
                g["v"] += dr[2 * width :]
            dh = straight + w["u"] @ dr + w["q"] @ dbent.sum(0)
        g["k"] += memory.T @ dkeys
        return dinputs, dh, dmemory + dkeys @ w["k"].T, real


@rule("encoder_decoder")
class _EncoderDecoder(Rule):
    """x: ids [source + target] -> [target, width]. The vectors of the tokens serve both sides."""

    def forward(self, s: Stage, env: Env) -> Array:
        layer, edge, width = s.layer, s.layer.source, s.layer.cell.width

        def run(name: str, part: Any, x: Any) -> Array:
            s.parts[f"{name} of the target" if name in s.parts else name] = stages = env.run(
                join(s.path, name), part, x
            )
            return stages[-1].y

        read = run("embed", layer.embed, s.x[:edge])
        real = np.ones(edge, bool) if env.valid is None else env.valid
        memory = run("encoder", Bidirectional(layer.cell), read)
        written = run("embed", layer.embed, s.x[edge:])
        env.valid = None  # what is written is masked by the loss
        ends = np.concatenate([memory[-1, :width], memory[0, width:]])  # where each direction ended
        first = s.kept["first"] = np.tanh(run("bridge", Dense(width), ends))
        if layer.attention == "bahdanau":
            return run("decoder", BahdanauDecoder(layer.cell), (written, first, memory, real))
        hs = run("decoder", layer.cell, (written, first))
        return hs if layer.attention == "none" else run("attention", LuongAttention(width), (hs, memory, real))

    def backward(self, s: Stage, dy: Any) -> Array:
        parts, width = s.parts, s.layer.cell.width
        dmemory = np.zeros_like(parts["encoder"][-1].y)
        if "attention" in parts:
            dy, dmemory, _ = backward(parts["attention"], dy)
        if s.layer.attention == "bahdanau":
            dwritten, dfirst, dmemory, _ = backward(parts["decoder"], dy)
        else:
            dwritten = backward(parts["decoder"], dy)
            dfirst = parts["decoder"][-1].kept["dfirst"]
        dends = backward(parts["bridge"], dfirst * (1 - s.kept["first"] ** 2))
        dmemory = dmemory.copy()
        dmemory[-1, :width] += dends[:width]
        dmemory[0, width:] += dends[width:]
        backward(parts["embed of the target"], dwritten)
        backward(parts["embed"], backward(parts["encoder"], dmemory))
        return np.zeros(s.x.shape)
