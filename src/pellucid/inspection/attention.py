"""Where a network looks while it reads: the attention weights of some heads on real texts, with the tokens beside."""

from typing import Any

import numpy as np

from pellucid.data.parts import strided
from pellucid.inspection.picture import as_bytes, data_url
from pellucid.inspection.subject import Subject, rounded
from pellucid.network.looks import attention_looks
from pellucid.network.trace import operations

MOST_TOKENS = 24
MOST_LAYERS, MOST_HEADS = 3, 4
PAIRS = 3
ATTENDS = ("attention", "luong_attention", "bahdanau_decoder")
MOST_WORK = 50_000_000_000
Looks = dict[str, np.ndarray]


def attention(subject: Subject) -> dict[str, Any] | None:
    """{"maps": [{"layer", "head", "rows": [token, ...], "columns": [...], "picture", "entropy", "back"}]}.

    A picture has one place a pair of tokens: row r, column c is how much r takes from c, from black (0) to white (the
    largest of the picture, "most").   entropy: in bits, the mean over the rows: 0 looks at one step, log2(n) at all
    alike.   back: how many steps before itself it looks, in the mean (self-attention).
    """
    if not any(leaf.layer.name in ATTENDS for leaf in subject.traced.leaves):
        return None
    if operations(subject.network.layer, subject.network.example()) * PAIRS > MOST_WORK:
        return None
    pairs = subject.targets.task == "pairs"
    found, rows, columns = _pairs(subject) if pairs else _text(subject)
    maps = []
    picked = strided(len(found), MOST_LAYERS)
    for path in [list(found)[i] for i in picked]:
        for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
            for head in range(min(found[path].shape[1], MOST_HEADS)):
                weights = found[path][i, head, : len(row), : len(column)]
                maps.append(_map(weights, row, column, not pairs) | {"layer": path, "head": head + 1, "example": i})
    heads = max(value.shape[1] for value in found.values())
    return {"part": subject.name, "layers": len(found), "heads": heads, "pairs": pairs, "maps": maps}


def _map(weights: np.ndarray, row: list[str], column: list[str], self_attention: bool) -> dict[str, Any]:
    bits = -(weights * np.log2(np.maximum(weights, 1e-12))).sum(1).mean()
    found = {
        "rows": row, "columns": column, "most": rounded(weights.max()), "entropy": rounded(bits),
        "picture": data_url(as_bytes(weights, 0.0)),
    }  # fmt: skip
    if self_attention:
        steps = np.arange(len(row))
        found["back"] = rounded((weights * (steps[:, None] - steps)).sum(1).mean())
    return found


def _text(subject: Subject) -> tuple[Looks, list[list[str]], list[list[str]]]:
    """One piece: what the language model has read, or of some examples the one with the most steps."""
    features = subject.prepared.features
    if subject.targets.task == "language":
        names = _names(subject, subject.read.ids[0, :MOST_TOKENS])
        return subject.read.looks, [names], [names]
    x = np.asarray(subject.part.x[:64])
    if features.vocabulary is None:  # sequences of numbers: steps by their number
        names = [str(i + 1) for i in range(min(x.shape[1], MOST_TOKENS))]
        return attention_looks(subject.network, x[:1])[1], [names], [names]
    real = np.count_nonzero(x, axis=1)
    best = int(np.argmax(np.minimum(real, MOST_TOKENS)))
    names = _names(subject, x[best][: min(int(real[best]), MOST_TOKENS)])
    return attention_looks(subject.network, x[best : best + 1])[1], [names], [names]


def _pairs(subject: Subject) -> tuple[Looks, list[list[str]], list[list[str]]]:
    """The first pairs: what is written (the rows, as the target has it) beside the source."""
    source = subject.prepared.features.source_steps or 0
    x, y = np.asarray(subject.part.x[:PAIRS]), np.asarray(subject.part.y[:PAIRS])
    rows = [_names(subject, one[one >= 0][:MOST_TOKENS]) for one in y]
    columns = [_names(subject, one[:source][one[:source] > 0][:MOST_TOKENS]) for one in x]
    return attention_looks(subject.network, x)[1], rows, columns


def _names(subject: Subject, ids: np.ndarray) -> list[str]:
    encoder: Any = subject.prepared.features.encoder
    return [encoder.tokenizer.names[int(i)] for i in ids]
