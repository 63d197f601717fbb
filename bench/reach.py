"""Time to a score: to 98 % on MNIST's test part, to nanoGPT's published loss on tinyshakespeare.

The clock starts with the library imported and the data in memory, and runs through compiling, training and the
evaluations in between.
"""

import time
from typing import Any

from bench.data import MNIST, TEXT

ACCURACY, LOSS = 0.98, 1.8857


def reached(row: str, contender: str) -> dict[str, Any]:
    """{"seconds": [until the score was reached], "score": ..., ...}; raises where it was not."""
    source = MNIST if row == "reach-mnist" else TEXT
    if not source.exists():
        raise SystemExit(f"there is no {source}")
    seconds, score, epochs = {
        ("reach-mnist", "pellucid"): _mnist_pellucid, ("reach-mnist", "torch"): _mnist_torch,
        ("reach-text", "pellucid"): _text_pellucid, ("reach-text", "torch"): _text_torch,
    }[row, contender]()  # fmt: skip
    if score < ACCURACY if row == "reach-mnist" else score > LOSS:
        raise SystemExit(f"ended at {score:.4f}")
    return {"seconds": [seconds], "score": score, "after": epochs}


def _mnist_torch() -> tuple[float, float, str]:
    from bench.scripts import mnist_torch

    sets = (*mnist_torch.read(MNIST, "train"), *mnist_torch.read(MNIST, "t10k"))
    start = time.perf_counter()
    accuracy, epochs = mnist_torch.train(*sets)
    return time.perf_counter() - start, accuracy, f"{epochs} epochs"


def _mnist_pellucid() -> tuple[float, float, str]:
    import pellucid as pc

    data, _ = pc.load(MNIST), pc.fit  # which imports all that training needs
    start = time.perf_counter()

    class Enough(pc.Callback):
        """Ends the run once the test part is answered well enough; it is looked at after each epoch, as in PyTorch."""

        found = (0.0, 0.0, "")

        def started(self, session):
            self.session = session

        def epoch_ended(self, event):
            loop = self.session.loop
            scores = loop.evaluator(loop.carry.params, loop.carry.state, self.session.prepared.test)
            self.found = time.perf_counter() - start, float(scores.metric), f"{event.epoch} epochs"
            return "stop" if scores.metric >= ACCURACY else None

    enough = Enough()
    _fit(pc, data, enough, network="mlp:512", epochs=6, batch_size=128, split=(0.95, 0.05, 0.0))
    return enough.found


def _text_torch() -> tuple[float, float, str]:
    from bench.scripts import shakespeare_torch

    seconds, loss, steps = shakespeare_torch.train(TEXT, LOSS)
    return seconds, loss, f"{steps} steps"


def _text_pellucid() -> tuple[float, float, str]:
    import pellucid as pc

    data, _ = pc.load(TEXT), pc.fit
    start = time.perf_counter()

    class Enough(pc.Callback):
        found = (0.0, float("inf"), "")

        def epoch_ended(self, event):
            self.found = time.perf_counter() - start, event.validation.loss, f"{event.step} steps"
            return "stop" if event.validation.loss <= LOSS else None

    enough = Enough()
    _fit(pc, data, enough, network="transformer", steps=2000, batch_size=12, context=64)
    return enough.found


def _fit(pc: Any, data: Any, enough: Any, **settings: Any) -> None:
    import contextlib

    from pellucid.errors import Interrupted

    with contextlib.suppress(Interrupted):  # what a run raises that was told to stop
        pc.fit(data=data, callbacks=(enough,), out=None, baselines=False, quiet=True, **settings)
