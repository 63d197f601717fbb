"""`pellucid diagnose`: what is wrong with a run, read from its folder; with another tool's log; with a recipe."""

import contextlib
import json
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import DataError, SettingError, nearest

SHARE, LEAST = 0.1, 200  # of a recipe's updates that are tried, and how many at least
UNTOLD = ("stopped_too_early",)  # by a trial, which is short on purpose


def diagnose(
    source: Path, *, how: str | None, silence: list[str], notes: bool, device: str | None = None, trust: bool = False,
    as_json: bool = False, quiet: bool = False,
) -> None:  # fmt: skip
    check_names(silence)
    check_how(how)
    path = source.expanduser()
    if path.suffix == ".toml":
        found = of_recipe(path, silence, device, trust, quiet)
    elif _is_log(path):
        found = of_log(path, silence)
    else:
        found = of_run(options.find_run(source), silence)
    show([f.to_json() for f in found], how, notes, as_json)


def _is_log(path: Path) -> bool:
    from pellucid.rundir import RunDir
    from pellucid.signals.logs import EVENTS, TABLES, is_log

    if RunDir(path).exists:
        return False
    if path.is_dir() or not path.suffix:
        return is_log(path)
    if is_log(path):
        return True
    if path.is_file():
        raise DataError(
            "this is neither a run, nor a log, nor a recipe", where=path,
            expected=f"{', '.join(TABLES)}, a file of TensorBoard's ({EVENTS} in its name), or recipe.toml",
        )  # fmt: skip
    if path.suffix in TABLES:
        raise DataError("there is no such log", where=path)
    return False


def of_run(place: Any, silence: list[str]) -> list[Any]:
    """The findings of a run: preflight's, as it wrote them, and what its record shows now."""
    from pellucid.doctor.diagnose import diagnose
    from pellucid.doctor.finding import Finding
    from pellucid.rundir import read_json
    from pellucid.signals.record import read_record

    record = read_record(place.record)
    result = read_json(place.result) if place.result.is_file() else None
    given = [Finding.from_json(f) for f in record.setup.get("preflight", [])]
    return diagnose(record, result, given, silence)


def of_log(path: Path, silence: list[str]) -> list[Any]:
    """The findings of another tool's log; what was not read and cannot be seen is said on stderr."""
    from pellucid.doctor.diagnose import diagnose
    from pellucid.signals.logs import read_log
    from pellucid.views.console import note

    log = read_log(path)
    for text in log.notes:
        note(text)
    return diagnose(log.record, silence=silence)


def of_recipe(path: Path, silence: list[str], device: str | None, trust: bool, quiet: bool) -> list[Any]:
    """What preflight finds before the first step, and what shows in a short training, in memory."""
    options.choose_device(device)
    from pellucid import recipe as recipes

    recipe = recipes.read(path)
    options.refuse_code(recipe, trust, path)
    options.check_device(device)
    from pellucid.doctor.diagnose import diagnose

    before, updates = _preflight(recipe, path.parent)
    steps = max(round(SHARE * updates), min(LEAST, updates))
    if not quiet:
        from pellucid.views.console import note

        note(f"a trial of {steps:,} of {updates:,} updates, in memory")
    record, result = _trial(
        recipes.override(recipe, {"steps": steps, "baselines": False, "doctor": "off"}), path.parent
    )
    return [f for f in diagnose(record, result, before, silence) if f.problem not in UNTOLD or steps >= updates]


def _preflight(recipe: Any, folder: Path) -> tuple[list[Any], int]:
    """(what is found before the first step, the updates that the recipe would make)."""
    from pellucid import recipe as recipes
    from pellucid.fit import Callback, run_recipe
    from pellucid.preflight import preflight

    class Ready(Exception):
        pass

    class Look(Callback):
        def started(self, session: Any) -> None:
            self.session = session
            raise Ready

    look = Look()
    with contextlib.suppress(Ready):
        run_recipe(
            recipes.override(recipe, {"baselines": False, "doctor": "off"}), out=None, folder=folder, callbacks=(look,)
        )
    s = look.session
    settable = s.of_network.get("settings", ())
    found = preflight(s.network, s.prepared, s.settings, s.dataset, thorough=True, settable=settable)
    return found, s.settings.updates


def _trial(recipe: Any, folder: Path) -> tuple[Any, dict[str, Any] | None]:
    """(the record, the result) of a training in memory; a run that diverged is told by its record."""
    from pellucid.errors import Diverged
    from pellucid.fit import Callback, run_recipe

    class Look(Callback):
        def started(self, session: Any) -> None:
            self.session = session

    look = Look()
    try:
        result = run_recipe(recipe, out=None, folder=folder, callbacks=(look,)).result
    except Diverged as error:
        result = getattr(getattr(error, "run", None), "result", None)
    return look.session.examination.record, result


def check_names(silence: list[str]) -> None:
    """Names of problems that are to be passed over must be names of problems."""
    from pellucid.doctor.problems import PROBLEMS

    for name in silence:
        if name not in PROBLEMS:
            raise SettingError(f"there is no problem {name!r}", where="--silence", fix=nearest(name, PROBLEMS))


def check_how(how: str | None) -> None:
    if how not in (None, "hint", "full"):
        raise SettingError("this is no way to tell", where="--doctor", expected="hint or full", got=how)


def show(found: list[dict[str, Any]], how: str | None, notes: bool, as_json: bool) -> None:
    from pellucid import files

    if as_json:
        print(json.dumps(files.finite(found), ensure_ascii=False, allow_nan=False))
        return
    from pellucid.views.console import out
    from pellucid.views.findings import findings

    out().print(findings(found, how or "full", notes), crop=False)
