"""What counting alone foretells of a text: the yardstick beside a language model."""

from __future__ import annotations

import numpy as np

MOST_PAIRS = 20_000_000  # cells of a table of pairs


def ngram_losses(train: np.ndarray, others: dict[str, np.ndarray], vocabulary: int) -> dict[str, dict[str, float]]:
    """{"unigram": {part: loss}, "bigram": ...}: the mean of -ln p(next token) on each part, p from counts in `train`.

    unigram: p(t) = (count(t) + 1) / (tokens + vocabulary).
    bigram:  p(t | s) = (count(s, t) + m p(t)) / (count(s) + m), m = 1: where a pair was
    seldom seen, the unigram speaks (Dirichlet smoothing; MacKay & Peto 1995). Tables of more than 20 million pairs are
    left out.

    >>> found = ngram_losses(np.array([0, 1, 0, 1, 0]), {"test": np.array([0, 1, 0])}, 2)
    >>> found["bigram"]["test"] < found["unigram"]["test"]
    True
    """
    single = (np.bincount(train, minlength=vocabulary) + 1.0) / (len(train) + vocabulary)
    found = {"unigram": {name: float(-np.log(single[ids[1:]]).mean()) for name, ids in others.items()}}
    if vocabulary**2 > MOST_PAIRS:
        return found
    pairs = np.bincount(train[:-1].astype(np.int64) * vocabulary + train[1:], minlength=vocabulary**2)
    pairs = pairs.reshape(vocabulary, vocabulary)
    chances = (pairs + single) / (pairs.sum(1, keepdims=True) + 1.0)
    found["bigram"] = {name: float(-np.log(chances[ids[:-1], ids[1:]]).mean()) for name, ids in others.items()}
    return found
