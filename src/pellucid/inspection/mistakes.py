"""Where the network is wrong: pairs of classes that it confuses, mistakes that it is sure of, its largest errors."""

from typing import Any

import numpy as np

from pellucid.inspection.classified import Classified, classified
from pellucid.inspection.examples import example
from pellucid.inspection.subject import Subject, rounded

MOST_CONFIDENT = 12
MOST_PAIRS, EACH_PAIR = 4, 4
MOST_ERRORS = 12


def mistakes(subject: Subject) -> dict[str, Any] | None:
    """Of classes {"wrong", "rows", "confident": [...], "confused": [{"true", "predicted", "times", "examples"}]}; of
    numbers {"rows", "largest": [...]}; each example with "true", "predicted", and "probability" where there is one."""
    if subject.targets.task == "regression" and not subject.targets.steps:
        return _errors(subject)
    found = classified(subject)
    return None if found is None or subject.targets.steps else _of_classes(subject, found)


def _of_classes(subject: Subject, c: Classified) -> dict[str, Any]:
    wrong = np.flatnonzero(c.predicted != c.y)
    surest = wrong[np.argsort(-c.confidence[wrong], kind="stable")]
    counts = np.zeros((c.p.shape[1],) * 2, np.int64)
    np.add.at(counts, (c.y[wrong], c.predicted[wrong]), 1)
    pairs = sorted(((int(counts[a, b]), int(a), int(b)) for a, b in np.argwhere(counts)), key=lambda p: (-p[0], p[1:]))
    confused = []
    for times, true, taken in pairs[:MOST_PAIRS]:
        some = [i for i in surest if c.y[i] == true and c.predicted[i] == taken][:EACH_PAIR]
        confused.append({
            "true": subject.labels[true], "predicted": subject.labels[taken], "times": times,
            "examples": [_shown(subject, c, i) for i in some],
        })  # fmt: skip
    return {
        "part": subject.name, "rows": len(c.y), "wrong": len(wrong), "confused": confused,
        "confident": [_shown(subject, c, i) for i in surest[:MOST_CONFIDENT]],
    }  # fmt: skip


def _shown(subject: Subject, c: Classified, i: int) -> dict[str, Any]:
    found = example(subject, int(c.places[i]))
    found |= {"true": subject.labels[c.y[i]], "predicted": subject.labels[c.predicted[i]]}
    if c.certain:
        found |= {"probability": rounded(c.confidence[i]), "probability_of_true": rounded(c.p[i, c.y[i]])}
    return found


def _errors(subject: Subject) -> dict[str, Any] | None:
    """The rows with the largest errors, of the first column of numbers, in its own units."""
    from pellucid.inspection.values import in_own_units

    found = in_own_units(subject)
    if found is None:
        return None
    true, said = found.true[:, 0], found.said[:, 0]
    worst = np.argsort(-np.abs(said - true), kind="stable")[:MOST_ERRORS]
    return {
        "part": subject.name, "rows": len(true), "column": subject.targets.columns[0].name,
        "largest": [
            {**example(subject, int(subject.rows[i])), "true": rounded(true[i], 5), "predicted": rounded(said[i], 5)}
            for i in worst
        ],
    }  # fmt: skip
