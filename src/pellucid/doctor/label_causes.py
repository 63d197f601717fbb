"""Causes in the labels: they belong to other rows, many are wrong, or one class is next to unknown."""

import math
from typing import NamedTuple

import numpy as np

from pellucid.doctor import remedies
from pellucid.doctor.case import Case, aligned, known
from pellucid.doctor.cause import cause, state_said
from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.progress import Progress
from pellucid.doctor.symptoms import Symptom

NOISY, ERRORS = 0.05, 3.0  # by how much, and by how many standard errors, validation is above training
SEEN = 5  # examples of a rare class, before anything is said of how many of them are found
MISSED = 0.2  # of a rare class, more than of the others


@cause
def random_labels(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    nothing = state.finished and state.hopeless and (state.stuck or state.unheard)
    learnable = state.beaten is not None and not state.hopeless  # another model hears what this network does not
    if not (state.unlearned and not learnable) and not nothing:
        return []
    if nothing:
        return [
            Finding(
                "random_labels", "warning",
                f"{state_said(state)}, and neither a linear model nor boosted trees do better than always giving one "
                "answer: the inputs seem to tell nothing about the targets",
                evidence={"train": state.best, "trivial": state.trivial}, symptoms=("nothing_to_learn",),
                confidence=0.6, remedies=(Remedy({}, "look whether rows and labels still belong together"),),
            )
        ]  # fmt: skip
    return [
        Finding(
            "random_labels", "warning",
            f"the training loss came to {state.best:.4g}, the validation loss never below {state.validation_best:.4g}, "
            f"where a constant answer has {state.trivial:.4g}: what is learned is learned by heart",
            step=state.best_step, evidence={"train": state.best, "validation": state.validation_best,
            "trivial": state.trivial}, symptoms=("validation_at_chance",), confidence=0.7,
            remedies=(Remedy({}, "look whether rows and labels still belong together (a shuffle of one, an offset)"),
                      Remedy({}, "more data, if there are very few rows")),
        )
    ]  # fmt: skip


@cause
def label_noise(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """A model that cannot learn labels by heart is right more often on examples that it never saw than on those it
    learns from: the network at its best, or the linear model beside it. A clean set never looks so, whatever its
    difficulty: it is the labels of the training examples that are wrong."""
    signs = [sign for sign in (_network_at_its_best(case), _linear_model(case)) if sign is not None]
    signs = [s for s in signs if s.other - s.own > NOISY and s.other - s.own > ERRORS * s.error]
    if not signs:
        return []
    sign = signs[0]
    suspects = (case.result.get("doubts") or {}).get("suspects") or []
    said = f", first of all those of rows {', '.join(str(row) for row in suspects[:5])}" if suspects else ""
    spec = case.spec("loss_settings")
    smoothed = {"loss": {**spec, "label_smoothing": 0.2}} if spec and "label_smoothing" in spec else {}
    return [
        Finding(
            "label_noise", "warning",
            f"{sign.who} answers {sign.other:.0%} of {sign.unseen} rightly and only {sign.own:.0%} of the examples "
            f"that it learns from: many of their labels seem wrong{said}",
            evidence={"training": sign.own, "validation": sign.other, "suspects": suspects,
                      "errors": (sign.other - sign.own) / sign.error},
            symptoms=("training_below_validation",), confidence=0.85,
            remedies=(
                Remedy({}, "look at the training labels, those that the network is surest against first"),
                *([Remedy(smoothed, "a loss that trusts each label less")] if smoothed else []),
                *remedies.option(case, "keep the best epoch, before wrong labels are learned by heart", keep="best"),
            ),
        )
    ]  # fmt: skip


class _Sign(NamedTuple):
    """Two shares of right answers, on examples that were learned from and on others, and their difference's error."""

    who: str
    unseen: str
    own: float
    other: float
    error: float


def _sign(who: str, unseen: str, own: float, other: float, rows: float, others: float) -> _Sign:
    both = (own * rows + other * others) / (rows + others)
    return _Sign(who, unseen, own, other, math.sqrt(max(both * (1 - both), 1e-4) * (1 / rows + 1 / others)))


def _network_at_its_best(case: Case) -> _Sign | None:
    """In the epoch of the lowest validation loss, before it has learned much by heart."""
    sample, validation = case.scores("sample", "accuracy"), case.scores("validation", "accuracy")
    losses = case.validation
    rows, unseen = case.figure("rows"), case.figure("validation_rows")
    if not (rows and unseen and len(sample) and len(losses)):
        return None
    sample, validation, losses = aligned(sample, validation, losses)
    if not np.isfinite(losses.values).any():
        return None
    best = int(np.nanargmin(losses.values))
    own, other = float(sample.values[best]), float(validation.values[best])
    who = f"at its best, after {losses.steps[best]:,} updates, the network"
    return _sign(who, "validation", own, other, min(rows, case.figure("sample_rows") or rows), unseen)


def _linear_model(case: Case) -> _Sign | None:
    """It is stiff, so that wrong labels cost it right answers where they are, and nowhere else."""
    rows = case.result.get("rows") or {}
    scored = {b.get("name"): b for b in case.result.get("baselines") or [] if b.get("metric") == "accuracy"}
    linear, own = scored.get("linear") or {}, known(scored.get("linear") or {}, "train")
    held = [(known(linear, p), rows.get(p)) for p in ("validation", "test")]
    parts = [(score, n) for score, n in held if score is not None and n]
    if own is None or not parts or not rows.get("train"):
        return None
    others = sum(n for _, n in parts)
    other = sum(score * n for score, n in parts) / others
    return _sign("a linear model", "validation and test", own, other, rows["train"], others)


@cause
def class_imbalance(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    """A class that is rare in training is missed where the others are found."""
    told = [f for f in case.told("preflight") or () if isinstance(f, dict) and f.get("problem") == "class_imbalance"]
    details = case.result.get("details") or {}
    names, cells = details.get("classes") or [], details.get("confusion") or []
    rarest = (told[0].get("evidence") or {}).get("rarest") if told else None
    if rarest not in names or len(cells) != len(names):
        return []
    table, place = np.array(cells, np.float64), names.index(rarest)
    right, all_ = np.diag(table), table.sum(1)
    mine, others = all_[place], all_.sum() - all_[place]
    if mine < SEEN or not others > 0:
        return []
    own, other = right[place] / mine, (right.sum() - right[place]) / others
    error = math.sqrt(max(own * (1 - own), 1 / mine) / mine)
    if not other - own > max(MISSED, 2 * error):
        return []
    return [
        Finding(
            "class_imbalance", "warning",
            f"{own:.0%} of the {mine:,.0f} examples of class {rarest!r} in {details.get('part')} are found, and "
            f"{other:.0%} of the others: it has {told[0]['evidence'].get('rows'):,} training rows",
            evidence={"rarest": rarest, "found": own, "others": other, "examples": mine},
            symptoms=("rare_class_missed",), confidence=0.8,
            remedies=(
                *remedies.option(case, "let each class weigh the same", class_weights="balanced"),
                *remedies.option(case, "score each class alike", metric="balanced_accuracy"),
            ),
        )
    ]  # fmt: skip
