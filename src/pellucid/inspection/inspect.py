"""Everything that can be seen of a trained network, in one dict of plain JSON values: a run's `inspection.json`.

`SUBJECTS` names what is looked at; a new one is a function of a `Subject` that gives a dict, or None where there is
nothing of the kind. One that fails is warned of and left out.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pellucid import files
from pellucid.data import Dataset, Prepared
from pellucid.errors import PellucidWarning
from pellucid.inspection.attention import attention
from pellucid.inspection.by_class import by_class
from pellucid.inspection.calibration import calibration
from pellucid.inspection.exciting import exciting
from pellucid.inspection.filters import filters
from pellucid.inspection.importance import importance
from pellucid.inspection.mistakes import mistakes
from pellucid.inspection.saliency import saliency
from pellucid.inspection.separability import separability
from pellucid.inspection.subject import Subject
from pellucid.inspection.values import values
from pellucid.inspection.writing import pairs, sample, surprise
from pellucid.network.network import Network
from pellucid.train.loss import Loss
from pellucid.train.metric import Metric

FORMAT = 1
MOST_BYTES = 600_000  # of the JSON, pictures and all; what is largest is left out beyond

SUBJECTS: dict[str, Callable[[Subject], dict[str, Any] | None]] = {
    "mistakes": mistakes,
    "classes": by_class,
    "values": values,
    "calibration": calibration,
    "importance": importance,
    "separability": separability,
    "filters": filters,
    "exciting": exciting,
    "saliency": saliency,
    "attention": attention,
    "sample": sample,
    "surprise": surprise,
    "pairs": pairs,
}


def inspect(
    network: Network, prepared: Prepared, *, metric: Metric | None = None, loss: Loss | None = None,
    dataset: Dataset | None = None, outputs: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """{"format", "part", one entry a subject that there is something to say of}.

    dataset: the set as it came, to tell examples in its own words.   outputs: of whole parts, through the link, where
    they are known.   metric, loss: what scores are told in.
    """
    subject = Subject.of(network, prepared, metric=metric, loss=loss, dataset=dataset, outputs=outputs)
    found: dict[str, Any] = {"format": FORMAT, "part": subject.name, "task": subject.targets.task}
    for name, look in SUBJECTS.items():
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # a score that is not defined is told as NaN, once and not per shuffle
                seen = look(subject)
        except Exception as error:  # a page with one thing less is better than a run lost at its end
            said = f"{name} could not be inspected: {type(error).__name__}: {error}"
            warnings.warn(said, PellucidWarning, stacklevel=2)
            continue
        if seen is not None:
            found[name] = files.finite(seen)
    return bounded(found)


def bounded(found: dict[str, Any], most: int = MOST_BYTES) -> dict[str, Any]:
    """The same without its largest entries where it would take more than `most` bytes; "left_out" names them.

    >>> bounded({"a": "x" * 50, "b": 1}, most=40)
    {'b': 1, 'left_out': ['a']}
    """
    sizes = {name: len(json.dumps(value)) for name, value in found.items()}
    gone: list[str] = []
    while sum(sizes.values()) > most:
        gone.append(max(sizes, key=lambda name: sizes[name]))
        del sizes[gone[-1]]
    rest = {name: value for name, value in found.items() if name in sizes}
    return {**rest, "left_out": gone} if gone else rest
