"""What a network answers for examples as it reads them, beside the truth, in the data's own words."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.network.link import apply_link, both_classes
from pellucid.network.network import Network

MOST = 24  # mistakes that are shown
CONTEXT = 48  # tokens before a wrong one


@dataclass(frozen=True)
class Answers:
    """Of n examples, or of the n steps of sequences that have a target.

    chances: [n, classes], or None where numbers are foretold; values: [n, k] in their own units.
    y: the truth, class indices [n] or numbers [n, k]; None where it is not known. labels: the names of the classes.
    where: of steps, (example, step) of each.
    """

    labels: list[str]
    chances: np.ndarray | None
    values: np.ndarray
    y: np.ndarray | None
    where: np.ndarray | None = None

    def truth(self, i: int) -> str | float | None:
        """The label or value of example i; None where it has one at each step, or several."""
        if self.y is None or self.where is not None:
            return None
        if self.chances is not None:
            return self.labels[int(self.y[i])]
        return float(f"{self.y[i, 0]:.4g}")

    def plain_truth(self) -> list[Any]:
        """Class indices, or the first target's values."""
        assert self.y is not None
        return self.y.tolist() if self.chances is not None else self.y[:, 0].tolist()

    def wrong(self) -> np.ndarray:
        """Whether the answer is another class; of numbers never."""
        if self.y is None or self.chances is None:
            return np.zeros(len(self.values), bool)
        return self.chances.argmax(1) != self.y

    def losses(self) -> np.ndarray:
        """Surprise, -ln p of the truth; of numbers the squared error."""
        assert self.y is not None
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.chances is None:
                return np.square(self.values - self.y).mean(1)
            return -np.log(self.chances[np.arange(len(self.y)), self.y])


def answers(network: Network, x: np.ndarray, y: np.ndarray | None) -> Answers:
    """x: encoded examples [n, ...]; y: their encoded targets."""
    raw = network(x)
    out = np.asarray(apply_link(network.link, raw), np.float64)
    targets, where = network.targets, None
    single = targets is not None and len(targets.columns) == 1 and targets.columns[0].kind in ("class", "token")
    if out.ndim == 3 and y is not None and y.ndim == 2:  # a target at every step
        real = y >= 0 if y.dtype.kind in "iu" else ~np.isnan(y)
        where = np.argwhere(real)
        out, y = out[real], y[real]
    out = out.reshape(len(out), -1)
    if single and (y is None or (y.ndim == 1 and y.dtype.kind in "iu")):
        chances = both_classes(out)
        return Answers(names_of(network, chances.shape[1]), chances, chances, y, where)
    if targets is not None and targets.task == "regression":
        out = out * targets.scale + targets.mean
        y = None if y is None else y.reshape(len(y), -1) * targets.scale + targets.mean
    elif y is not None:
        y = y.reshape(len(y), -1).astype(np.float64)
        y = y if y.shape[1] == out.shape[1] else np.full_like(out, np.nan)  # a mixture: no single answer to compare
    return Answers([], None, out, y, where)


def names_of(network: Network, count: int) -> list[str]:
    """The classes' labels, or of a text its tokens."""
    targets = network.targets
    if targets is not None and targets.columns[0].kind == "token" and network.features is not None:
        tokenizer = getattr(network.features.encoder, "tokenizer", None)
        if tokenizer is not None:
            return [tokenizer.decode([i]) for i in range(count)]
    labels = [str(c) for c in targets.columns[0].classes] if targets is not None else []
    return labels if len(labels) == count else [str(i) for i in range(count)]


def sorted_out(found: Answers) -> dict[str, Any]:
    """How well it does on these examples: loss, of classes accuracy and how many are wrong, of how many."""
    assert found.y is not None
    losses = found.losses()
    score: dict[str, Any] = {"loss": float(losses[np.isfinite(losses)].mean()) if np.isfinite(losses).any() else None}
    if found.chances is not None:
        wrong = found.wrong()
        score |= {"accuracy": float(1 - wrong.mean()), "wrong": int(wrong.sum())}
    return {"score": {**score, "of": len(found.values)}, "labels": found.labels if len(found.labels) <= 100 else []}


def mistakes(network: Network, found: Answers, x: np.ndarray) -> list[tuple[int, dict[str, Any]]]:
    """[(example, what was wrong)], the surest mistakes first; of numbers those that are furthest off."""
    assert found.y is not None
    if found.chances is None:
        losses = np.nan_to_num(found.losses(), nan=-1.0)
        order = [int(i) for i in np.argsort(-losses, kind="stable")[:MOST] if losses[i] >= 0]
        told = [{"truth": float(f"{found.y[i, 0]:.4g}"), "said": float(f"{found.values[i, 0]:.4g}")} for i in order]
    else:
        chances = found.chances
        sure = np.where(found.wrong(), chances.max(1), -1.0)
        order = [int(i) for i in np.argsort(-sure, kind="stable")[:MOST] if sure[i] >= 0]
        told = []
        for i in order:
            said, truth = int(chances[i].argmax()), int(found.y[i])
            told.append(
                {
                    "truth": found.labels[truth], "said": found.labels[said],
                    "chance": float(f"{chances[i, said]:.4g}"), "of_truth": float(f"{chances[i, truth]:.4g}"),
                }
            )  # fmt: skip
    if found.where is None:
        return list(zip(order, told, strict=True))
    return [_at_step(network, found.where[i], x, one) for i, one in zip(order, told, strict=True)]


def _at_step(network: Network, where: np.ndarray, x: np.ndarray, one: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    example, step = int(where[0]), int(where[1])
    tokenizer = getattr(network.features.encoder, "tokenizer", None) if network.features is not None else None
    more: dict[str, Any] = {"step": step + 1}
    if tokenizer is not None and x.dtype.kind in "iu":
        before = x[example].reshape(-1)[max(step + 1 - CONTEXT, 0) : step + 1]
        more["context"] = tokenizer.decode(before.tolist())
    return example, {**one, **more}


def one_answer(found: Answers) -> dict[str, Any] | None:
    """The likeliest classes of the one example there is, or its value, beside the truth; None for sequences."""
    if found.where is not None or len(found.values) != 1:
        return None
    if found.chances is None:
        return {"value": found.values[0].tolist(), "truth": found.truth(0)}
    order = np.argsort(-found.chances[0], kind="stable")[:5]
    likely = [[found.labels[int(k)], float(f"{found.chances[0, k]:.4g}")] for k in order]
    return {"likely": likely, "truth": found.truth(0)}
