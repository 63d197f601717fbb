"""`pellucid diagnose`: what is wrong with a run, read from its folder."""

import json
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import SettingError, nearest


def diagnose(source: Path, *, how: str | None, silence: list[str], notes: bool, as_json: bool) -> None:
    found = [f.to_json() for f in of_run(options.find_run(source), silence)]
    show(found, how, notes, as_json)


def of_run(place: Any, silence: list[str]) -> list[Any]:
    """The findings of a run: preflight's, as it wrote them, and what its record shows now."""
    from pellucid.doctor.diagnose import diagnose
    from pellucid.doctor.finding import Finding
    from pellucid.rundir import read_json
    from pellucid.signals.record import read_record

    check_names(silence)
    record = read_record(place.record)
    result = read_json(place.result) if place.result.is_file() else None
    given = [Finding.from_json(f) for f in record.setup.get("preflight", [])]
    return diagnose(record, result, given, silence)


def check_names(silence: list[str]) -> None:
    """Names of problems that are to be passed over must be names of problems."""
    from pellucid.doctor.problems import PROBLEMS

    for name in silence:
        if name not in PROBLEMS:
            raise SettingError(f"there is no problem {name!r}", where="--silence", fix=nearest(name, PROBLEMS))


def show(found: list[dict[str, Any]], how: str | None, notes: bool, as_json: bool) -> None:
    from pellucid import files

    if how not in (None, "hint", "full"):
        raise SettingError("this is no way to tell", where="--doctor", expected="hint or full", got=how)
    if as_json:
        print(json.dumps(files.finite(found), ensure_ascii=False, allow_nan=False))
        return
    from pellucid.views.console import out
    from pellucid.views.findings import findings

    out().print(findings(found, how or "full", notes))
