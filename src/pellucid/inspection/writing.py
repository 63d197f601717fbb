"""What a language model writes, and how much each token of a real text surprises it; what an encoder-decoder writes.

Surprise is -log2 p(token | what came before), in bits: the loss, which is its mean in natural units, token by token.
"""

from typing import Any

import numpy as np

from pellucid.data.parts import strided
from pellucid.inspection.subject import TOKENS, Subject, rounded
from pellucid.network.generate import completed
from pellucid.network.generate import generate as written

SAMPLE, TEMPERATURE = 200, 0.8  # tokens of the sample that is written, and how freely
EXPECTED = 3  # likeliest tokens that are told beside a token
PAIRS, SHOWN = 64, 12
MOST_WORK = 100_000_000_000


def sample(subject: Subject) -> dict[str, Any] | None:
    """{"text", "tokens", "temperature"}: what a language model writes after nothing."""
    if subject.targets.task != "language":
        return None
    per_token = subject.operations // max(subject.network.example().shape[1], 1)
    tokens = int(min(SAMPLE, max(MOST_WORK // 4 // max(per_token, 1), 40)))
    text = "".join(written(subject.network, None, tokens, temperature=TEMPERATURE, seed=0))
    return {"text": text, "tokens": tokens, "temperature": TEMPERATURE}


def surprise(subject: Subject) -> dict[str, Any] | None:
    """{"tokens": [[text, bits, [[expected token, probability], ...]], ...], "mean"}, over a piece from the start of the
    part. The first token is given and surprises nobody."""
    if subject.targets.task != "language":
        return None
    ids, y = subject.read.ids.reshape(-1)[:TOKENS], subject.read.following.reshape(-1)[:TOKENS]
    scores = subject.read.logits.reshape(-1, subject.read.logits.shape[-1])[:TOKENS].astype(np.float64)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    bits = -np.log2(np.maximum(p[np.arange(len(y)), y], 1e-30))
    encoder: Any = subject.prepared.features.encoder
    pieces = [piece.decode("utf-8", "replace") for piece in encoder.tokenizer.pieces]
    names = encoder.tokenizer.names
    tokens: list[Any] = [[pieces[int(ids[0])], None, []]]
    for i, token in enumerate(y):
        best = np.argsort(-p[i], kind="stable")[:EXPECTED]
        tokens.append([pieces[int(token)], rounded(bits[i], 3), [[names[b], rounded(p[i, b], 2)] for b in best]])
    return {"part": subject.name, "mean": rounded(bits.mean()), "tokens": tokens}


def pairs(subject: Subject) -> dict[str, Any] | None:
    """{"rows", "right", "examples": [{"source", "wanted", "written"}]} of some pairs, those that are wrong first."""
    if subject.targets.task != "pairs" or subject.operations * PAIRS * subject.part.y.shape[1] > MOST_WORK:
        return None
    encoder: Any = subject.prepared.features.encoder
    source = encoder.source_steps
    rows = strided(len(subject.part), PAIRS)
    x, y = np.asarray(subject.part.x[rows]), np.asarray(subject.part.y[rows])
    sources = [encoder.tokenizer.decode(one[:source].tolist()) for one in x]
    wanted = [encoder.tokenizer.decode(one[one >= 0].tolist()) for one in y]
    found = completed(subject.network, sources).tolist()
    order = sorted(range(len(rows)), key=lambda i: (found[i] == wanted[i], i))[:SHOWN]
    return {
        "part": subject.name, "rows": len(rows), "right": sum(map(str.__eq__, found, wanted)),
        "examples": [{"source": sources[i], "wanted": wanted[i], "written": found[i]} for i in order],
    }  # fmt: skip
