"""The clock: what is timed, how often, and under which conditions, alike for every contender.

A first epoch warms up (and compiles) and is not counted; then come as many as fit into `SECONDS`, at least three, with
Python's garbage collector switched off. Of inference, calls in blocks of about 20 ms.
"""

import gc
import time
from typing import Any

import numpy as np

from bench.contenders import Call, Training, logistic_loss, made
from bench.data import load
from bench.models import initial
from bench.peak import forget, peak_memory
from bench.rows import Row

SECONDS, LEAST, MOST = 1.0, 3, 60


def training(row: Row, contender: str, epochs: int | None = None) -> dict[str, Any]:
    """Seconds a step of each epoch, and the losses before and after the first. epochs: so many, whatever they take."""
    assert row.model is not None
    module, told = made(contender)
    data = load(row)
    subject: Training = module.train(row, data, initial(row.model), **told)
    start = time.perf_counter()
    subject.epoch(0)
    warm, peak = time.perf_counter() - start, peak_memory()
    loss = subject.loss()
    forget()  # what the check of the loss needed
    gc.collect()
    gc.disable()
    try:
        taken = [] if epochs else subject.timed(1, 1)
        more = epochs or int(np.clip(SECONDS / max(taken[0], 1e-9), LEAST, MOST)) - 1
        taken += subject.timed(1 + len(taken), more)
    finally:
        gc.enable()
    return {
        "seconds": [t / row.steps for t in taken], "loss": loss, "warm_up": warm, "data": data.source,
        "peak_memory_bytes": max(peak, peak_memory()), **subject.facts,
    }  # fmt: skip


def inference(row: Row, contender: str) -> dict[str, Any]:
    """Seconds a call, for each batch size of the row, and the loss of the answers."""
    assert row.model is not None
    module, told = made(contender)
    data = load(row)
    call: Call = module.infer(row, data, initial(row.model), **told)
    loss = logistic_loss(call(data.x), data.y)
    found: dict[str, Any] = {"loss": loss, "data": data.source, "by_batch": {}}
    for batch in row.batches:
        x = np.ascontiguousarray(data.x[:batch])
        call(x)
        if hasattr(module, "threads"):
            found.setdefault("threads", {})[str(batch)] = module.threads(call, x)
        found["by_batch"][str(batch)] = blocks(lambda x=x: call(x))
    found["seconds"] = found["by_batch"][str(row.batches[0])]
    return found


def blocks(call: Any, count: int = 30, least: float = 0.02) -> list[float]:
    """Seconds a call, of so many blocks of calls."""
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1 or calls < 3:
        call()
        calls += 1
    per_block = max(round(least / ((time.perf_counter() - start) / calls)), 1)
    found = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(count if per_block > 1 else 12):
            start = time.perf_counter()
            for _ in range(per_block):
                call()
            found.append((time.perf_counter() - start) / per_block)
    finally:
        gc.enable()
    return found
