"""The loss in words: what it is made of, and what it asks of each output."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pellucid.views.explain_math import LossWalk
from pellucid.views.explain_words import TERMS, Line, Wish, bracketed, num, perplexity, titled, wrapped


def loss_forward(loss: LossWalk, labels: Sequence[str], wish: Wish) -> Iterator[Line]:
    if loss.steps:
        yield from _losses(loss, labels, wish)
        return
    if loss.parts:
        for part in loss.parts:
            yield from loss_forward(part, labels[part.start : part.start + len(part.outputs)], wish)
        yield from wrapped(f"L = {' + '.join(num(part.value) for part in loss.parts)} = {num(loss.value)}", 2)
        return
    yield from titled(f"loss {loss.name}: {loss.formula}" + (f",  {loss.link}" if loss.link else ""))
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


def _losses(loss: LossWalk, labels: Sequence[str], wish: Wish) -> Iterator[Line]:
    """Of a loss at every step: one step in full, then the mean and what it means."""
    real = [(t, one) for t, one in enumerate(loss.steps) if one is not None]
    t, chosen = next(((t, one) for t, one in real if t + 1 == wish.step), real[-1])
    yield from wrapped(f"of {len(real)} steps with a loss each, step {t + 1}:", 2)
    yield from loss_forward(chosen, labels, wish)
    values = np.array([one.value for _, one in real])
    worst = real[int(values.argmax())][0] + 1
    yield from wrapped(
        f"L = the mean over {len(real)} steps, from {num(values.min())} to {num(values.max())} (step {worst}) = "
        f"{num(loss.value)}; perplexity e^L = {perplexity(loss.value)}", 2,
    )  # fmt: skip


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


def loss_backward(loss: LossWalk, labels: Sequence[str], wish: Wish) -> Iterator[Line]:
    if loss.steps:
        real = [(t, one) for t, one in enumerate(loss.steps) if one is not None]
        t, chosen = next(((t, one) for t, one in real if t + 1 == wish.step), real[-1])
        yield from titled(f"loss {loss.name}: {loss.slope}, at each of {len(real)} steps; at step {t + 1}")
        share = replace(chosen, gradient=loss.gradient[t], slope="")
        yield from _slopes(share, labels)
        return
    if loss.parts:
        for part in loss.parts:
            yield from loss_backward(part, labels[part.start : part.start + len(part.outputs)], wish)
        return
    yield from titled(f"loss {loss.name}: {loss.slope}")
    yield from _slopes(loss, labels)


def _slopes(loss: LossWalk, labels: Sequence[str]) -> Iterator[Line]:
    shown = _outputs_shown(loss)
    width = min(max(len(labels[i]) for i in shown), 20)
    plain = loss.slope == "dL/do = p - y"
    for i in shown:
        how = f"{num(loss.linked[i])} - {num(loss.target[i])} = " if plain else ""
        yield f"    {labels[i][:20]:<{width}}  δ{i + 1} = {how}{num(loss.gradient[i])}", ""
