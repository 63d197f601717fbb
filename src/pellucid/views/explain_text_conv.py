"""Convolution and pooling in words: which pixels, which filter, which sum; and the gradient, a sum over all places."""

from collections.abc import Iterator

import numpy as np

from pellucid.views.explain_conv import as_image, gather, kernel
from pellucid.views.explain_stage import Stage
from pellucid.views.explain_words import (
    TERMS,
    Array,
    Line,
    Wish,
    beside,
    grid,
    num,
    shape_of,
    summed,
    titled,
    widely,
    wrapped,
)

MOST = 11  # rows and columns of a grid


def spot(stage: Stage, wish: Wish) -> tuple[tuple[int, ...], int]:
    """The place and the unit that are shown: those asked for, else those of the strongest response."""
    y = stage.y
    unit = wish.unit - 1 if wish.unit is not None and wish.unit <= stage.width else None
    asked = wish.place if y.ndim == 3 else (wish.step,) if wish.step is not None else None
    if asked is not None and all(1 <= p <= n for p, n in zip(asked, y.shape, strict=False)):
        place = tuple(p - 1 for p in asked)
        return place, int(y[place].argmax()) if unit is None else unit
    of = y if unit is None else y[..., unit : unit + 1]
    *place, best = np.unravel_index(int(of.argmax()), of.shape)
    return tuple(int(p) for p in place), int(best) if unit is None else unit


def _window(stage: Stage, place: tuple[int, ...], filler: float = 0.0) -> Array:
    """What the window sees at a place: [window height, window width, channels]."""
    at = (0, *place) if len(place) == 1 else place
    x = stage.x if stage.kept["valid"] is None else np.where(stage.kept["valid"][:, None], stage.x, filler)
    return gather(as_image(x), stage.kept["geometry"], filler)[at]


def _ranges(stage: Stage, place: tuple[int, ...]) -> str:
    """Which rows and columns, or steps, the window covers; those below 1 lie in the padding."""
    g = stage.kept["geometry"]
    first = g.corner((0, *place) if len(place) == 1 else (place[0], place[1]))
    ends = [f + (k - 1) * d for f, k, d in zip(first, g.size, g.dilation, strict=True)]
    said = [f"{a + 1} to {b + 1}" for a, b in zip(first, ends, strict=True)]
    image = as_image(stage.x).shape
    outside = any(a < 0 or b >= n for a, b, n in zip(first, ends, image, strict=False))
    beyond = "; what lies outside is 0" if outside else ""
    return (f"steps {said[1]}" if len(place) == 1 else f"rows {said[0]}, columns {said[1]}") + beyond


def _settings(stage: Stage) -> str:
    layer, g = stage.layer, stage.kept["geometry"]
    size = " x ".join(map(str, g.size if stage.y.ndim == 3 else g.size[1:]))
    more = [
        f"{n} {getattr(layer, n)}" for n in ("stride", "dilation", "groups") if getattr(layer, n, 1) not in (1, None)
    ]
    return ", ".join([f"windows of {size}", *more, f"{shape_of(stage.x)} → {shape_of(stage.y)}"])


def conv_forward(stage: Stage, wish: Wish, raw: Array | None = None) -> Iterator[Line]:
    """raw: the image as it came, where this layer reads it (only standardised)."""
    bias = " + b" if "b" in stage.weights else ""
    yield from titled(f"{stage.title}: z = Σ w·x{bias} over each window and its channels; {_settings(stage)}")
    yield from widely(stage.y, "z")
    place, unit = spot(stage, wish)
    seen, w = _window(stage, place), kernel(stage)[..., unit]  # [kh, kw, channels of the group]
    first = unit // (stage.width // stage.layer.groups) * w.shape[-1]  # of the channels that this filter reads
    seen = seen[..., first : first + w.shape[-1]]
    sums = (seen * w).sum((0, 1))
    order = np.argsort(-np.abs(sums), kind="stable")
    channel = int(order[0])
    strongest = "" if wish.unit is not None and wish.place is not None else ", the strongest response"
    where = ", ".join(str(p + 1) for p in place)
    yield from wrapped(f"filter {unit + 1} at place ({where}){strongest}: {_ranges(stage, place)}")
    if max(w.shape[:2]) <= MOST:
        of = f" (channel {first + channel + 1})" if stage.x.shape[-1] > 1 else ""
        grids = [grid(f"x{of}", seen[..., channel]), grid("w", w[..., channel])]
        grids.append(grid("x·w", seen[..., channel] * w[..., channel]))
        if raw is not None and stage.kept["geometry"].pads:
            pixels = gather(raw, stage.kept["geometry"])[place][..., channel]
            grids.insert(0, grid("pixels, as they came", pixels))
        yield from beside(grids)
    terms = [f"{num(sums[c])}" + (f" (channel {first + c + 1})" if len(sums) > 1 else "") for c in order[:TERMS]]
    if len(order) > TERMS:
        terms.append(f"{num(sums[order[TERMS:]].sum())} ({len(order) - TERMS} more channels)")
    if "b" in stage.weights:
        terms.append(f"{num(stage.weights['b'][unit])} (bias)" if len(terms) > 1 else num(stage.weights["b"][unit]))
    said = summed(terms) if len(terms) > 1 else f"the sum of {w.size} products"
    yield from wrapped(f"z{unit + 1} = {said} = {num(stage.y[place][unit])}")


def conv_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    unit = spot(stage, wish)[1]
    d = stage.dy[..., unit]
    yield from titled(
        f"{stage.title}: dL/dw = Σ over all places x·δ" + (", dL/db = Σ δ" if "b" in stage.weights else "")
        + ", dL/dx = Σ w·δ over all windows that saw x"
    )  # fmt: skip
    yield from widely(stage.gradients["w"], "dL/dw")
    live = int(np.count_nonzero(d))
    yield from wrapped(f"filter {unit + 1}: δ is not 0 at {live} of {d.size} places")
    if not live:
        yield "    no gradient reaches this filter from this example", ""
        return
    best = tuple(int(i) for i in np.unravel_index(int(np.abs(d).argmax()), d.shape))
    g = stage.gradients["w"] if stage.gradients["w"].ndim == 4 else stage.gradients["w"][None]
    whole = g[..., unit]
    channel = int(np.abs(whole).sum((0, 1)).argmax())
    first = unit // (stage.width // stage.layer.groups) * whole.shape[-1]
    one = _window(stage, best)[..., first + channel] * d[best]
    of = f", channel {first + channel + 1}" if stage.x.shape[-1] > 1 else ""
    if max(whole.shape[:2]) <= MOST:
        at = ", ".join(str(i + 1) for i in best)
        mine = grid(f"x·δ at ({at}), δ = {num(d[best])}{of}", one)
        yield from beside([mine, grid(f"the sum over {live}: dL/dw{of}", whole[..., channel])])
    if "b" in stage.weights:
        yield from wrapped(f"dL/db{unit + 1} = the sum of its {live} δ = {num(d.sum())}")


def pool_forward(stage: Stage, wish: Wish) -> Iterator[Line]:
    largest = stage.kind == "max_pool"
    yield from titled(f"{stage.title}: the {'largest' if largest else 'mean'} of each window; {_settings(stage)}")
    place, unit = spot(stage, wish)
    seen = _window(stage, place, -np.inf if largest else 0.0)[..., unit]
    where = ", ".join(str(p + 1) for p in place)
    numbers = [num(v) for v in seen.reshape(-1) if np.isfinite(v)]
    shown = ", ".join(numbers[:16]) + (", ..." if len(numbers) > 16 else "")
    word = "max" if largest else "mean"
    yield from wrapped(f"unit {unit + 1} at place ({where}): {word}({shown}) = {num(stage.y[place][unit])}")


def pool_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    how = "to the largest of each window, and to no other" if stage.kind == "max_pool" else "shared equally in a window"
    yield from titled(f"{stage.title}: the gradient goes {how}")
    yield from wrapped(f"it reaches {np.count_nonzero(stage.dx):,} of {stage.dx.size:,} numbers")


def global_forward(stage: Stage, wish: Wish) -> Iterator[Line]:
    word = "mean" if stage.layer.kind == "mean" else "largest"
    places = stage.x.reshape(-1, stage.x.shape[-1])
    yield from titled(f"{stage.title}: the {word} over {len(places)} places, {shape_of(stage.x)} → {stage.width}")
    unit = min((wish.unit or int(np.abs(stage.y).argmax()) + 1), stage.width) - 1
    real = places[stage.kept["share"].any(1), unit] if stage.layer.kind == "mean" else places[:, unit]
    shown = ", ".join(num(v) for v in real[:8]) + (", ..." if len(real) > 8 else "")
    yield from wrapped(f"unit {unit + 1}: {word} of {shown} = {num(stage.y[unit])}")


def global_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    how = "shared by all places" if stage.layer.kind == "mean" else "to the place that was largest"
    yield from titled(f"{stage.title}: the gradient of each channel is {how}")
