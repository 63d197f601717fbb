"""Layers of a formula of one line in words: sums, bends, norms, look-ups; and what is told of composites."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pellucid.views.explain_math import BENDS
from pellucid.views.explain_stage import Stage
from pellucid.views.explain_words import (
    SMALL,
    TERMS,
    Line,
    Wish,
    bracketed,
    num,
    packed,
    place_said,
    products,
    shape_of,
    summed,
    titled,
    units_of,
    widely,
    wrapped,
)

Array = np.ndarray
Spot = tuple[tuple[int, ...], int]  # a place, and a unit


def told(stage: Stage, wish: Wish, steps: Sequence[str], spot: Spot | None) -> Iterator[Line]:
    """Layers that are told in a line."""
    if stage.kind == "embed":
        yield from looked_up(stage, wish, steps if stage.path == "embed" else ())
    elif stage.kind == "tied_embedding":
        yield from titled(f"{stage.title}: o = y·wᵀ, the logit of each token being the product of its vector and y")
        yield from widely(stage.y, "o")
    elif stage.kind == "dropout":
        yield from titled(f"{stage.title}: nothing is dropped outside training, y = x")
    elif stage.kind == "positions":
        yield from titled(f"{stage.title}: y = x + a vector for each place ({stage.layer.kind})")
        t = min(wish.step or len(stage.x), len(stage.x)) - 1
        x, p, y = stage.x[t][:3], stage.kept["places"][t][:3], stage.y[t][:3]
        sums = [f"{num(a)} + {bracketed(b)} = {num(c)}" for a, b, c in zip(x, p, y, strict=True)]
        yield from wrapped(f"at step {t + 1}: {', '.join(sums)}{', ...' if stage.width > 3 else ''}")
    elif stage.kind in COMPOSITES:
        yield from titled(f"{stage.title}: {COMPOSITES[stage.kind]}")
        if stage.kind == "residual" and spot is not None and stage.parts["body"]:
            yield from _residual(stage, spot)
    elif stage.kind == "transformer_block":
        yield from titled(f"{stage.title}: {BLOCKS[stage.layer.order]}")
    elif stage.kind == "swiglu":
        yield from titled(
            f"{stage.title}: y = (silu(x·gate) · (x·up))·down, {stage.kept['gate'].shape[-1]} hidden units"
        )
        yield from widely(stage.y, "y")
    elif stage.kind == "grey":
        yield from titled(f"{stage.title}: {shape_of(stage.x)} grey values, which get an axis of one channel")
    elif stage.x.ndim > 1:
        yield from titled(f"{stage.title}: {shape_of(stage.x)} numbers in {_rows(stage)} of {stage.width}")


def _rows(stage: Stage) -> str:
    return "one row" if stage.y.ndim == 1 else f"{len(stage.y)} steps"


COMPOSITES = {
    "residual": "y = body(x) + shortcut(x), the shortcut being x itself unless it is a layer",
    "parallel": "the branches side by side",
    "bidirectional": "what was read forwards and what was read backwards, side by side",
    "encoder_decoder": "the decoder begins with tanh of the bridge, made of where both readings of the source ended",
}


BLOCKS = {
    "pre": "x + attention(norm1(x)), then that + feed_forward(norm2(that))",
    "post": "norm1(x + attention(x)), then norm2(that + feed_forward(that))",
}


def looked_up(stage: Stage, wish: Wish, steps: Sequence[str]) -> Iterator[Line]:
    """An embedding: ids become vectors. steps: the tokens, where they are known."""
    width = stage.weights["w"].shape[1]
    yield from titled(f"{stage.title}: y = w[id], {len(stage.x)} ids → a vector of {width} for each")
    t = min(wish.step or 1, len(stage.x)) - 1
    token = f", {steps[t]}" if steps else ""
    values = ", ".join(num(v) for v in stage.weights["w"][stage.x[t]][:TERMS])
    yield from wrapped(f"step {t + 1}: id {stage.x[t]}{token} → {values}{', ...' if width > TERMS else ''}")


def _residual(stage: Stage, spot: Spot) -> Iterator[Line]:
    place, unit = spot
    body, y = stage.parts["body"][-1].y[place][unit], stage.y[place][unit]
    yield from wrapped(f"y{unit + 1} {place_said(place)}: {num(body)} + {bracketed(y - body)} = {num(y)}")


def standardised(stage: Stage, names: Sequence[str]) -> Iterator[Line]:
    yield from titled(f"{stage.title}: y = (x - mean) / scale")
    x, y = stage.x.reshape(-1), stage.y.reshape(-1)
    mean, scale = (np.broadcast_to(stage.weights[name], stage.x.shape).reshape(-1) for name in ("mean", "scale"))
    shown = range(len(x)) if len(x) <= 12 else [int(i) for i in np.sort(np.argsort(-np.abs(y))[:TERMS])]
    if len(x) > 12:
        yield f"    {len(x):,} features, between {num(y.min())} and {num(y.max())}; the farthest from their mean:", ""
    names = names if len(names) == len(x) else [_place(i, stage.x.shape) for i in range(len(x))]
    width = min(max(len(names[i]) for i in shown), 24)
    for i in shown:
        term = f"({num(x[i])} - {bracketed(mean[i])}) / {num(scale[i])} = {num(y[i])}"
        yield f"    {names[i][:24]:<{width}}  {term}", ""


def _place(i: int, shape: tuple[int, ...]) -> str:
    """x7, or x[2,3,1] where there are several axes."""
    return f"x{i + 1}" if len(shape) < 2 else f"x[{','.join(str(int(k) + 1) for k in np.unravel_index(i, shape))}]"


def dense_forward(stage: Stage, names: Sequence[str], wish: Wish, place: str) -> Iterator[Line]:
    bias = " + b" if "b" in stage.weights else ""
    yield from titled(f"{stage.title}: z = Σ w·x{bias}, {stage.x.size} → {stage.width}{place and f'; {place}'}")
    shown = units_of(stage, wish)
    if len(shown) < stage.width:
        yield from widely(stage.y, "z")
    for j in shown:
        added = [num(stage.weights["b"][j])] if "b" in stage.weights else []
        yield from wrapped(f"z{j + 1} = {products(stage.weights['w'][:, j], stage.x, added)} = {num(stage.y[j])}")
    if len(stage.x) > TERMS and shown:
        each = stage.weights["w"][:, shown[0]] * stage.x
        largest = [int(i) for i in np.argsort(-np.abs(each))[:3] if each[i]]
        name = lambda i: names[i] if len(names) == len(stage.x) else f"a{i + 1}"  # noqa: E731
        told = ", ".join(f"{name(i)} gives {num(float(each[i]))}" for i in largest)
        yield from wrapped(f"largest in z{shown[0] + 1}: {told or 'every term is 0'}")


def bend_forward(stage: Stage, wish: Wish, place: str) -> Iterator[Line]:
    formula = BENDS[stage.kind].formula if stage.kind in BENDS else "e^z / Σ e^z"
    yield from titled(f"{stage.title}: a = {formula}{place and f'; {place}'}")
    shown = units_of(stage, wish)
    if len(shown) < stage.width:
        yield from widely(stage.y, "a")
        zero = int((stage.y == 0).sum())
        if zero:
            yield f"    {zero} of {stage.width} are 0", ""
    x, y = stage.x.reshape(-1), stage.y.reshape(-1)
    yield from packed([f"a{j + 1} = {_bend(stage, x[j])} = {num(y[j])}" for j in shown])


def _bend(stage: Stage, z: float) -> str:
    return f"max(0, {num(z)})" if stage.kind == "relu" else f"f({num(z)})"


def norm_forward(stage: Stage, wish: Wish, place: str) -> Iterator[Line]:
    batch = stage.kind == "batch_norm"
    what = {
        "batch_norm": "y = (x - mean) / √(var + ε) · scale + bias, by the running mean and variance of training",
        "layer_norm": "y = (x - mean) / √(var + ε) · scale + bias, mean and variance over the row itself",
        "rms_norm": "y = x / √(mean of x² + ε) · scale",
    }[stage.kind]
    yield from titled(f"{stage.title}: {what}{place and f'; {place}'}")
    wide = replace(wish, unit=wish.unit or int(np.abs(stage.dy).argmax()) + 1)
    for j in units_of(stage, wide):
        w = {name: float(value[j]) for name, value in stage.weights.items()}
        mean = w["mean"] if batch else float(stage.x.mean()) if stage.kind == "layer_norm" else 0.0
        var = w["var"] if batch else float(((stage.x - mean) ** 2).mean())
        top = f"({num(stage.x[j])} - {bracketed(mean)})" if mean else num(stage.x[j])
        bias = f" + {bracketed(w['bias'])}" if "bias" in w else ""
        by = f"√({num(var)} + {stage.layer.epsilon:g})"
        scale = f" · {bracketed(w['scale'])}" if "scale" in w else ""
        yield from wrapped(f"y{j + 1} = {top} / {by}{scale}{bias} = {num(stage.y[j])}")


# -- backward ---


def bend_backward(stage: Stage, wish: Wish, place: str) -> Iterator[Line]:
    bend = BENDS[stage.kind]
    yield from titled(f"{stage.title}: δ = dL/dz = dL/da · f'(z),  f'(z) = {bend.slope}{place and f'; {place}'}")
    shown = units_of(stage, wish)
    if len(shown) < stage.width:
        yield from widely(stage.dx, "δ")
    slopes, dy, dx = bend.df(stage.layer, stage.x).reshape(-1), stage.dy.reshape(-1), stage.dx.reshape(-1)
    yield from packed([f"δ{j + 1} = {num(dy[j])}·{bracketed(slopes[j])} = {num(dx[j])}" for j in shown])


SLOPES = {
    "embed": "dL/dw: each token's vector gathers dL/dy of the steps that looked it up",
    "tied_embedding": "dL/dw adds up both uses: as what was looked up, and as what was compared with",
    "batch_norm": "dL/dx = dL/dy · scale / √(var + ε); dL/dscale, dL/dbias summed over the places",
    "layer_norm": "dL/dx through the mean and the variance as well; dL/dscale, dL/dbias summed over the rows",
    "rms_norm": "dL/dx through the mean of x² as well; dL/dscale summed over the rows",
    "positions": "the vector of each place takes dL/dy of its step",
    "swiglu": "through the product of both halves, and through silu",
}


def dense_backward(stage: Stage, wish: Wish, place: str) -> Iterator[Line]:
    bias = ", dL/db[j] = δ[j]" if "b" in stage.weights else ""
    many = f"; {place}, and dL/dw sums over all" if place else ""
    yield from titled(f"{stage.title}: dL/dw[i,j] = x[i]·δ[j]{bias}, dL/dx[i] = Σ w[i,j]·δ[j]{many}")
    g, shown = stage.gradients["w"], units_of(stage, wish)
    if not place and g.shape[0] <= SMALL and g.shape[1] <= 6 and wish.unit is None:
        yield "    dL/dw" + "".join(f"{f'δ{j + 1} = {num(d)}':>14}"[-14:] for j, d in enumerate(stage.dy)), "dim"
        for i, row in enumerate(g):
            yield f"    x{i + 1} = {num(stage.x[i]):<9}"[:19].ljust(12) + "".join(f"{num(v):>14}" for v in row)[3:], ""
    else:
        yield from widely(g, "dL/dw")
        still = sum(1 for j in shown if stage.dy[j] == 0)
        if still:
            yield f"    δ is 0 for {still} of these {len(shown)} units: no gradient reaches their weights", ""
        for j in [j for j in shown if stage.dy[j] != 0][:SMALL]:
            i = int(np.abs(stage.x).argmax()) if place else int(np.abs(g[:, j]).argmax())
            share = float(stage.x[i] * stage.dy[j])
            name = "x·δ" if place else "dL/dw"
            yield from wrapped(
                f"δ{j + 1} = {num(stage.dy[j])}; largest: {name}[{i + 1},{j + 1}] = "
                f"{num(stage.x[i])}·{bracketed(stage.dy[j])} = {num(share)}"
            )
    if stage.path and stage.dx.size <= SMALL:
        for i in range(stage.dx.size):
            terms = [f"{num(w)}·{bracketed(d)}" for w, d in zip(stage.weights["w"][i], stage.dy, strict=True)]
            if stage.dy.size <= TERMS:
                yield from wrapped(f"dL/dx{i + 1} = {summed(terms)} = {num(stage.dx[i])}")
