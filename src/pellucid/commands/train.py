"""`pellucid train`: options -> recipe -> run -> summary."""

import json
import signal
from pathlib import Path
from typing import Any

from pellucid.commands import options, scale
from pellucid.errors import Interrupted, SettingError

RUNNING = (
    "source", "out", "resume", "device", "trust", "dry_run", "json", "quiet", "folds", "seeds", "set_", "repair",
    "tensorboard", "watch", *scale.WORDS,
)  # fmt: skip
ON_RESUME = {"resume", "device", "trust", "json", "quiet", "tensorboard", "watch", "mesh", *scale.WORDS}


def train(given: dict[str, Any]) -> int:
    """given: the options that were used, by their Python names."""
    options.choose_device(given.get("device"))
    if "resume" in given:
        _check_resume(given)
    elif "source" not in given:
        raise SettingError(
            "there is nothing to train on", expected="pellucid train SOURCE",
            fix="name a file, or a built-in set: pellucid train digits",
        )  # fmt: skip
    words = settings(given)
    if scale.joins(given):
        return scale.together(given, lambda: _work(given, words))
    return _work(given, words)


def _work(given: dict[str, Any], words: dict[str, Any]) -> int:
    if given.get("watch") and not given.get("dry_run"):
        from pellucid.commands.watch import Beside

        given["watch"] = Beside(*_watched_folder(given))
    options.check_device(given.get("device"))
    if "resume" in given:
        return _resume(given)
    recipe, folder = recipe_of(given, words)
    if given.get("dry_run"):
        from pellucid.commands.dry_run import dry_run

        return dry_run(recipe, folder, as_json=bool(given.get("json")))
    if "folds" in given or "seeds" in given:
        return _several(recipe, given)
    return _train(recipe, folder, given)


def settings(given: dict[str, Any]) -> dict[str, Any]:
    """The options as the recipe's words."""
    words = {key: value for key, value in given.items() if key not in RUNNING}
    if "target" in words and len(words["target"]) == 1:
        words["target"] = words["target"][0]
    if "no_baselines" in words:
        words["baselines"] = not words.pop("no_baselines")
    if "rate" in words:
        words["rates"] = options.pairs(words.pop("rate"), "--rate")
    if "start" in words:
        words["start"] = str(options.find_run(words["start"]).path)
    words["learning_rate"] = options.number_or("auto", words.get("learning_rate"), float, "--learning-rate")
    words["batch_size"] = options.number_or("all auto", words.get("batch_size"), int, "--batch-size")
    words["split"] = options.numbers(words.get("split"), "--split")
    words["class_weights"] = options.class_weights(words.get("class_weights"))
    if "image_size" in words:
        words["image_size"] = options.size(words["image_size"], "--image-size")
    words.update(options.assignments(given.get("set_", [])))
    return {key: value for key, value in words.items() if value is not None}


def recipe_of(given: dict[str, Any], words: dict[str, Any]) -> tuple[Any, Path | None]:
    """The recipe, and the folder of the recipe file where there is one."""
    from pellucid import recipe as recipes

    source = given["source"]
    path = Path(source).expanduser()
    if path.suffix != ".toml":
        if (path / "recipe.toml").is_file():
            raise SettingError(
                "this is a run, and no data", where=path,
                fix=f"to run it again: pellucid train {path / 'recipe.toml'}; to go on from its weights: --from {path}",
            )  # fmt: skip
        return recipes.make({**words, "source": source}), None
    recipe = recipes.read(path)
    options.refuse_code(recipe, bool(given.get("trust")) or "network" in words, path)
    return recipes.override(recipe, words), path.parent


def _train(recipe: Any, folder: Path | None, given: dict[str, Any]) -> int:
    from pellucid.fit import run_recipe

    exact = "out" in given
    place = given.get("out", options.home())
    return _watched(
        given,
        lambda callbacks: run_recipe(
            recipe, out=place, exact=exact, folder=folder, callbacks=callbacks, repair=bool(given.get("repair"))
        ),
    )


def _resume(given: dict[str, Any]) -> int:
    from pellucid import recipe as recipes
    from pellucid.fit import resume_run

    place = options.find_run(given["resume"])
    options.refuse_code(recipes.read(place.recipe), bool(given.get("trust")), place.recipe)
    return _watched(given, lambda callbacks: resume_run(place.path, callbacks=callbacks, mesh=given.get("mesh")))


def _check_resume(given: dict[str, Any]) -> None:
    for name in given:
        if name not in ON_RESUME:
            shown = "SOURCE" if name == "source" else "--" + name.strip("_").replace("_", "-")
            raise SettingError(
                "a resumed run keeps its own settings", got=shown,
                fix="leave it out; to go on with other settings, start a new run --from this one",
            )  # fmt: skip


def _watched(given: dict[str, Any], work: Any) -> int:
    """Run, with progress on stderr; then the result on stdout. A run that diverged is shown, too."""
    from pellucid.errors import Diverged
    from pellucid.train.hosts import is_first

    diverged = None
    try:
        run = _with_progress(given, work)
    except Diverged as error:
        run, diverged = getattr(error, "run", None), error
    if run is not None and is_first():
        _show(run, bool(given.get("json")))
    if diverged is not None:
        raise diverged
    return 0


def _with_progress(given: dict[str, Any], work: Any) -> Any:
    from pellucid.session import Callback

    if "watch" in given:
        given["watch"].tell()
    more: tuple[Callback, ...] = ()
    if given.get("tensorboard"):
        from pellucid.connect.tensorboard import TensorBoard

        more = (TensorBoard(),)
    if given.get("quiet"):
        return work((Callback(), *more))
    from pellucid.views.terminal import TerminalProgress

    with TerminalProgress() as progress:
        try:
            return work((progress, *more))
        except Interrupted:
            raise
        except KeyboardInterrupt:  # before the loop began, or after it ended
            place = progress.session.place if progress.session is not None else None
            raise Interrupted(place.path if place is not None else None, signal.SIGINT) from None


def _watched_folder(given: dict[str, Any]) -> tuple[Path, str | None]:
    """(the folder that holds the run, the run's name where it is known)."""
    if "resume" in given:
        place = options.find_run(given["resume"]).path.resolve()
    elif "out" in given and not {"folds", "seeds"} & set(given):
        place = Path(given["out"]).resolve()
    else:
        return Path(given.get("out", options.home())).resolve(), None
    return place.parent, place.name


def _show(run: Any, as_json: bool) -> None:
    from pellucid import files
    from pellucid.views.report import write_report

    report = write_report(run.path) if run.path is not None else None
    if as_json:
        print(json.dumps(files.finite(run.result), ensure_ascii=False, allow_nan=False))
        return
    from pellucid.views.console import out
    from pellucid.views.summary import show_summary

    show_summary(out(), run.result, str(report) if report else None, run.recipe.train.keep or "best")
    if (how := run.recipe.train.doctor) != "off":
        from pellucid.views.findings import findings, repaired

        if (treated := repaired(run.result)) is not None:
            out().print(treated)
        out().print(findings(run.findings, how), crop=False)


def _several(recipe: Any, given: dict[str, Any]) -> int:
    from pellucid import files
    from pellucid.several import fit_folds, fit_seeds
    from pellucid.views.report import write_report

    place = given.get("out", options.home())
    fit_all, count = (fit_folds, given["folds"]) if "folds" in given else (fit_seeds, given["seeds"])
    done = _with_progress(given, lambda callbacks: fit_all(recipe, count, out=place, callbacks=callbacks))
    for run in done.runs:
        if run.path is not None:
            write_report(run.path)
    if given.get("json"):
        print(json.dumps(files.finite({**done.result, "run": str(done.path)}), ensure_ascii=False, allow_nan=False))
        return 0
    from pellucid.views.console import out
    from pellucid.views.listing import several_table

    out().print(several_table(done.result))
    print(f"runs     {done.path}")
    return 0
