"""The doctor beside a run: reads each line of the record as it comes, and says what is new.

What is told while the run still goes on has been found twice in a row, so that a passing oddity alarms nobody; what
stands at the end is found in the whole record, with the scores of simple models beside it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pellucid.doctor.diagnose import diagnose
from pellucid.doctor.finding import Finding
from pellucid.signals.record import Record

SURE = 0.6  # an alarm below this confidence waits for the end of the run


class Examination:
    """`add(line)` for each line of the record, `look()` now and then, `conclude(result)` at the end."""

    def __init__(self, silence: Iterable[str] = ()):
        self.record, self.silence = Record(), tuple(silence)
        self.told: set[str] = set()
        self._before: set[str] = set()

    def add(self, line: Mapping[str, Any]) -> None:
        self.record.add(dict(line))

    @property
    def given(self) -> list[Finding]:
        """What preflight found, as the record's header holds it."""
        return [Finding.from_json(found) for found in self.record.setup.get("preflight", [])]

    def look(self) -> list[Finding]:
        """Alarms that are new, and were there at the last look too."""
        found = [f for f in diagnose(self.record, silence=self.silence) if f.alarm and f.confidence >= SURE]
        new = [f for f in found if f.problem in self._before and f.problem not in self.told]
        self._before = {f.problem for f in found}
        self.told |= {f.problem for f in new}
        return new

    def conclude(self, result: Mapping[str, Any]) -> list[Finding]:
        return diagnose(self.record, result, self.given, self.silence)
