"""One example's way through a chosen neuron, as numbers: forward, loss, backward, update. `explain` walks; here it is
laid out for the page, with every term of the sums."""

from typing import Any

import numpy as np

from pellucid.errors import SettingError
from pellucid.playground.play import Play
from pellucid.playground.view import dense, number, short
from pellucid.views.explain import Walk, walk
from pellucid.views.explain_math import BENDS
from pellucid.views.explain_stage import Stage

PARTS = ("train", "validation")


def walked(play: Play, part: str, row: int, layer: int, unit: int) -> dict[str, Any]:
    """part, row: which example.   layer, unit: which neuron, both from 0; the output's neurons are those of the last.

    Raises `SettingError` where there is no such example or neuron.
    """
    layers = dense(play)
    rows = getattr(play.session.prepared, part, None) if part in PARTS else None
    if rows is None or not 0 <= row < len(rows):
        raise SettingError("there is no such example", where=str(part)[:40], got=row)
    if not 0 <= layer < len(layers) or not 0 <= unit < layers[layer][1]:
        raise SettingError("there is no such neuron", got=f"layer {layer}, unit {unit}")
    made = walk(play.network, rows.x[row], rows.y[row], play.session.settings.loss, play.choices.learning_rate)
    places = [i for i, s in enumerate(made.stages) if s.kind == "dense"]
    here, names = places[layer], _names(play, layer)
    stage = made.stages[here]
    after = made.stages[here + 1 : places[layer + 1]] if layer + 1 < len(places) else []
    return {
        "part": part, "row": row, "layer": layer, "unit": unit, "path": stage.path, "inputs": _inputs(play, made),
        "forward": _forward(stage, after, unit, names), "loss": _loss(play, made),
        "backward": _backward(made.stages[places[layer + 1]] if after else None, stage, after, unit),
        "update": _update(made, stage, unit, names),
        "layers": [{"z": short(made.stages[i].y), "delta": short(made.stages[i].dy)} for i in places],
        "activations": [
            short(made.stages[j].x) for j in places[1:]
        ],
        "check": {"agrees": made.check.agrees, "difference": number(made.check.difference)},
    }  # fmt: skip


def _names(play: Play, layer: int) -> list[str]:
    """Of what arrives at a layer."""
    if layer == 0:
        return list(play.session.prepared.features.names)
    return [f"a{i + 1}" for i in range(dense(play)[layer - 1][1])]


def _inputs(play: Play, made: Walk) -> dict[str, Any]:
    """What came, and what the input layer made of it."""
    first = made.stages[0]
    names = play.session.prepared.features.names
    return {"names": list(names), "raw": short(first.x), "standardised": short(first.y)}


def _forward(stage: Stage, after: list[Stage], unit: int, names: list[str]) -> dict[str, Any]:
    """z = Σ w·x + b, then what is made of z on the way to the next layer."""
    w = stage.weights["w"][:, unit]
    terms = [
        {"name": name, "w": number(a), "x": number(b), "product": number(a * b)}
        for name, a, b in zip(names, w, stage.x.reshape(-1), strict=True)
    ]
    then = [
        {"kind": s.kind, "formula": BENDS[s.kind].formula if s.kind in BENDS else "", "y": number(s.y[unit])}
        for s in after
        if s.kind not in ("dropout", "flatten")
    ]
    return {"terms": terms, "bias": number(stage.weights["b"][unit]), "z": number(stage.y[unit]), "then": then}


def _loss(play: Play, made: Walk) -> dict[str, Any]:
    loss, classes = made.loss, play.targets.classes
    return {
        "name": loss.name, "outputs": short(loss.outputs), "linked": short(loss.linked), "target": short(loss.target),
        "value": number(loss.value), "link": loss.link, "formula": loss.formula, "slope": loss.slope,
        "gradient": short(loss.gradient), "names": [str(c) for c in classes] or [play.targets.columns[0].name],
    }  # fmt: skip


def _backward(following: Stage | None, stage: Stage, after: list[Stage], unit: int) -> dict[str, Any]:
    """dL/da = Σ w·δ over the neurons that it feeds, then through what lies between a and z; of an output neuron, what
    the loss says."""
    if following is None:
        return {"terms": [], "through": [], "da": None, "delta": number(stage.dy[unit])}
    w, delta = following.weights["w"][unit], following.dy.reshape(-1)
    terms = [
        {"name": f"δ{k + 1}", "w": number(a), "delta": number(d), "product": number(a * d)}
        for k, (a, d) in enumerate(zip(w, delta, strict=True))
    ]
    through = [
        {
            "kind": s.kind, "formula": BENDS[s.kind].slope if s.kind in BENDS else "", "dx": number(s.dx[unit]),
            "slope": number(BENDS[s.kind].df(s.layer, s.x)[unit]) if s.kind in BENDS else None,
        }
        for s in reversed(after)
        if s.kind not in ("dropout", "flatten")
    ]  # fmt: skip
    return {"terms": terms, "through": through, "da": number(following.dx[unit]), "delta": number(stage.dy[unit])}


def _update(made: Walk, stage: Stage, unit: int, names: list[str]) -> dict[str, Any]:
    """What plain gradient descent on this example alone would do to the neuron's weights."""
    w, g = stage.weights["w"][:, unit], stage.gradients["w"][:, unit]
    b, gb = stage.weights["b"][unit], stage.gradients["b"][unit]
    rows = [(n, a, d) for n, a, d in zip(names, w, g, strict=True)] + [("b", b, gb)]
    return {
        "rate": number(made.rate), "after": number(made.after),
        "weights": [
            {"name": n, "w": number(a), "g": number(d), "new": number(a - made.rate * d)} for n, a, d in rows
        ],
    }  # fmt: skip


def moved(play: Play, layer: int, unit: int) -> dict[str, Any]:
    """Make one update, and tell what it did to a neuron: weights before, the batch's gradient, weights after."""
    layers = dense(play)
    if not 0 <= layer < len(layers) or not 0 <= unit < layers[layer][1]:
        raise SettingError("there is no such neuron", got=f"layer {layer}, unit {unit}")
    path, rows = layers[layer][0], len(play.loop.next_rows()) if not play.stopped else 0
    before, g = play.weights(), play.batch_gradient()
    play.step(1)
    after = play.weights()

    def of(arrays: dict[str, np.ndarray]) -> np.ndarray:
        return np.append(arrays[f"{path}/w"][:, unit], arrays[f"{path}/b"][unit])

    numbers = [[number(v) for v in column] for column in (of(before), of(g), of(after))]
    keys = ("w", "g", "new")
    weights = [
        {"name": name, **dict(zip(keys, row, strict=True))}
        for name, row in zip([*_names(play, layer), "b"], zip(*numbers, strict=True), strict=True)
    ]
    return {"batch": rows, "optimizer": play.choices.optimizer, "rate": play.choices.learning_rate, "weights": weights}
