"""From a network's raw outputs (logits, scores) to what a person reads: the link that the loss defines.

A link is "identity", "softmax" or "sigmoid", or for several targets a tuple of (link, start, stop), one a slice of
the outputs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Link = str | tuple[tuple[str, int, int], ...]


def apply_link(link: Link, outputs: jax.Array) -> jax.Array:
    """Probabilities or values from raw outputs [batch, ..., n] -> the same shape.

    >>> apply_link("softmax", jnp.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    if link == "softmax":
        return jax.nn.softmax(outputs, axis=-1)
    if link == "sigmoid":
        return jax.nn.sigmoid(outputs)
    if link == "identity":
        return outputs
    assert not isinstance(link, str), link
    return jnp.concatenate([apply_link(one, outputs[..., start:stop]) for one, start, stop in link], axis=-1)


def linked(link: Link, outputs: np.ndarray) -> np.ndarray:
    """`apply_link` in NumPy, for a few numbers.

    >>> linked("softmax", np.zeros((1, 4), "float32")).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    if link == "softmax":
        powers = np.exp(outputs - outputs.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    if link == "sigmoid":
        with np.errstate(over="ignore"):  # e^-x is infinite, and 1 / (1 + e^-x) is 0 as it should be
            return 1 / (1 + np.exp(-outputs))
    if link == "identity":
        return outputs
    assert not isinstance(link, str), link
    return np.concatenate([linked(one, outputs[..., start:stop]) for one, start, stop in link], axis=-1)


def both_classes(chances: np.ndarray) -> np.ndarray:
    """[n, classes] as they are; of one sigmoid output, which is the second class's, those of both: [n, 1] -> [n, 2].

    >>> both_classes(np.array([[0.25]])).tolist()
    [[0.75, 0.25]]
    """
    return chances if chances.shape[1] > 1 else np.concatenate([1 - chances, chances], axis=1)


def link_to_json(link: Link) -> Any:
    return link if isinstance(link, str) else [list(part) for part in link]


def link_from_json(data: Any) -> Link:
    return data if isinstance(data, str) else tuple((str(name), int(start), int(stop)) for name, start, stop in data)
