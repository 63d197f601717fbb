"""The walk of `explain.py` written out: formula, numbers, result, line by line, within 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.views.explain import Stage, Walk
from pellucid.views.explain_math import BENDS, LossWalk

Array = np.ndarray
Line = tuple[str, str]  # text, style
SMALL = 8  # layers up to this width are shown whole
TERMS = 6  # of a weighted sum; the rest is added up
WIDTH = 80
ASCII = str.maketrans(
    {
        "Σ": "sum",
        "·": "*",
        "δ": "d",
        "η": "rate",
        "α": "alpha",
        "Φ": "Phi",
        "φ": "phi",
        "±": "+-",
        "²": "^2",
        "→": "->",
    }
)


@dataclass(frozen=True)
class Wish:
    """What a person wants to see: one layer alone, one unit (from 1) of each."""

    layer: str | None = None
    unit: int | None = None


def written(made: Walk, wish: Wish, names: Sequence[str], labels: Sequence[str], unicode: bool = True) -> list[Line]:
    """All lines. names: of the features; labels: of the outputs."""
    lines = [*_head("forward")]
    stages = [s for s in made.stages if wish.layer in (None, s.path)]
    before: dict[str, Sequence[str]] = _input_names(made.stages, names)
    for stage in stages:
        lines += _forward(stage, before[stage.path], wish)
    if wish.layer is None:
        lines += _loss(made.loss, labels)
    lines += _head("backward: the chain rule, from the loss to the first weight")
    if wish.layer is None:
        lines += _loss_slope(made.loss, labels)
    for stage in reversed(stages):
        lines += _backward(stage, wish)
    if wish.layer is None:
        lines += _update(made)
    lines += _check(made)
    return lines if unicode else [(text.translate(ASCII), style) for text, style in lines]


def _input_names(stages: Sequence[Stage], names: Sequence[str]) -> dict[str, Sequence[str]]:
    """What each stage's inputs are called: the features' names until the first weighted sum, then a1, a2, ..."""
    found: dict[str, Sequence[str]] = {}
    fresh = True
    for stage in stages:
        n = stage.x.size
        found[stage.path] = names if fresh and len(names) == n else [f"a{i + 1}" for i in range(n)]
        fresh = fresh and "w" not in stage.weights
    return found


def num(value: float) -> str:
    """Four digits, as short as they go.

    >>> num(0.123456), num(-3.0), num(0.0), num(1e-9)
    ('0.1235', '-3', '0', '1e-09')
    """
    return f"{float(value):.4g}" if value else "0"


def bracketed(value: float) -> str:
    return f"({num(value)})" if value < 0 else num(value)


def wrapped(text: str, indent: int = 4, hang: int = 6) -> Iterator[Line]:
    for line in textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + hang)):
        yield line, ""


def packed(items: Sequence[str]) -> Iterator[Line]:
    """Items side by side, as many as a line holds."""
    line = ""
    for item in items:
        if line and len(line) + 3 + len(item) > WIDTH:
            yield line, ""
            line = ""
        line += f"   {item}" if line else f"    {item}"
    if line:
        yield line, ""


def summed(terms: Sequence[str]) -> str:
    """Terms with their signs between them.

    >>> summed(["2·a", "-3·b", "1"])
    '2·a - 3·b + 1'
    """
    return "".join((f" - {t[1:]}" if t.startswith("-") else f" + {t}") if i else t for i, t in enumerate(terms))


def _head(text: str) -> list[Line]:
    title, colon, rest = text.partition(":")
    return [("", ""), (title.upper() + colon + rest, "bold")]


def _chosen(stage: Stage, wish: Wish) -> list[int]:
    """The units that are shown: all of a small layer, else the one asked for, else the one that the loss pulls most."""
    if wish.unit is not None:
        return [wish.unit - 1] if wish.unit <= stage.width else []
    if stage.width <= SMALL or (wish.layer is not None and stage.width <= 64):
        return list(range(stage.width))
    pull = stage.dy if "w" in stage.weights else stage.dx  # dL/dz both, so that z, a and δ are of one unit
    return [int(np.abs(pull.reshape(-1)).argmax())]


# -- forward ------------------------------------------------------------------------------------------------------


def _forward(stage: Stage, names: Sequence[str], wish: Wish) -> Iterator[Line]:
    if stage.kind == "dense":
        yield from _sums(stage, names, wish)
    elif stage.kind == "input":
        yield from _standardised(stage, names, wish)
    elif stage.kind in BENDS or stage.kind == "softmax":
        yield from _bent(stage, wish)
    elif stage.kind == "dropout":
        yield f"  {stage.path}: nothing is dropped outside training, y = x", "cyan"
    elif stage.x.ndim > 1:
        yield f"  {stage.path}: {' x '.join(map(str, stage.x.shape))} numbers in one row of {stage.width}", "cyan"


def _standardised(stage: Stage, names: Sequence[str], wish: Wish) -> Iterator[Line]:
    yield f"  {stage.path}: y = (x - mean) / scale", "cyan"
    x, y = stage.x.reshape(-1), stage.y.reshape(-1)
    mean, scale = (np.broadcast_to(stage.weights[name], stage.x.shape).reshape(-1) for name in ("mean", "scale"))
    shown = range(len(x)) if len(x) <= 12 else [int(i) for i in np.sort(np.argsort(-np.abs(y))[:TERMS])]
    if len(x) > 12:
        yield f"    {len(x)} features, between {num(y.min())} and {num(y.max())}; the farthest from their mean:", ""
    names = names if len(names) == len(x) else [f"x{i + 1}" for i in range(len(x))]
    width = min(max(len(names[i]) for i in shown), 24)
    for i in shown:
        term = f"({num(x[i])} - {bracketed(mean[i])}) / {num(scale[i])} = {num(y[i])}"
        yield f"    {names[i][:24]:<{width}}  {term}", ""


def _sums(stage: Stage, names: Sequence[str], wish: Wish) -> Iterator[Line]:
    bias = " + b" if "b" in stage.weights else ""
    yield f"  {stage.path}: z = Σ w·x{bias}, {len(stage.x)} → {stage.width}", "cyan"
    shown = _chosen(stage, wish)
    if len(shown) < stage.width:
        yield from _widely(stage.y, "z")
    for j in shown:
        yield from wrapped(f"z{j + 1} = {_terms(stage, j)} = {num(stage.y[j])}")
    if len(stage.x) > TERMS and shown:
        products = stage.weights["w"][:, shown[0]] * stage.x
        largest = [int(i) for i in np.argsort(-np.abs(products))[:3] if products[i]]
        told = ", ".join(f"{names[i]} gives {num(float(products[i]))}" for i in largest)
        yield from wrapped(f"largest in z{shown[0] + 1}: {told or 'every term is 0'}")


def _terms(stage: Stage, j: int) -> str:
    """w·x + w·x + ... + b, the largest terms in their order, the rest added up."""
    w, x = stage.weights["w"][:, j], stage.x
    products = w * x
    order = np.sort(np.argsort(-np.abs(products), kind="stable")[:TERMS]) if len(x) > TERMS else np.arange(len(x))
    terms = [f"{num(w[i])}·{bracketed(x[i])}" for i in order]
    if len(x) > len(order):
        rest = products.sum() - products[order].sum()
        terms.append(f"{num(rest)} ({len(x) - len(order)} more terms)")
    return summed(terms + ([num(stage.weights["b"][j])] if "b" in stage.weights else []))


def _bent(stage: Stage, wish: Wish) -> Iterator[Line]:
    formula = BENDS[stage.kind].formula if stage.kind in BENDS else "e^z / Σ e^z"
    yield f"  {stage.path}: a = {formula}", "cyan"
    shown = _chosen(stage, wish)
    if len(shown) < stage.width:
        yield from _widely(stage.y, "a")
        zero = int((stage.y == 0).sum())
        if zero:
            yield f"    {zero} of {stage.width} are 0", ""
    x, y = stage.x.reshape(-1), stage.y.reshape(-1)
    yield from packed([f"a{j + 1} = {_bend(stage, x[j])} = {num(y[j])}" for j in shown])


def _bend(stage: Stage, z: float) -> str:
    return f"max(0, {num(z)})" if stage.kind == "relu" else f"f({num(z)})"


def _widely(values: Array, name: str) -> Iterator[Line]:
    flat = values.reshape(-1)
    norm = float(np.sqrt((flat**2).sum()))
    yield f"    {flat.size} values: {name} between {num(flat.min())} and {num(flat.max())}, norm {num(norm)}", ""


# -- the loss -----------------------------------------------------------------------------------------------------


def _loss(loss: LossWalk, labels: Sequence[str]) -> Iterator[Line]:
    if loss.parts:
        for part in loss.parts:
            yield from _loss(part, labels[part.start : part.start + len(part.outputs)])
        yield from wrapped(f"L = {' + '.join(num(part.value) for part in loss.parts)} = {num(loss.value)}", 2)
        return
    yield f"  loss {loss.name}: {loss.formula}" + (f",  {loss.link}" if loss.link else ""), "cyan"
    shown = _outputs_shown(loss)
    width = min(max(len(labels[i]) for i in shown), 20)
    letter = "p" if loss.link else "o"
    for i in shown:
        link = (
            f"o = {num(loss.outputs[i]):<9} p = {num(loss.linked[i]):<9}"
            if loss.link
            else f"o = {num(loss.outputs[i]):<9}"
        )
        yield f"    {labels[i][:20]:<{width}}  {link}  y = {num(loss.target[i])}", ""
    if len(shown) < len(loss.outputs):
        yield f"    and {len(loss.outputs) - len(shown)} more", ""
    yield from wrapped(f"L = {_loss_numbers(loss, letter)}{num(loss.value)}")


def _outputs_shown(loss: LossWalk) -> list[int]:
    k = len(loss.outputs)
    if k <= 12:
        return list(range(k))
    return sorted({*np.argsort(-np.abs(loss.gradient))[:TERMS].tolist(), int(loss.target.argmax())})


def _loss_numbers(loss: LossWalk, letter: str) -> str:
    if loss.name == "cross_entropy" and np.count_nonzero(loss.target) == 1:
        return f"-log {num(loss.linked[int(loss.target.argmax())])} = "
    if loss.name == "mean_squared_error" and len(loss.outputs) == 1:
        return f"({num(loss.target[0])} - {bracketed(loss.outputs[0])})² = "
    if loss.name == "binary_cross_entropy" and len(loss.outputs) == 1 and loss.target[0] in (0, 1):
        p = loss.linked[0]
        return f"-log {num(p)} = " if loss.target[0] else f"-log(1 - {num(p)}) = "
    return ""


def _loss_slope(loss: LossWalk, labels: Sequence[str]) -> Iterator[Line]:
    if loss.parts:
        for part in loss.parts:
            yield from _loss_slope(part, labels[part.start : part.start + len(part.outputs)])
        return
    yield f"  loss {loss.name}: {loss.slope}", "cyan"
    shown = _outputs_shown(loss)
    width = min(max(len(labels[i]) for i in shown), 20)
    plain = loss.slope == "dL/do = p - y"
    for i in shown:
        how = f"{num(loss.linked[i])} - {num(loss.target[i])} = " if plain else ""
        yield f"    {labels[i][:20]:<{width}}  δ{i + 1} = {how}{num(loss.gradient[i])}", ""


# -- backward -----------------------------------------------------------------------------------------------------


def _backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    if stage.kind == "dense":
        yield from _dense_slope(stage, wish)
    elif stage.kind in BENDS:
        bend = BENDS[stage.kind]
        yield f"  {stage.path}: δ = dL/dz = dL/da · f'(z),  f'(z) = {bend.slope}", "cyan"
        shown = _chosen(stage, wish)
        if len(shown) < stage.width:
            yield from _widely(stage.dx, "δ")
        slopes, dy, dx = bend.df(stage.layer, stage.x).reshape(-1), stage.dy.reshape(-1), stage.dx.reshape(-1)
        yield from packed([f"δ{j + 1} = {num(dy[j])}·{bracketed(slopes[j])} = {num(dx[j])}" for j in shown])
    elif stage.kind == "softmax":
        yield f"  {stage.path}: dL/dz = a · (dL/da - Σ a · dL/da)", "cyan"
        yield from packed([f"δ{j + 1} = {num(stage.dx[j])}" for j in _chosen(stage, wish)])


def _dense_slope(stage: Stage, wish: Wish) -> Iterator[Line]:
    bias = ", dL/db[j] = δ[j]" if "b" in stage.weights else ""
    yield f"  {stage.path}: dL/dw[i,j] = x[i]·δ[j]{bias}, dL/dx[i] = Σ w[i,j]·δ[j]", "cyan"
    g, shown = stage.gradients["w"], _chosen(stage, wish)
    if g.shape[0] <= SMALL and g.shape[1] <= 6 and wish.unit is None:
        yield "    dL/dw" + "".join(f"{f'δ{j + 1} = {num(d)}':>14}"[-14:] for j, d in enumerate(stage.dy)), "dim"
        for i, row in enumerate(g):
            yield f"    x{i + 1} = {num(stage.x[i]):<9}"[:19].ljust(12) + "".join(f"{num(v):>14}" for v in row)[3:], ""
    else:
        yield from _widely(g, "dL/dw")
        still = sum(1 for j in shown if stage.dy[j] == 0)
        if still:
            yield f"    δ is 0 for {still} of these {len(shown)} units: no gradient reaches their weights", ""
        for j in [j for j in shown if stage.dy[j] != 0][:SMALL]:
            i = int(np.abs(g[:, j]).argmax())
            yield from wrapped(
                f"δ{j + 1} = {num(stage.dy[j])}; largest: dL/dw[{i + 1},{j + 1}] = "
                f"{num(stage.x[i])}·{bracketed(stage.dy[j])} = {num(g[i, j])}"
            )
    if stage.path and stage.dx.size <= SMALL:
        for i in range(stage.dx.size):
            terms = [f"{num(w)}·{bracketed(d)}" for w, d in zip(stage.weights["w"][i], stage.dy, strict=True)]
            if stage.dy.size <= TERMS:
                yield from wrapped(f"dL/dx{i + 1} = {summed(terms)} = {num(stage.dx[i])}")


def _update(made: Walk) -> Iterator[Line]:
    yield from _head(f"update: plain gradient descent, w' = w - η · dL/dw, η = {made.rate:g}")
    for stage in made.stages:
        for name, g in stage.gradients.items():
            place = np.unravel_index(int(np.abs(g).argmax()), g.shape)
            w = float(stage.weights[name][place])
            at = ",".join(str(int(i) + 1) for i in place)
            text = f"{num(w)} - {made.rate:g}·{bracketed(g[place])} = {num(w - made.rate * float(g[place]))}"
            norm = float(np.sqrt((g**2).sum()))
            yield from wrapped(f"{stage.path}/{name}[{at}]: {text}   (largest of {g.size:,}, norm {norm:.2g})", 2)
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
