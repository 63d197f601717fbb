"""From symptoms and harm to findings: one for each root cause, with the symptoms it explains.

    findings = diagnose(record)                       # a record alone: a run of ours, of PyTorch, of another tool's log
    findings = diagnose(record, result, given)        # with scores of baselines, and with what preflight found

Each cause in a `*_causes.py` beside this file says whether its signs are there. Then the deepest is kept (data before
loss before initial weights before step size before gradient flow before capacity before time), and takes over what it
explains: a step that is too large kills units, saturates others and ends in NaN: one finding and not four.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pellucid.doctor import course_causes, flow_causes, label_causes, precision_causes, step_causes  # noqa: F401  (they register themselves)
from pellucid.doctor.case import Case
from pellucid.doctor.cause import CAUSES
from pellucid.doctor.explains import explains
from pellucid.doctor.finding import SEVERITIES, Finding, ranked
from pellucid.doctor.progress import Progress, progress
from pellucid.doctor.symptoms import suited_weights, symptoms
from pellucid.signals.record import Record

SURE = 0.6  # a confidence
LAST = ("plateau", "underfitting", "random_labels")  # concluded where nothing else explains the harm
UNSURE = (*LAST, "overfitting")  # so are these, where they are not sure
COURSE = ("overfitting", "label_noise", "leakage", "class_imbalance", "distribution_shift", "sorted_data")
# what preflight warns of, and what is nevertheless no alarm in a run that learns well. A loss behind the wrong output,
# units that begin alike, and weights that let the signal fade or grow a thousandfold, are faults even so.
FORGIVEN = (
    "unscaled_inputs", "unscaled_targets", "class_imbalance", "no_nonlinearity", "targets_out_of_range",
    "scaled_twice", "distribution_shift", "contradictory_labels", "ignores_input", "cannot_overfit",
    "wrong_update",
)  # fmt: skip
LIKELY = (*FORGIVEN, "bad_initial_weights", "loss_output_mismatch")
FLOW = ("vanishing_gradients", "dead_units", "saturated_units")  # likely where the training set is not learned either
MEASURED = {"activation_drift", "unsuited_weights"}  # signs of initial weights in the record itself


def diagnose(
    record: Record,
    result: Mapping[str, Any] | None = None,
    given: Iterable[Finding] = (),
    silence: Iterable[str] = (),
) -> list[Finding]:
    """What is wrong with a run, the gravest and deepest first; [] for one that is well.

    result: as in result.json, where the run is finished.   given: what preflight found.   silence: problems not to be
    named. A record that tells little is judged by the little; nothing is raised for what is missing.

    >>> diagnose(Record())
    []
    """
    case = Case(record, result)
    state = progress(case)
    found = symptoms(case)
    named = [finding for cause in CAUSES for finding in cause(case, state, found)]
    named = suspected([*(forgiven(finding, state, case) for finding in given), *named], state)
    if suited_weights(case):  # then depth and activation are the cause, which show as vanishing or exploding gradients
        named = [
            noted(f) if f.problem == "bad_initial_weights" and not set(f.symptoms) & MEASURED else f for f in named
        ]
    return ranked([f for f in merged(named) if f.problem not in set(silence)])


def forgiven(finding: Finding, state: Progress, case: Case) -> Finding:
    """What preflight feared and the run did not suffer from becomes a note."""
    learns = bool(case.training.steps.size) and state.finished and not state.harmed and not state.unlearned
    return noted(finding) if finding.problem in FORGIVEN and learns and well(state) else finding


def suspected(found: list[Finding], state: Progress) -> list[Finding]:
    """A run that is harmed, with nothing to say why for sure: then the deepest of what was only noted, of its loss, its
    inputs, its initial weights or its units, is the likeliest cause."""
    if any(f.problem == "distribution_shift" and f.alarm for f in found):  # rare in training, and not where it counts
        found = [
            dataclasses.replace(f, severity="warning", confidence=0.7) if f.problem == "class_imbalance" else f
            for f in found
        ]
    sure = [f for f in found if f.alarm and (f.problem not in UNSURE or f.confidence > SURE)]
    likely = (*LIKELY, *FLOW) if state.trivial > 0 and state.best > 0.15 * state.trivial else LIKELY
    notes = [f for f in found if f.problem in likely and not f.alarm]
    notes = sorted(notes, key=lambda f: (f.about.rank, -f.confidence))
    if sure or not notes or not state.harmed:
        return found
    raised = dataclasses.replace(notes[0], severity="warning", confidence=SURE)
    return [raised if f is notes[0] else f for f in found]


def noted(finding: Finding) -> Finding:
    """What was feared and did no harm, as a note; what makes training impossible stays what it is."""
    return dataclasses.replace(finding, severity="note") if finding.severity == "warning" else finding


def well(state: Progress) -> bool:
    """Whether most of what can be learned at all seems to have been."""
    return (
        state.trivial > 0 and state.validation_best < 0.7 * state.trivial
        if state.validation_best == (state.validation_best)
        else state.learned > 0.3
    )


def _grave(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def merged(found: list[Finding]) -> list[Finding]:
    """One finding a problem and cause: those that a deeper alarm explains become its symptoms."""
    once: dict[str, Finding] = {}
    for finding in found:
        old = once.get(finding.problem)
        if old is None:
            once[finding.problem] = finding
            continue
        first, second = (old, finding) if _grave(old) >= _grave(finding) else (finding, old)
        remedies = {(r.line() or r.text): r for r in (*first.remedies, *second.remedies)}
        known = {r.text for r in remedies.values() if r.settings}
        kept_remedies = tuple(r for r in remedies.values() if r.settings or r.text not in known)
        once[finding.problem] = dataclasses.replace(first, remedies=kept_remedies)
    alarms = sorted((f for f in once.values() if f.alarm), key=lambda f: (f.about.rank, -f.confidence))
    if any(f.confidence >= SURE and f.problem not in (*LAST, *COURSE) for f in alarms):
        alarms = [f for f in alarms if f.problem not in UNSURE or f.confidence > SURE]
    elif len(alarms) > 1:
        alarms = [f for f in alarms if f.problem != "plateau"]
    kept: list[Finding] = []
    for finding in alarms:
        if any(explains(other, finding) for other in alarms):
            continue
        explained = [f for f in alarms if explains(finding, f)]
        names = [name for f in explained for name in (f.problem, *f.symptoms)]
        evidence = dict(finding.evidence)
        if explained:
            evidence["explains"] = {f.problem: f.summary for f in explained}
        symptoms_ = tuple(dict.fromkeys((*finding.symptoms, *names)))
        kept.append(dataclasses.replace(finding, symptoms=symptoms_, evidence=evidence))
    told = {name for f in kept for name in f.symptoms}
    return kept + [f for f in once.values() if not f.alarm and f.problem not in told]
