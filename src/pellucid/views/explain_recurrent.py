"""The rules of recurrent layers, and backpropagation through time: the loop forward, and the same loop in reverse.

    z = x·w + b, r = h·u (+ v)   for all gates at once; then the cell's own formulas make the next h (and c)

Backward, dL/dh_t comes from two sides: from above, where step t's output goes, and from step t + 1, whom h_t was fed.
"""

from typing import Any

import numpy as np

from pellucid.network.layer import join
from pellucid.views.explain_math import BENDS, sigmoid
from pellucid.views.explain_stage import Array, Env, Rule, Stage, backward, rule

GATES = {"rnn": ("z",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "s", "g")}  # the columns of w, u and b, in order
Gates = dict[str, Array]


def cell_step(layer: Any, z: Array, r: Array, h: Array, c: Array) -> tuple[Array, Array, Gates]:
    """One step's formulas: sums from below z and from the step before r, [gates * width] -> h, c, gates by name."""
    zs, rs = np.split(z, len(GATES[layer.name])), np.split(r, len(GATES[layer.name]))
    if layer.name == "rnn":
        return BENDS[layer.activation.name].f(layer.activation, z + r), c, {"z": z + r}
    if layer.name == "lstm":
        i, f, o = (sigmoid(zs[k] + rs[k]) for k in (0, 1, 3))
        g = np.tanh(zs[2] + rs[2])
        c = f * c + i * g
        return o * np.tanh(c), c, {"i": i, "f": f, "g": g, "o": o}
    reset, s = sigmoid(zs[0] + rs[0]), sigmoid(zs[1] + rs[1])
    g = np.tanh(zs[2] + reset * rs[2])
    return (1 - s) * g + s * h, c, {"r": reset, "s": s, "g": g}


def cell_back(layer: Any, kept: Gates, dh: Array, dc: Array) -> tuple[Array, Array, Array, Array]:
    """The step in reverse: dL/dh, dL/dc of what left -> dL/dz, dL/dr, and what goes straight to the h and c before."""
    none = np.zeros_like(dh)
    if layer.name == "rnn":
        d = dh * BENDS[layer.activation.name].df(layer.activation, kept["z"])
        return d, d, none, none
    if layer.name == "lstm":
        i, f, g, o, bent = kept["i"], kept["f"], kept["g"], kept["o"], np.tanh(kept["c"])
        dc = dc + dh * o * (1 - bent**2)
        d = np.concatenate([
            dc * g * i * (1 - i), dc * kept["c before"] * f * (1 - f), dc * i * (1 - g**2), dh * bent * o * (1 - o),
        ])  # fmt: skip
        return d, d, none, dc * f
    reset, s, g, rg = kept["r"], kept["s"], kept["g"], kept["r·g"]
    dg = dh * (1 - s) * (1 - g**2)
    dr, ds = dg * rg * reset * (1 - reset), dh * (kept["h before"] - g) * s * (1 - s)
    return np.concatenate([dr, ds, dg]), np.concatenate([dr, ds, dg * reset]), dh * s, none


@rule("rnn", "lstm", "gru")
class Cell(Rule):
    """x: [steps, n], or (steps, first state [width]) -> [steps, width], or the last state [width]."""

    def forward(self, s: Stage, env: Env) -> Array:
        layer, w = s.layer, s.weights
        x, first = s.x if isinstance(s.x, tuple) else (s.x, None)
        steps, valid = len(x), env.steps_of(x)
        z = x @ w["w"] + w["b"]
        fed = np.concatenate([np.zeros(2 * layer.width), w["v"]]) if "v" in w else 0.0
        h, c = np.zeros(layer.width) if first is None else first, np.zeros(layer.width)
        kept: list[Gates] = [{}] * steps
        hs = np.zeros((steps, layer.width))
        order = range(steps)[::-1] if layer.backwards else range(steps)
        for t in order:
            if valid is None or valid[t]:
                r = h @ w["u"] + fed
                before = {"h before": h, "c before": c, "r·g": r[2 * layer.width : 3 * layer.width], "below": z[t]}
                h, c, gates = cell_step(layer, z[t], r, h, c)
                kept[t] = {**before, **gates, "back": r, "c": c}
            hs[t] = h
        s.kept |= {"steps": kept, "order": [t for t in order if kept[t]], "h": hs}
        return hs if layer.each_step else h

    def backward(self, s: Stage, dy: Array) -> Array:
        layer, w, kept = s.layer, s.weights, s.kept["steps"]
        x = s.x[0] if isinstance(s.x, tuple) else s.x
        steps = len(x)
        order = range(steps)[::-1] if layer.backwards else range(steps)
        dz, dr = np.zeros((steps, w["w"].shape[1])), np.zeros((steps, w["w"].shape[1]))
        dh, dc = np.zeros(layer.width) if layer.each_step else dy, np.zeros(layer.width)
        through, cells = np.zeros((steps, layer.width)), np.zeros((steps, layer.width))
        for t in reversed(order):
            dh = dh + dy[t] if layer.each_step else dh
            through[t] = dh
            if kept[t] and layer.name == "lstm":  # the cell is felt by h and by the next cell
                cells[t] = dc + dh * kept[t]["o"] * (1 - np.tanh(kept[t]["c"]) ** 2)
            if kept[t]:  # a step that only fills up leaves the state, and its gradient, as they were
                dz[t], dr[t], straight, dc = cell_back(layer, kept[t], dh, dc)
                dh = straight + dr[t] @ w["u"].T
        before = np.array([k["h before"] if k else np.zeros(layer.width) for k in kept])
        s.gradients = {"w": x.T @ dz, "u": before.T @ dr, "b": dz.sum(0)}
        if "v" in w:
            s.gradients["v"] = dr[:, 2 * layer.width :].sum(0)
        s.kept |= {"dh": through, "dc": cells, "dr": dr, "dfirst": dh}
        return dz @ w["w"].T


@rule("bidirectional")
class _Bidirectional(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        s.parts["forward"] = env.run(join(s.path, "forward"), s.layer.part, s.x)
        s.parts["backward"] = env.run(join(s.path, "backward"), s.layer.part.reversed(), s.x)
        return np.concatenate([s.parts["forward"][-1].y, s.parts["backward"][-1].y], axis=-1)

    def backward(self, s: Stage, dy: Array) -> Array:
        one, other = np.split(dy, 2, axis=-1)
        return backward(s.parts["forward"], one) + backward(s.parts["backward"], other)
