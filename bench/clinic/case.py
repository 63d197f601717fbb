"""What a case of the clinic is: a run as data, and what is known of it.

    Case("vanishing/moons-sigmoid8", "generated", "vanishing_gradients", setup, fix=..., accepted={...})

A `Setup` is everything that `pellucid.fit` needs: a set (by its name and what is done to it, `sets.py`), settings in
the recipe's words, and the names of functions that no recipe can hold (`live.py`). It is plain JSON, so that a case can
be printed, counted, hashed and run again.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Part = Literal["published", "generated", "healthy"]
PARTS: tuple[Part, ...] = ("published", "generated", "healthy")
HALVES = ("develop", "report")


@dataclass(frozen=True)
class Setup:
    """One training, to be run with any seed.

    data: `{"set": name, ...}` and what is done to it.   settings: the recipe's words, `network` among them.
    live: recipe's word -> name of an object in `live.py`.
    raw_targets: numbers are learned as they are (Pellucid itself always standardises them).
    """

    data: dict[str, Any]
    settings: dict[str, Any]
    live: dict[str, str] = field(default_factory=dict)
    raw_targets: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """A setup and what is known of it.

    causes: the problems that were planted, or that the source's labels mean; none for a healthy control.
    accepted: other names that are right as well, each with the reason.
    layers: where a fault was planted in some layers only, their paths.
    fix: the reference repair, a setup that is known to do better.   measure: what "better" is measured in: the
    validation "metric", or its "loss" (where the fault harms the probabilities rather than the classes).
    floor: of a healthy control, the score that it has to reach.   tier: of a published case (A, B, C).
    """

    id: str
    part: Part
    family: str
    setup: Setup
    causes: tuple[str, ...] = ()
    accepted: dict[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    fix: Setup | None = None
    measure: Literal["metric", "loss"] = "metric"
    floor: float | None = None
    tier: str = ""
    notes: str = ""

    @property
    def half(self) -> str:
        """Decided once and for all by the id: thresholds may be tuned on "develop", never on "report"."""
        return half_of(self.id)

    @property
    def right(self) -> frozenset[str]:
        """All names that count as the root cause."""
        return frozenset(self.causes) | frozenset(self.accepted)

    @property
    def mendable(self) -> bool:
        """Whether the reference repair changes settings only, and not the data."""
        return self.fix is not None and (self.fix.data, self.fix.raw_targets) == (
            self.setup.data,
            self.setup.raw_targets,
        )

    def fingerprint(self) -> str:
        """Changes where the setup does, so that old results are not taken for new ones. (It does not read the code that
        makes a set: after changing that, begin a new results file.)"""
        return hashlib.sha256(json.dumps(self.setup.to_json(), sort_keys=True).encode()).hexdigest()[:12]


def half_of(id: str) -> str:
    """
    >>> half_of("SO-31627380"), half_of("SO-31880720")
    ('report', 'develop')
    """
    return HALVES[hashlib.sha256(id.encode()).digest()[0] % 2]
