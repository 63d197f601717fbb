"""A classification's outputs in one form: probabilities [n, classes] beside class numbers [n]."""

from dataclasses import dataclass

import numpy as np

from pellucid.inspection.subject import Subject
from pellucid.network.link import both_classes


@dataclass(frozen=True, eq=False)
class Classified:
    """p: [n, classes] what the network said, through the link.   y: [n] the true classes.   places: [n], which of the
    part's rows each is of.   certain: whether p can be read as probabilities (scores of a perceptron cannot)."""

    p: np.ndarray
    y: np.ndarray
    places: np.ndarray
    certain: bool

    @property
    def predicted(self) -> np.ndarray:
        return self.p.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """What the network said of the class that it predicted."""
        return self.p.max(1)


def classified(subject: Subject) -> Classified | None:
    """None where there is no single column of classes, or it is one of tokens."""
    targets, outputs = subject.targets, subject.outputs
    if outputs is None or not targets.classes or targets.tokens:
        return None
    y, places = subject.y, subject.rows
    if targets.steps:
        real = y >= 0
        places = np.repeat(places, real.sum(1))
        outputs, y = outputs[real], y[real]
    p = both_classes(np.asarray(outputs, np.float64).reshape(len(y), -1))
    if p.shape[1] != len(targets.classes):
        return None
    sums = subject.network.link == "sigmoid" or bool(np.allclose(p.sum(1), 1, atol=1e-3))
    certain = sums and bool((p >= 0).all() and (p <= 1 + 1e-6).all())
    return Classified(p, np.asarray(y).reshape(-1).astype(np.int64), places, certain)
