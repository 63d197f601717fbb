"""The rules of the layers that are formulas of a line or two: sums, bends, norms, look-ups, and sums of branches."""

import numpy as np

from pellucid.errors import NetworkError
from pellucid.network.layer import join
from pellucid.views.explain_math import BENDS, sigmoid, softmax
from pellucid.views.explain_stage import Array, Env, Rule, Stage, backward, out_of, rule


def over_places(a: Array) -> Array:
    """[..., n] -> [places, n]"""
    return a.reshape(-1, a.shape[-1])


@rule("input")
class _Input(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        y = (np.asarray(s.x, np.float64) - s.weights["mean"]) / s.weights["scale"]
        if not s.layer.padded:
            return y
        env.valid = real = np.asarray(~np.isnan(y).all(axis=-1))
        return np.where(real[:, None], y, 0.0)

    def backward(self, s: Stage, dy: Array) -> Array:
        return dy / s.weights["scale"]


@rule("flatten", "grey", "steps", "dropout")
class _Shape(Rule):
    """Other places for the same numbers. Dropout drops nothing in evaluation."""

    def forward(self, s: Stage, env: Env) -> Array:
        x = s.x
        shapes = {"flatten": (-1,), "grey": (*x.shape, 1), "steps": (x.shape[0], -1), "dropout": x.shape}
        return x.reshape(shapes[s.layer.name])

    def backward(self, s: Stage, dy: Array) -> Array:
        return dy.reshape(s.x.shape)


@rule("dense", "output")
class _Dense(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        return s.x @ s.weights["w"] + s.weights.get("b", 0.0)

    def backward(self, s: Stage, dy: Array) -> Array:
        x, d = over_places(s.x), over_places(dy)
        s.gradients["w"] = x.T @ d  # dL/dw[i, j] = x[i] · δ[j], summed over the places
        if "b" in s.weights:
            s.gradients["b"] = d.sum(0)
        return dy @ s.weights["w"].T  # dL/dx[i] = Σ_j w[i, j] · δ[j]


@rule(*BENDS)
class _Bend(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        return BENDS[s.layer.name].f(s.layer, s.x)

    def backward(self, s: Stage, dy: Array) -> Array:
        return dy * BENDS[s.layer.name].df(s.layer, s.x)


@rule("softmax")
class _Softmax(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        return softmax(s.x)

    def backward(self, s: Stage, dy: Array) -> Array:
        return s.y * (dy - (dy * s.y).sum(-1, keepdims=True))


@rule("embed")
class _Embed(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        found = s.weights["w"][s.x]
        if not s.layer.padding:
            return found
        env.valid = s.x > 0
        return np.where(env.valid[:, None], found, 0.0)

    def backward(self, s: Stage, dy: Array) -> Array:
        real = dy * (s.x > 0)[..., None] if s.layer.padding else dy
        s.gradients["w"] = looked_up(s.weights["w"], s.x, real)
        return np.zeros(s.x.shape)  # ids have no gradient


def looked_up(w: Array, ids: Array, dy: Array) -> Array:
    """dL/dw of y = w[ids]: each row gathers the gradients of the places that looked it up."""
    gradient = np.zeros_like(w)
    np.add.at(gradient, ids, dy)
    return gradient


@rule("batch_norm")
class _BatchNorm(Rule):
    """Evaluation: by the running mean and variance, so that it is a scale and a shift for each channel."""

    def forward(self, s: Stage, env: Env) -> Array:
        s.kept["normal"] = (s.x - s.weights["mean"]) / np.sqrt(s.weights["var"] + s.layer.epsilon)
        return s.kept["normal"] * s.weights["scale"] + s.weights["bias"]

    def backward(self, s: Stage, dy: Array) -> Array:
        s.gradients["scale"] = over_places(dy * s.kept["normal"]).sum(0)
        s.gradients["bias"] = over_places(dy).sum(0)
        return dy * s.weights["scale"] / np.sqrt(s.weights["var"] + s.layer.epsilon)


@rule("layer_norm", "rms_norm")
class _Norm(Rule):
    """y = n · scale + bias, n = c / r; c = x - mean (of RMSNorm x itself), r = sqrt(mean of c² + epsilon)."""

    def forward(self, s: Stage, env: Env) -> Array:
        c = s.x - s.x.mean(-1, keepdims=True) if s.layer.name == "layer_norm" else s.x
        s.kept["r"] = np.sqrt((c**2).mean(-1, keepdims=True) + s.layer.epsilon)
        s.kept["normal"] = c / s.kept["r"]
        return s.kept["normal"] * s.weights.get("scale", 1.0) + s.weights.get("bias", 0.0)

    def backward(self, s: Stage, dy: Array) -> Array:
        n = s.kept["normal"]
        if "scale" in s.weights:
            s.gradients["scale"] = over_places(dy * n).sum(0)
        if "bias" in s.weights:
            s.gradients["bias"] = over_places(dy).sum(0)
        dn = dy * s.weights.get("scale", 1.0)
        dc = (dn - n * (dn * n).mean(-1, keepdims=True)) / s.kept["r"]  # through r as well
        return dc - dc.mean(-1, keepdims=True) if s.layer.name == "layer_norm" else dc


@rule("swiglu")
class _SwiGLU(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        s.kept["gate"], s.kept["up"] = s.x @ s.weights["gate"], s.x @ s.weights["up"]
        s.kept["hidden"] = s.kept["gate"] * sigmoid(s.kept["gate"]) * s.kept["up"]
        return s.kept["hidden"] @ s.weights["down"]

    def backward(self, s: Stage, dy: Array) -> Array:
        gate, up, x = s.kept["gate"], s.kept["up"], over_places(s.x)
        s.gradients["down"] = over_places(s.kept["hidden"]).T @ over_places(dy)
        dh = dy @ s.weights["down"].T
        silu, slope = gate * sigmoid(gate), sigmoid(gate) + gate * sigmoid(gate) * sigmoid(-gate)
        dgate, dup = dh * up * slope, dh * silu
        s.gradients["gate"], s.gradients["up"] = x.T @ over_places(dgate), x.T @ over_places(dup)
        return dgate @ s.weights["gate"].T + dup @ s.weights["up"].T


@rule("residual")
class _Residual(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        s.parts["body"] = env.run(join(s.path, "body"), s.layer.body, s.x)
        s.parts["shortcut"] = (
            [] if s.layer.shortcut is None else env.run(join(s.path, "shortcut"), s.layer.shortcut, s.x)
        )
        return out_of(s.parts["body"], s.x) + out_of(s.parts["shortcut"], s.x)

    def backward(self, s: Stage, dy: Array) -> Array:
        return backward(s.parts["body"], dy) + backward(s.parts["shortcut"], dy)  # the gradient takes both ways


@rule("parallel")
class _Parallel(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        for name, part in s.layer.branches:
            s.parts[name] = env.run(join(s.path, name), part, s.x)
        ends = [out_of(stages, s.x) for stages in s.parts.values()]
        if s.layer.combine == "concatenate":
            return np.concatenate(ends, axis=-1)
        return np.sum(ends, axis=0) / (len(ends) if s.layer.combine == "mean" else 1)

    def backward(self, s: Stage, dy: Array) -> Array:
        branches = list(s.parts.values())
        if s.layer.combine == "concatenate":
            edges = np.cumsum([out_of(stages, s.x).shape[-1] for stages in branches])[:-1]
            pieces = np.split(dy, edges, axis=-1)
        else:
            pieces = [dy / (len(branches) if s.layer.combine == "mean" else 1)] * len(branches)
        return np.sum([backward(b, piece) for b, piece in zip(branches, pieces, strict=True)], axis=0)


@rule("positions")
class _Positions(Rule):
    def forward(self, s: Stage, env: Env) -> Array:
        steps, n = s.x.shape
        if steps > s.layer.context:
            raise NetworkError("there are more steps than places", where=s.path, expected=s.layer.context, got=steps)
        if s.layer.kind == "learned":
            s.kept["places"] = s.weights["w"][:steps]
        else:
            i = np.arange(n)
            angles = np.arange(steps)[:, None] / 10_000.0 ** (2 * (i // 2) / n)
            s.kept["places"] = np.where(i % 2 == 0, np.sin(angles), np.cos(angles))
        return s.x + s.kept["places"]

    def backward(self, s: Stage, dy: Array) -> Array:
        if s.layer.kind == "learned":
            s.gradients["w"] = np.zeros_like(s.weights["w"])
            s.gradients["w"][: len(dy)] = dy
        return dy
