"""The walk of `explain.py` written out: formula, numbers, result, line by line, within 80 columns.

Each kind of layer has a writer for its way forward and one for its way back; those of convolution, recurrence and
attention stand in files of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pellucid.network.layer import join
from pellucid.views.explain import Walk
from pellucid.views.explain_math import BENDS
from pellucid.views.explain_stage import Stage, every
from pellucid.views.explain_text_attention import attention_backward, attention_forward, look_backward, look_forward
from pellucid.views.explain_text_conv import (
    conv_backward,
    conv_forward,
    global_backward,
    global_forward,
    pool_backward,
    pool_forward,
    spot,
)
from pellucid.views.explain_text_layers import (
    SLOPES,
    bend_backward,
    bend_forward,
    dense_backward,
    dense_forward,
    looked_up,
    norm_forward,
    standardised,
    told,
)
from pellucid.views.explain_text_loss import loss_backward, loss_forward
from pellucid.views.explain_text_recurrent import recurrent_backward, recurrent_forward
from pellucid.views.explain_words import (
    ASCII,
    Line,
    Wish,
    at_place,
    bracketed,
    head,
    num,
    packed,
    place_said,
    shape_of,
    titled,
    units_of,
    widely,
    wrapped,
)

Array = np.ndarray
Writer = Callable[[Stage, Wish], Iterator[Line]]
LONG = 30  # stages; of a deeper network those inside composites are told in a line, unless they are asked for


@dataclass
class Page:
    """What the writers share: names of features and steps, and what is shown of each stage."""

    wish: Wish
    names: dict[str, Sequence[str]]  # of what arrives at each stage, by path
    steps: Sequence[str] = ()  # the tokens that were read
    raw: dict[str, Array] = field(default_factory=dict)  # images as they came, by the layer that reads them first
    spots: dict[int, tuple[tuple[int, ...], int]] = field(default_factory=dict)  # place and unit, by id of the stage


def written(
    made: Walk, wish: Wish, names: Sequence[str], labels: Sequence[str], unicode: bool = True,
    vocabulary: Sequence[str] = (),
) -> list[Line]:  # fmt: skip
    """All lines. names: of the features; labels: of the outputs; vocabulary: the tokens, where text is read."""
    wish = replace(wish, step=wish.step or _last_step(made))
    page = Page(
        wish, _input_names(made.stages, names), _tokens(made, vocabulary), _raw(made.stages), _spots(made, wish)
    )
    stages = [s for s in every(made.stages) if wish.wants(s)]
    inner = {id(s) for s in every(made.stages)} - {id(s) for s in made.stages}
    brief = inner if len(stages) > LONG else set()
    lines = head("forward")
    if made.stages[0].kind == "tied_embedding" and wish.wants(made.stages[0]):
        lines += looked_up(made.stages[0], wish, page.steps)  # at both ends: first what goes in
    for stage in stages:
        lines += _in_brief(stage) if id(stage) in brief else _forward(stage, page)
    if wish.layer is None:
        lines += loss_forward(made.loss, labels, wish)
    lines += head("backward: the chain rule, from the loss to the first weight")
    if wish.layer is None:
        lines += loss_backward(made.loss, labels, wish)
    for stage in reversed(stages):
        lines += _gradients_in_brief(stage) if id(stage) in brief else _backward(stage, page)
    if wish.layer is None:
        lines += _update(made)
    if brief:
        lines += [("", ""), ("--layer PATH shows a layer of which little is said here in full", "dim")]
    lines += _check(made)
    return lines if unicode else [(text.translate(ASCII), style) for text, style in lines]


def _last_step(made: Walk) -> int | None:
    """The last real step of a sequence, from 1; None where nothing is read step by step."""
    if made.loss.steps:
        return 1 + max(t for t, one in enumerate(made.loss.steps) if one is not None)
    for stage in every(made.stages):
        if stage.kept.get("order"):
            return 1 + max(stage.kept["order"])
        if stage.kind == "attention":
            return 1 + int(np.flatnonzero(stage.kept["seen"].any(0))[-1])
    return None


def _input_names(stages: Sequence[Stage], names: Sequence[str]) -> dict[str, Sequence[str]]:
    """The features' names, as far as the first weighted sum."""
    found: dict[str, Sequence[str]] = {}
    for stage in stages:
        found[stage.path] = names
        if "w" in stage.weights:
            break
    return found


def _tokens(made: Walk, vocabulary: Sequence[str]) -> Sequence[str]:
    x = made.stages[0].x
    if not vocabulary or not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        return ()
    return [f"'{vocabulary[i][:12]}'" for i in x]


def _raw(stages: Sequence[Stage]) -> dict[str, Array]:
    """The image behind the first layer that sees it, if it was only standardised before."""
    if len(stages) > 1 and stages[0].kind == "input" and stages[0].x.ndim in (2, 3):
        reader = next((s for s in stages[1:] if s.kind != "grey"), None)
        if reader is not None and reader.kind == "conv" and reader.x.ndim == 3:
            return {reader.path: stages[0].x.reshape(reader.x.shape)}
    return {}


def _spots(made: Walk, wish: Wish) -> dict[int, tuple[tuple[int, ...], int]]:
    """Place and unit of every stage with several places. A layer that changes no place shows what the one before
    showed, so that one number is followed through."""
    found: dict[int, tuple[tuple[int, ...], int]] = {}
    last: tuple[Stage, tuple[tuple[int, ...], int]] | None = None
    for stage in every(made.stages):
        if not isinstance(stage.y, np.ndarray) or stage.y.ndim < 2:
            continue
        slides = stage.kind in ("conv", "max_pool", "avg_pool")
        if stage.y.ndim == 2 and wish.step is not None and not slides:
            found[id(stage)] = ((min(wish.step, len(stage.y)) - 1,), -1)
        elif not slides and last is not None and last[0].y.shape == stage.y.shape:
            found[id(stage)] = last[1]
        else:
            unit = last[1][1] + 1 if last is not None and "pool" in stage.kind else None  # the same one, from 1
            found[id(stage)] = spot(stage, wish if wish.unit or not unit else replace(wish, unit=unit, place=None))
        if stage.y.ndim == 3 or slides:
            last = (stage, found[id(stage)])
    return found


def _seen(stage: Stage, page: Page) -> tuple[Stage, Wish, str]:
    """The stage at the one place that is shown, its unit, and the place in words."""
    if id(stage) not in page.spots or not isinstance(stage.x, np.ndarray) or stage.x.shape[:-1] != stage.y.shape[:-1]:
        return stage, page.wish, ""
    place, unit = page.spots[id(stage)]
    wish = page.wish if page.wish.unit is not None or unit < 0 else replace(page.wish, unit=unit + 1)
    return at_place(stage, place), wish, place_said(place)


def _in_brief(stage: Stage) -> Iterator[Line]:
    yield f"  {stage.title}: {stage.kind} → {shape_of(stage.y)}, norm {num(np.sqrt((stage.y**2).sum()))}"[:80], "cyan"


def _gradients_in_brief(stage: Stage) -> Iterator[Line]:
    sizes = [f"dL/d{name} {num(np.sqrt((g**2).sum()))}" for name, g in stage.gradients.items()]
    if sizes:
        yield f"  {stage.title}: norms {', '.join(sizes)}"[:80], "cyan"


# -- forward ------------------------------------------------------------------------------------------------------


def _forward(stage: Stage, page: Page) -> Iterator[Line]:
    whole, wish = stage, page.wish
    if stage.kind == "conv":
        return conv_forward(stage, _pinned(stage, page), page.raw.get(stage.path))
    if stage.kind in ("attention", "luong_attention", "bahdanau_decoder"):
        write = attention_forward if stage.kind == "attention" else look_forward
        return write(stage, wish, page.steps)
    if stage.kind in SPECIAL:
        return SPECIAL[stage.kind][0](stage, _pinned(stage, page))
    stage, wish, place = _seen(whole, page)
    if stage.kind == "dense":
        return dense_forward(stage, page.names.get(stage.path, ()), wish, place)
    if stage.kind == "input":
        return standardised(whole, page.names.get(stage.path, ()))
    if stage.kind in BENDS or stage.kind == "softmax":
        return bend_forward(stage, wish, place)
    if stage.kind in ("batch_norm", "layer_norm", "rms_norm"):
        return norm_forward(stage, wish, place)
    return told(whole, wish, page.steps, page.spots.get(id(whole)))


def _pinned(stage: Stage, page: Page) -> Wish:
    """The wish with the unit that was settled for this stage."""
    if page.wish.unit is not None or id(stage) not in page.spots:
        return page.wish
    place, unit = page.spots[id(stage)]
    pinned = (place[0] + 1, place[1] + 1) if len(place) == 2 and page.wish.place is None else page.wish.place
    slides = stage.kind in ("conv", "max_pool", "avg_pool")
    return (
        page.wish if unit < 0 or not slides or stage.kind == "conv" else replace(page.wish, unit=unit + 1, place=pinned)
    )


# -- backward -----------------------------------------------------------------------------------------------------


SPECIAL: dict[str, tuple[Writer, Writer]] = {
    "conv": (conv_forward, conv_backward),
    "max_pool": (pool_forward, pool_backward),
    "avg_pool": (pool_forward, pool_backward),
    "global_pool": (global_forward, global_backward),
    **dict.fromkeys(("rnn", "lstm", "gru"), (recurrent_forward, recurrent_backward)),
    "attention": (attention_forward, attention_backward),
    **dict.fromkeys(("luong_attention", "bahdanau_decoder"), (look_forward, look_backward)),
}


def _backward(stage: Stage, page: Page) -> Iterator[Line]:
    if stage.kind in SPECIAL:
        yield from SPECIAL[stage.kind][1](stage, _pinned(stage, page))
        return
    whole, (stage, wish, place) = stage, _seen(stage, page)
    if stage.kind == "dense":
        yield from dense_backward(stage, wish, place)
    elif stage.kind in BENDS:
        yield from bend_backward(stage, wish, place)
    elif stage.kind == "softmax":
        yield from titled(f"{stage.title}: dL/dz = a · (dL/da - Σ a · dL/da)")
        yield from packed([f"δ{j + 1} = {num(stage.dx[j])}" for j in units_of(stage, wish)])
    elif stage.kind in ("residual", "transformer_block"):
        yield from titled(f"{stage.title}: the gradient goes both ways, through the layers and past them unchanged")
        if stage.dx.size and stage.dx.ndim:
            yield from widely(whole.dx, "dL/dx")
    elif stage.gradients:
        yield from titled(f"{stage.title}: {SLOPES.get(stage.kind, 'by the chain rule')}")
        for name, g in stage.gradients.items():
            yield from widely(g, f"dL/d{name}")


def _update(made: Walk) -> Iterator[Line]:
    yield from head(f"update: plain gradient descent, w' = w - η · dL/dw, η = {made.rate:g}")
    weighted = [s for s in every(made.stages) if s.gradients]
    for stage in weighted if len(weighted) <= LONG // 2 else [*weighted[:3], *weighted[-3:]]:
        for name, g in stage.gradients.items():
            place = np.unravel_index(int(np.abs(g).argmax()), g.shape)
            w = float(stage.weights[name][place])
            at = ",".join(str(int(i) + 1) for i in place)
            text = f"{num(w)} - {made.rate:g}·{bracketed(g[place])} = {num(w - made.rate * float(g[place]))}"
            norm = float(np.sqrt((g**2).sum()))
            yield from wrapped(f"{join(stage.path, name)}[{at}]: {text}   (largest of {g.size:,}, norm {norm:.2g})", 2)
    if len(weighted) > LONG // 2:
        yield f"  and the weights of {len(weighted) - 6} layers between", ""
    word = "falls" if made.after < made.loss.value else "rises" if made.after > made.loss.value else "stays"
    yield f"  the loss of this example {word} from {num(made.loss.value)} to {num(made.after)}", ""


def _check(made: Walk) -> Iterator[Line]:
    check = made.check
    total = sum(g.size for g in made.gradients.values())
    yield "", ""
    said = f"largest difference {check.difference:.1e}, {check.relative:.1e} of the largest gradient"
    if check.agrees:
        yield from wrapped(f"checked against jax.grad: all {total:,} gradients agree; {said}", 0, 2)
    else:
        yield from wrapped(
            f"CHECK FAILED against jax.grad: {said}; loss {check.loss:.6g} there, {made.loss.value:.6g} here", 0, 2
        )
