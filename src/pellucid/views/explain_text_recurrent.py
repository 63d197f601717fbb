"""A recurrent layer in words: one step of one unit, gate by gate; then how the error fares on its way back in time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pellucid.views.explain_recurrent import GATES
from pellucid.views.explain_stage import Stage
from pellucid.views.explain_words import Line, Wish, bar, bracketed, num, products, summed, titled, wrapped

FORMULAS = {
    "rnn": "h = f(x·w + h'·u + b)",
    "lstm": "i, f, o = sigmoid(x·w + h'·u + b), g = tanh(...), c = f·c' + i·g, h = o·tanh(c)",
    "gru": "r, s = sigmoid(x·w + h'·u + b), g = tanh(x·w + b + r·(h'·u + v)), h = (1 - s)·g + s·h'",
}
MEANINGS = {
    "lstm": {
        "i": "input gate: how much of g is let in", "f": "forget gate: how much of c' is kept",
        "g": "what is proposed", "o": "output gate: how much of c is shown",
    },
    "gru": {
        "r": "reset gate: how much h' counts in g", "s": "update gate: how much of h' stays", "g": "what is proposed",
    },
}  # fmt: skip
LISTED = 16  # steps
GONE, GROWN = 0.01, 100.0  # the share that is left where we speak of vanishing and of exploding


def step_of(stage: Stage, wish: Wish) -> int:
    """The step that is shown, from 0: the one asked for, else the last that was read."""
    order = stage.kept["order"]
    return wish.step - 1 if wish.step is not None and wish.step - 1 in order else order[-1]


def _unit(stage: Stage, wish: Wish, t: int) -> int:
    if wish.unit is not None and wish.unit <= stage.layer.width:
        return wish.unit - 1
    return int(np.abs(stage.kept["dh"][t]).argmax())


def recurrent_forward(stage: Stage, wish: Wish) -> Iterator[Line]:
    layer, order, w = stage.layer, stage.kept["order"], stage.weights
    x = stage.x[0] if isinstance(stage.x, tuple) else stage.x
    formula = FORMULAS[layer.name]
    yield from titled(f"{stage.title}: {formula}; h' and c' are those of the step before")
    if not order:
        yield "    there is no real step", ""
        return
    way = ", from the last to the first" if layer.backwards else ""
    yield from wrapped(
        f"{len(order)} steps of {x.shape[1]} numbers{way}, {layer.width} units; every unit is fed back to all"
    )
    t = step_of(stage, wish)
    j, kept = _unit(stage, wish, t), stage.kept["steps"][t]
    yield from wrapped(f"step {t + 1}, unit {j + 1}:", 4)
    gates = GATES[layer.name]
    for k, gate in enumerate(gates):
        column = k * layer.width + j
        below, back = float(kept["below"][column]), float(kept["back"][column])
        bias = [num(w["b"][column])] if w["b"][column] else []
        if k == 0:  # the sums are written out once; the other gates have the like
            name = f"{gate}: " if len(gates) > 1 else ""
            yield from wrapped(f"{name}from below, x·w + b = {products(w['w'][:, column], x[t], bias)} = {num(below)}")
            yield from wrapped(f"{name}fed back, h'·u = {products(w['u'][:, column], kept['h before'])} = {num(back)}")
        yield from wrapped(_gate(layer, gate, below, back, kept, j))
    yield from wrapped(_state(layer, kept, j, stage.kept["h"][t][j]))
    path = stage.kept["h"][order][:, j]
    shown = (
        [num(v) for v in path] if len(path) <= 8 else [*(num(v) for v in path[:4]), "...", *(num(v) for v in path[-3:])]
    )
    yield from wrapped(f"h{j + 1} from step to step: {', '.join(shown)}")


def _gate(layer: Any, gate: str, below: float, back: float, kept: dict[str, Any], j: int) -> str:
    if layer.name == "rnn":
        return f"z{j + 1} = {summed([num(below), num(back)])} = {num(kept['z'][j])}"
    fed = f"{num(kept['r'][j])}·{bracketed(back)}" if layer.name == "gru" and gate == "g" else num(back)
    bend = "tanh" if gate == "g" else "sigmoid"
    return f"{gate} = {bend}({summed([num(below), fed])}) = {num(kept[gate][j])}   {MEANINGS[layer.name][gate]}"


def _state(layer: Any, kept: dict[str, Any], j: int, h: float) -> str:
    if layer.name == "rnn":
        return f"h{j + 1} = {layer.activation.name}({num(kept['z'][j])}) = {num(h)}"
    g = {name: num(kept[name][j]) for name in GATES[layer.name]}
    if layer.name == "gru":
        return f"h = (1 - {g['s']})·{bracketed(kept['g'][j])} + {g['s']}·{bracketed(kept['h before'][j])} = {num(h)}"
    cell = f"c = f·c' + i·g = {g['f']}·{bracketed(kept['c before'][j])} + {g['i']}·{bracketed(kept['g'][j])}"
    return f"{cell} = {num(kept['c'][j])}, h = o·tanh(c) = {g['o']}·{bracketed(math.tanh(kept['c'][j]))} = {num(h)}"


# -- backpropagation through time -------------------------------------------------------------------------------------


def recurrent_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    order = stage.kept["order"]
    yield from titled(
        f"{stage.title}: backpropagation through time, dL/dh' = (∂h/∂h')ᵀ · dL/dh, from the last step to the first; "
        "dL/du = Σ over all steps h'·δ"
    )
    if not order:
        return
    alone = "dh alone" in stage.kept
    if alone:
        yield from wrapped(
            f"of the loss at step {stage.kept['of step'] + 1} alone, so that it is seen how far it reaches:"
        )
    sizes = np.sqrt((stage.kept["dh alone" if alone else "dh"] ** 2).sum(-1))
    way = list(reversed(order))
    if alone and not isinstance(stage.x, tuple) and len(sizes) > stage.kept["of step"]:
        way = [t for t in way if t <= stage.kept["of step"]] if not stage.layer.backwards else way
    yield from _list(way, sizes)
    yield from wrapped(verdict(sizes[way]), 4, 0)
    if stage.kind == "lstm":  # h is one way back, and the cell the other
        cells = np.sqrt((stage.kept["dc alone" if alone else "dc"] ** 2).sum(-1))[way]
        yield from wrapped(f"dL/dc of the cell, {num(cells[0])} to {num(cells[-1])}: {verdict(cells)}", 4, 0)
    parts = {t: _share(stage, t) for t in order}
    if any(parts.values()):
        most = max(parts, key=lambda t: parts[t])
        whole = float(np.sqrt((stage.gradients["u"] ** 2).sum()))
        yield from wrapped(
            f"dL/du: norm {num(whole)}, the sum of {len(order)} steps; "
            f"the largest part, {num(parts[most])}, is step {most + 1}'s"
        )


def _share(stage: Stage, t: int) -> float:
    """The norm of h'·δ of one step."""
    size = lambda a: float(np.sqrt((a**2).sum()))  # noqa: E731
    return size(stage.kept["steps"][t]["h before"]) * size(stage.kept["dr"][t])


def _list(way: list[int], sizes: np.ndarray) -> Iterator[Line]:
    shown = range(len(way))
    if len(way) > LISTED:
        shown = sorted({round(i) for i in np.linspace(0, len(way) - 1, LISTED)})
    largest = float(sizes[way].max())
    skips = any(b - a > 1 for a, b in zip(shown, list(shown)[1:], strict=False))
    yield f"    {'step':>6}  {'|dL/dh|':>10}  {'factor a step' if skips else 'factor'}", "dim"
    last = None
    for i in shown:
        size, factor = float(sizes[way[i]]), ""
        if last is not None and sizes[way[last]] > 0:
            factor = f"× {(size / float(sizes[way[last]])) ** (1 / (i - last)):.3g}" if size > 0 else "× 0"
        yield f"    {way[i] + 1:>6}  {num(size):>10}  {factor:<13} {bar(size / largest if largest else 0)}".rstrip(), ""
        last = i


def verdict(sizes: np.ndarray) -> str:
    """In words what became of the gradient: sizes of dL/dh from the last step to the first.

    >>> verdict(np.array([1.0, 0.01, 0.0001]))
    'It vanishes: 2 steps back 0.0001 of it is left, × 0.01 a step. What came that early hardly moves the weights.'
    >>> verdict(np.array([1.0, 0.9, 0.8]))
    'It lasts: 2 steps back 0.8 of it is left, × 0.894 a step.'
    """
    n = len(sizes) - 1
    if n < 1 or not sizes[0] > 0:
        return "There is one step only." if n < 1 else "No gradient arrives from this loss."
    share = float(sizes[-1] / sizes[0])
    each = f"× {share ** (1 / n):.3g} a step" if share > 0 else "nothing at all"
    steps = f"{n} step{'s' * (n > 1)} back"
    if share < GONE:
        return (
            f"It vanishes: {steps} {num(share)} of it is left, {each}. What came that early hardly moves the weights."
        )
    if share > GROWN:
        return (
            f"It explodes: {steps} it is {num(share)} times as large, {each}. Clipping (clip_norm) keeps it in bounds."
        )
    if share < 0.1:
        return f"It fades: {steps} {num(share)} of it is left, {each}."
    if share > 10:
        return f"It grows: {steps} it is {num(share)} times as large, {each}."
    return f"It lasts: {steps} {num(share)} of it is left, {each}."
