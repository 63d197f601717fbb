"""The verbs that look at what is there: `runs`, `show`, `compare`, `datasets`, `report`, `verify`."""

import json
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import RunError, SettingError
from pellucid.rundir import RunDir, find_runs


def runs(folder: Path | None, *, as_json: bool) -> None:
    parent = folder if folder is not None else options.home()
    if folder is not None and not folder.is_dir():
        raise RunError("there is no such folder", where=folder, expected="a folder that holds runs")
    found = [run_line(place) for place in find_runs(parent)]
    if as_json:
        _print_json(found)
        return
    from pellucid.views.console import out
    from pellucid.views.listing import runs_table

    if not found:
        print(f"no runs in {parent}; pellucid train digits makes one")
        return
    out().print(runs_table(found))


def run_line(place: RunDir) -> dict[str, Any]:
    """One run as a flat dict: what its result says, or how far it has come."""
    from pellucid.rundir import read_json
    from pellucid.views import facts

    result = read_json(place.result) if place.result.is_file() else None
    line: dict[str, Any] = {
        "run": str(place.path), "name": place.path.name, "status": facts.status(result, place.running),
        "task": None, "metric": None, "validation": None, "test": None, "best_epoch": None, "epochs": None,
        "steps": None, "seconds": None, "parameters": None,
    }  # fmt: skip
    if result is not None:
        metric = result["metric"]
        line |= {
            key: result.get(key) for key in ("task", "metric", "best_epoch", "epochs", "steps", "seconds", "parameters")
        }
        line |= {part: (result.get(part) or {}).get(metric) for part in ("validation", "test")}
    elif place.record.is_file():
        line |= _progress(place)
    return line


def _progress(place: RunDir) -> dict[str, Any]:
    from pellucid.signals.record import read_record

    epochs = read_record(place.record).epochs
    if not epochs:
        return {"epochs": 0}
    last, best = epochs[-1], [e["epoch"] for e in epochs if e.get("improved")]
    scores = last.get("validation") or last.get("sample") or {}
    metric = next((name for name in scores if name != "loss"), "loss")
    return {
        "metric": metric, "validation": (last.get("validation") or {}).get(metric), "epochs": last["epoch"],
        "steps": last["step"], "best_epoch": best[-1] if best else None,
    }  # fmt: skip


def compare(paths: list[Path], *, as_json: bool) -> None:
    if len(paths) < 2:
        raise SettingError("there is nothing to compare with", expected="two runs or more", got=f"{len(paths)}")
    from pellucid.views.compare import comparison

    found = comparison([options.find_run(path) for path in paths])
    if as_json:
        _print_json(found)
        return
    from pellucid.views.compare import comparison_text
    from pellucid.views.console import out

    out().print(comparison_text(found, out()))


def datasets(*, as_json: bool) -> None:
    from pellucid.data.builtin import datasets as listed

    names = ("name", "rows", "features", "task", "about")
    found: list[dict[str, Any]] = [dict(zip(names, line, strict=True)) for line in listed()]
    if as_json:
        _print_json(found)
        return
    from pellucid.views.console import out
    from pellucid.views.listing import datasets_table

    out().print(datasets_table(found))


def show(run: Path, *, notes: bool, as_json: bool) -> None:
    from pellucid.views.console import out
    from pellucid.views.show import show, shown_run

    found = shown_run(options.find_run(run))
    if as_json:
        _print_json(found)
        return
    show(out(), found, notes)


def report(run: Path) -> None:
    from pellucid.views.report import write_report

    print(write_report(options.find_run(run).path))


def verify_machine(run: Path | None, *, as_json: bool) -> int:
    """The exit code is 1 where a sum comes out wrong."""
    if run is not None:
        raise SettingError(
            "--machine checks this machine and no run", got=f"the run {run}", fix="leave one of the two out"
        )
    from pellucid.checkup import check_machine

    found = check_machine()
    if as_json:
        _print_json(found)
    else:
        from pellucid.views.console import out
        from pellucid.views.listing import checkup

        out().print(checkup(found))
    return 0 if found["agrees"] else 1


def verify(run: Path | None, *, trust: bool, as_json: bool) -> int:
    """The exit code is 1 where the bytes differ."""
    if run is None:
        raise SettingError("no run is named", fix="pellucid verify RUN, or pellucid verify --machine")
    place = options.find_run(run)
    from pellucid import recipe as recipes
    from pellucid.verify import verify as again
    from pellucid.views.terminal import TerminalProgress

    options.refuse_code(recipes.read(place.recipe), trust, place.recipe)
    place.read_result()
    with TerminalProgress() as progress:
        found = again(place.path, callbacks=(progress,))
    if as_json:
        _print_json(found)
    else:
        from pellucid.views.console import out
        from pellucid.views.listing import verdict

        out().print(verdict(found))
    return 0 if found["agrees"] else 1


def _print_json(value: Any) -> None:
    from pellucid import files

    print(json.dumps(files.finite(value), ensure_ascii=False, allow_nan=False))
