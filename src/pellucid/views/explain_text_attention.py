"""Attention in words: one head at one step, whom it looks at, how much, and what it takes."""

from collections.abc import Iterator, Sequence

import numpy as np

from pellucid.views.explain_stage import Stage
from pellucid.views.explain_words import Array, Line, Wish, bar, bracketed, num, products, summed, titled, wrapped

LISTED = 12  # steps that are looked at
TERMS = 4


def _head(stage: Stage, wish: Wish, t: int) -> int:
    """The head that is shown: the one asked for, else the one that looks most at one single step."""
    heads = stage.kept["weights"].shape[0]
    if wish.head is not None:
        return min(wish.head, heads) - 1
    looks = stage.kept["weights"][:, t]
    looks = looks if len(np.flatnonzero(stage.kept["seen"][t])) < 2 else looks - looks.mean(-1, keepdims=True)
    return int(looks.max(-1).argmax())


def attention_forward(stage: Stage, wish: Wish, names: Sequence[str] = ()) -> Iterator[Line]:
    kept, steps = stage.kept, len(stage.x)
    heads, d = kept["q"].shape[1:]
    t = _at(wish, steps)
    h = _head(stage, wish, t)
    causal = "causal: no step sees a later one" if stage.layer.causal else "every step sees all"
    rotary = ", q and k turned by their place" if stage.layer.rotary else ""
    yield from titled(
        f"{stage.title}: q, k, v = x·w, a = softmax(q·k / √{d}), y = (Σ a·v)·out; "
        f"{heads} heads of {d}, {causal}{rotary}"
    )
    q, keys, a = kept["q"][t, h], kept["k"][:, h], kept["weights"][h, t]
    seen = np.flatnonzero(kept["seen"][t])
    yield from wrapped(
        f"head {h + 1} at step {t + 1}{_named(names, t)}, which may look at {len(seen)} of {steps} steps:"
    )
    if not len(seen):
        return
    yield from _looks(seen, kept["scores"][h, t], a, names)
    best = int(a.argmax())
    worked = _dot(q, keys[best])
    yield from wrapped(f"score of step {best + 1}: ({worked}) / √{d} = {num(q @ keys[best])} / {num(np.sqrt(d))} = "
                       f"{num(kept['scores'][h, t, best])}")  # fmt: skip
    if len(seen) > 1:
        largest = kept["scores"][h, t, best]
        others = float(np.exp(kept["scores"][h, t, seen] - largest).sum())
        yield from wrapped(
            f"weight of step {best + 1}: 1 / Σ e^(score - {bracketed(largest)}) = 1 / {num(others)} = {num(a[best])}"
        )
    unit = int(np.abs(kept["taken"][t, h]).argmax())
    taken = products(a[seen], kept["v"][seen, h, unit])
    yield from wrapped(f"it takes, number {unit + 1} of {d}: Σ a·v = {taken} = {num(kept['taken'][t, h, unit])}")


def _at(wish: Wish, steps: int) -> int:
    return min(wish.step, steps) - 1 if wish.step is not None else steps - 1


def _named(names: Sequence[str], t: int) -> str:
    return f" {names[t]}" if t < len(names) else ""


def _dot(q: Array, k: Array) -> str:
    order = np.sort(np.argsort(-np.abs(q * k), kind="stable")[:TERMS])
    terms = [f"{num(q[i])}·{bracketed(k[i])}" for i in order]
    if len(q) > len(order):
        terms.append(f"{num(q @ k - (q * k)[order].sum())} ({len(q) - len(order)} more terms)")
    return summed(terms)


def _looks(seen: Array, scores: Array, weights: Array, names: Sequence[str]) -> Iterator[Line]:
    shown = seen if len(seen) <= LISTED else np.sort(seen[np.argsort(-weights[seen], kind="stable")[:LISTED]])
    width = max([5, *(len(names[i]) for i in shown if i < len(names))]) if len(names) else 0
    yield f"    {'step':>6}  {'':<{width}}  {'score':>9}  {'weight':>9}", "dim"
    for i in shown:
        name = f"{names[i] if i < len(names) else '':<{width}}"
        yield (
            f"    {i + 1:>6}  {name}  {num(scores[i]):>9}  {num(weights[i]):>9}  {bar(float(weights[i]))}".rstrip(),
            "",
        )
    if len(shown) < len(seen):
        rest = float(weights[seen].sum() - weights[shown].sum())
        yield (
            f"    {'':>6}  {'':<{width}}  {'':>9}  {num(max(rest, 0)):>9}  the {len(seen) - len(shown)} other steps",
            "",
        )


def attention_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    yield from titled(
        f"{stage.title}: dL/da = dL/dy·v, dL/dscore = a · (dL/da - Σ a · dL/da), then dL/dq, dL/dk, dL/dv"
    )
    kept, t = stage.kept, _at(wish, len(stage.x))
    h = _head(stage, wish, t)
    da, a = kept["da"][h, t], kept["weights"][h, t]
    if a.any():
        best, mean = int(a.argmax()), float((a * da).sum())
        result = float(a[best] * (da[best] - mean))
        minus = f"- {num(mean)}" if mean >= 0 else f"+ {num(-mean)}"
        yield from wrapped(f"head {h + 1}, step {t + 1} looking at {best + 1}: dL/dscore = "
                           f"{num(a[best])}·({num(da[best])} {minus}) = {num(result)}")  # fmt: skip
        if a[best] > 0.99:
            yield from wrapped("the weight is near 1: a softmax that is sure hardly lets a gradient through")
    thirds = np.split(stage.gradients["w"], 3, axis=1)
    norms = [f"{name} {num(np.sqrt((g**2).sum()))}" for name, g in zip("qkv", thirds, strict=True)]
    yield from wrapped(
        f"norm of dL/dw: for {', '.join(norms)}; of dL/dout: {num(np.sqrt((stage.gradients['out'] ** 2).sum()))}"
    )


# -- the look of a decoder at its encoder -----------------------------------------------------------------------------


def look_forward(stage: Stage, wish: Wish, names: Sequence[str] = ()) -> Iterator[Line]:
    """Luong's and Bahdanau's; names: of the source's steps."""
    luong = stage.kind == "luong_attention"
    formula = "score = h·k·m" if luong else "score = o·tanh(h'·q + m·k)"
    yield from titled(f"{stage.title}: {formula}, a = softmax(score), context = Σ a·m over the source's states m")
    weights = stage.kept["weights"]
    t = _at(wish, len(weights))
    real = stage.x[-1]
    a = weights[t]
    scores = stage.kept["scores"][t] if luong else stage.kept["steps"][t]["bent"] @ stage.weights["o"]
    yield from wrapped(f"at step {t + 1} of the target, over {int(real.sum())} steps of the source:")
    yield from _looks(np.flatnonzero(real), scores, a, names)


def look_backward(stage: Stage, wish: Wish) -> Iterator[Line]:
    yield from titled(f"{stage.title}: dL/dscore = a · (dL/da - Σ a · dL/da); what the memory gave gets its share back")
    norms = [f"{name} {num(np.sqrt((g**2).sum()))}" for name, g in stage.gradients.items()]
    yield from wrapped(f"norms of dL/d...: {', '.join(norms)}")
