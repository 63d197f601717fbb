"""What the doctor says: one finding for each cause, with its evidence and what to change.

    Finding("vanishing_gradients", "warning", "gradients shrink 4.1 times a layer on the way back ...", layer="hidden1",
            step=0, evidence={"ratio": 4.1}, symptoms=("gradient_decay",), remedies=(Remedy({"activation": "relu"}),))

What is the same for every finding of a problem (why it matters, where to read more) lies in `problems.py`. Plain
values throughout, so that a finding is its own JSON.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from pellucid.doctor.problems import PROBLEMS, Problem

Severity = Literal["note", "warning", "error"]  # worth knowing; harms the result; makes training impossible
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass(frozen=True)
class Remedy:
    """A change that should help. settings: in the recipe's words, {} where no setting does it; text: for a person.

    >>> Remedy({"learning_rate": 0.001, "activation": "relu"}).line()
    '--set learning_rate=0.001 --set activation=relu'
    """

    settings: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    def line(self) -> str:
        """The change as options of `pellucid train`; "" where it is none of settings."""
        return " ".join(f"--set {key}={_written(value)}" for key, value in self.settings.items())


@dataclass(frozen=True)
class Trial:
    """A short training with a remedy beside one without, from the same state on the same batches.

    before, without, treated: losses on validation, one a seed; helps: whether the gain is beyond the seeds' noise;
    start: updates of the run after which it began, 0 from the initial weights.
    """

    remedy: Remedy
    steps: int
    before: float
    without: tuple[float, ...]
    treated: tuple[float, ...]
    helps: bool
    start: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        return {**dataclasses.asdict(self), "without": list(self.without), "treated": list(self.treated)}


@dataclass(frozen=True)
class Finding:
    """One cause. step: updates made when it began; None: before the first, or of the whole run."""

    problem: str  # a name in `problems.PROBLEMS`
    severity: Severity
    summary: str  # one sentence: what, where, with numbers
    layer: str | None = None
    step: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    symptoms: tuple[str, ...] = ()  # those that it explains
    confidence: float = 0.9
    remedies: tuple[Remedy, ...] = ()
    tried: tuple[Trial, ...] = ()

    def __post_init__(self) -> None:
        assert self.problem in PROBLEMS, self.problem

    @property
    def about(self) -> Problem:
        """Why it matters, its source, the question it asks of a learner."""
        return PROBLEMS[self.problem]

    @property
    def alarm(self) -> bool:
        return self.severity != "note"

    def to_json(self) -> dict[str, Any]:
        """As `findings.json` holds it: everything a person needs to be told, without looking anything up."""
        about = self.about
        return {
            "problem": self.problem, "title": about.title, "severity": self.severity, "layer": self.layer,
            "step": self.step, "summary": self.summary, "evidence": self.evidence, "symptoms": list(self.symptoms),
            "confidence": self.confidence, "why": about.why, "question": about.question,
            "remedies": [{"settings": r.settings, "line": r.line(), "text": r.text} for r in self.remedies],
            "tried": [t.to_json() for t in self.tried], "source": about.source,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Finding":
        """What `to_json` wrote; its trials are left out."""
        remedies = tuple(Remedy(r.get("settings", {}), r.get("text", "")) for r in data.get("remedies", ()))
        kept = ("problem", "severity", "summary", "layer", "step", "evidence", "confidence")
        return cls(
            **{k: data[k] for k in kept if k in data}, symptoms=tuple(data.get("symptoms", ())), remedies=remedies
        )


def ranked(findings: list[Finding]) -> list[Finding]:
    """Alarms before notes; among them causes that lie deeper first (data before step size before capacity), then the
    surer ones."""
    return sorted(findings, key=lambda f: (-SEVERITIES.index(f.severity), f.about.rank, -f.confidence, f.problem))


def _written(value: Any) -> str:
    """As a person would write it on the command line: a spec's JSON as `name:key=value`.

    >>> _written({"type": "mlp", "widths": [64, 32], "activation": {"type": "relu"}, "norm": None})
    'mlp:64,32,activation=relu'
    """
    if isinstance(value, dict) and "type" in value:
        bare = [_written(v) for v in value.get("widths") or ()]
        rest = [f"{k}={_written(v)}" for k, v in value.items() if k not in ("type", "widths") and v is not None]
        return value["type"] + (":" + ",".join([*bare, *rest]) if bare or rest else "")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
