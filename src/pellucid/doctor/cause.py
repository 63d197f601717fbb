"""What a cause is, and what all of them say alike.

    @cause
    def dead_units(case, state, found): ...       # the record, its harm, its symptoms -> findings, [] where it is not

A cause gives a finding of severity "warning" where harm and signs come together, a "note" where the signs stand alone,
nothing otherwise. Confidence: 0.9 where nothing else leaves these signs, 0.6 where something else might, below 0.5 for
what is concluded because nothing else was found.
"""

from collections.abc import Callable

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Severity
from pellucid.doctor.progress import Progress
from pellucid.doctor.symptoms import Symptom

Cause = Callable[[Case, Progress, list[Symptom]], list[Finding]]
CAUSES: list[Cause] = []


def cause(function: Cause) -> Cause:
    CAUSES.append(function)
    return function


def of(found: list[Symptom], *names: str) -> list[Symptom]:
    return [s for s in found if s.name in names]


def severity(harm: bool) -> Severity:
    return "warning" if harm else "note"


def state_said(state: Progress) -> str:
    """How the run stands, to end a sentence with."""
    if state.nonfinite is not None:
        return f"the loss is not finite from step {state.nonfinite:,} on"
    if state.blown:
        return f"the loss rose from {state.start:.4g} to {state.last:.4g}"
    if state.stuck and state.trivial > 0:
        return f"the training loss stands at {state.best:.4g}, where a constant answer has {state.trivial:.4g}"
    if state.stuck:
        return f"the training loss stands at {state.best:.4g}, and began at {state.start:.4g}"
    if state.beaten is not None:
        name, theirs, ours = state.beaten
        return f"{name} score {abs(theirs):.3g}, this network {abs(ours):.3g}"
    return f"the training loss came to {state.best:.4g}"
