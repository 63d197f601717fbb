"""`pellucid exercise`: find what is wrong with a training in which a fault was planted."""

import json
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import SettingError, nearest


def exercise(
    name: str | None, *, cause: str | None, fix: list[str], reveal: bool, out: Path | None, as_json: bool, quiet: bool
) -> int:
    """The exit code is 1 for an answer that is wrong: another cause, or a change that does not help."""
    if name is None:
        if cause or fix or reveal or out:
            raise SettingError(
                "no exercise is named", expected="pellucid exercise NAME", fix="pellucid exercise lists them"
            )
        _list(as_json)
        return 0
    if fix and not cause and not reveal:
        raise SettingError("a repair needs a cause", where="--fix", fix="name it: --cause PROBLEM")
    from pellucid.exercises import EXERCISES

    found = EXERCISES.get(name)
    if found is None:
        raise SettingError(f"there is no exercise {name!r}", fix=nearest(name, EXERCISES))
    if cause is not None or reveal:
        return _answer(found, cause, fix, reveal, as_json)
    _begin(found, out, as_json, quiet)
    return 0


def _list(as_json: bool) -> None:
    from pellucid.exercises import EXERCISES

    if as_json:
        _print([{"name": e.name, "stars": e.stars, "story": e.story} for e in EXERCISES.values()])
        return
    from pellucid.views.console import out
    from pellucid.views.exercise import listed

    out().print(listed(list(EXERCISES.values())))


def _begin(found: Any, place: Path | None, as_json: bool, quiet: bool) -> None:
    from pellucid.exercises import EXERCISES, begin

    callbacks = ()
    if quiet or as_json:
        begun = begin(found, place, callbacks)
    else:
        from pellucid.views.terminal import TerminalProgress

        with TerminalProgress() as progress:
            begun = begin(found, place, (progress,))
    if as_json:
        kept = ("layer", "step", "evidence", "question")
        seen = [{k: f.to_json()[k] for k in kept} for f in begun.findings if f.alarm]
        _print({"name": found.name, "stars": found.stars, "story": found.story, "history": begun.history, "seen": seen})
        return
    from pellucid.views.console import out
    from pellucid.views.exercise import presented

    causes = sorted({e.problem for e in EXERCISES.values()})
    out().print(presented(found, begun, causes, str(place) if place else None))


def _answer(found: Any, cause: str | None, fix: list[str], reveal: bool, as_json: bool) -> int:
    """Judge the cause, then the repair; explain where the cause was right, or where all is to be shown."""
    from pellucid import recipe as recipes
    from pellucid.doctor.problems import PROBLEMS
    from pellucid.exercises import check

    if cause is not None:
        cause = cause.strip().lower().replace("-", "_").replace(" ", "_")
        if cause not in PROBLEMS:
            raise SettingError(f"there is no problem {cause!r}", where="--cause", fix=nearest(cause, PROBLEMS))
    words = options.assignments(fix)
    recipes.make({**found.words, **words})  # an unknown setting is told before anything trains
    right = cause in found.right
    judged = check(found, words) if words else None
    good = (right or cause is None) and (judged is None or judged.helps)
    if as_json:
        told: dict[str, Any] = {"name": found.name, "cause": cause, "right": right if cause else None}
        if judged is not None:
            told["fix"] = {"measure": judged.measure, "faulty": judged.faulty, "changed": judged.changed,
                           "reference": judged.reference, "helps": judged.helps, "reaches": judged.reaches}  # fmt: skip
        if right or reveal:
            told |= {"problem": found.problem, "planted": found.planted, "lesson": found.lesson, "reference": found.fix}
        _print(told)
        return 0 if good else 1
    from pellucid.views.console import out
    from pellucid.views.exercise import answered

    out().print(answered(found, PROBLEMS[found.problem], cause, judged, reveal))
    return 0 if good else 1


def _print(value: Any) -> None:
    from pellucid import files

    print(json.dumps(files.finite(value), ensure_ascii=False, allow_nan=False))
