"""The faces of training: `fit`, `resume`, and what they stand on. Here data, network, training and the doctor meet.

run = fit(network, data, optimizer="adam", epochs=20)      # the same words as the command line and the recipe
run = resume("runs/20260101-120000-digits")                # goes on as if it had never stopped
"""

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from pellucid import files, resolve
from pellucid import recipe as recipes
from pellucid.data import Dataset
from pellucid.errors import Diverged, PellucidWarning, RunError, SettingError
from pellucid.machine import set_up
from pellucid.recipe import Recipe
from pellucid.rundir import RUNS, Lock, RunDir, find_runs, new_run, read_json
from pellucid.session import Callback, Run, Session
from pellucid.shown import live_progress
from pellucid.train import hosts
from pellucid.train import mesh as meshes

CHECKPOINT_SECONDS = 10.0


def fit(
    network: Any = None,
    data: Any = None,
    *,
    out: str | Path | None = RUNS,
    name: str | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    repair: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train `network` on `data`.

    network: a Network, a Layer, or an architecture's name (`"mlp:64,32"`); default `mlp`.
    data: a Dataset, or anything that `load` takes.
    repair: try out what the doctor would change where something is wrong, and keep what helps (see `pellucid.repair`).
    quiet: no live progress, which a notebook else shows in place. Scripts are quiet by themselves.
    out: the folder in which the run gets a folder of its own, or None to keep everything in memory.
    settings: the words of the recipe (optimizer, learning_rate, epochs, batch_size, patience, seed, split, ...).

    Raises `Diverged` where the loss is not finite, `DataError`, `NetworkError`, `SettingError` where the input cannot
    be used. Ctrl-C saves, and leaves the run resumable.

    >>> run = fit("mlp:8", "xor", epochs=2, out=None, baselines=False)
    >>> sorted(run.result["validation"])
    ['accuracy', 'loss']
    """
    if isinstance(network, Dataset):
        raise SettingError(
            "the network comes first, then the data", got="a Dataset as the network", fix="fit(data=...)"
        )
    if network is not None:
        settings["network"] = network
    words, live = resolve.split_live({k: v for k, v in settings.items() if v is not None})
    recipe = recipes.make({**words, "name": name})
    more: dict[str, Any] = {"checkpoint_seconds": checkpoint_seconds, "repair": repair}
    more["callbacks"] = _with_progress(callbacks, quiet)
    return _reported(run_recipe(recipe, data=data, live=live, out=out, **more))


def _with_progress(callbacks: Iterable[Callback], quiet: bool) -> tuple[Callback, ...]:
    shown = None if quiet else live_progress()
    return (*callbacks, shown) if shown is not None else tuple(callbacks)


def _reported(run: "Run") -> "Run":
    """The run, its page written; that this fails is no reason to lose the run."""
    if run.path is not None and hosts.is_first():
        try:
            run.report()
        except Exception as error:
            warnings.warn(f"the report could not be written: {error}", PellucidWarning, stacklevel=3)
    return run


def run_recipe(
    recipe: Recipe,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
    out: str | Path | None = RUNS,
    exact: bool = False,
    folder: Path | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    repair: bool = False,
) -> Run:
    """Train as a recipe says. `exact`: `out` is the run's own folder. `folder`: where the recipe's files lie."""
    set_up()
    if repair and hosts.count() > 1:
        raise SettingError(
            "a run of several processes cannot be repaired", where="repair", got=f"{hosts.count()} processes",
            fix="repair it in one process (on a part of the data), and train what it comes to on all",
        )  # fmt: skip
    with hosts.together():
        return _run_recipe(recipe, data, live, out, exact, folder, callbacks, checkpoint_seconds, repair)


def _run_recipe(
    recipe: Recipe, data: Any, live: dict[str, Any] | None, out: str | Path | None, exact: bool, folder: Path | None,
    callbacks: Iterable[Callback], checkpoint_seconds: float, repair: bool,
) -> Run:  # fmt: skip
    session = Session(recipe, data, dict(live or {}), folder, tuple(callbacks), checkpoint_seconds)
    if out is None:
        return _trained(session, None, repair)
    if not hosts.is_first():
        return session.train(None, shared=RunDir(hosts.from_first("")))
    place = RunDir(files.make_folder(Path(out))) if exact else new_run(Path(out), session.recipe.name or "run")
    if place.exists:
        raise RunError("there is a run here already", where=place.path, fix=f"pellucid train --resume {place.path}")
    with Lock(place.lock):
        hosts.from_first(str(place.path.resolve()))
        return _trained(session, place, repair)


def _trained(session: Session, place: RunDir | None, repair: bool) -> Run:
    """The session's run, treated where that is asked for; one that diverged and was not cured raises `Diverged`."""
    if not repair:
        return session.train(place)
    from pellucid.midway import States
    from pellucid.repair import repair as treat

    diverged, states = None, States()
    session.callbacks = (*session.callbacks, states)
    try:
        run = session.train(place)
    except Diverged as error:
        run, diverged = error.run, error
    better = treat(session, run, session.tell, states)
    if diverged is not None and better is run:
        raise diverged
    return better


def resume(
    path: str | Path,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
    mesh: str | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    quiet: bool = False,
) -> Run:
    """Go on with an interrupted run: the result has the same bytes as if it had never stopped.

    mesh: of other devices than it began on ("data=1": a single one). The batches stay the same where the devices divide
    the run's shards, and the numbers then differ by rounding; else the rows are dealt anew, and a note says so.
    data, live: what the recipe could not hold (data given in memory, functions), as they were given to `fit`.
    quiet: no live progress in a notebook.
    """
    more: dict[str, Any] = {"checkpoint_seconds": checkpoint_seconds, "callbacks": _with_progress(callbacks, quiet)}
    return _reported(resume_run(path, data=data, live=live, mesh=mesh, **more))


def resume_run(
    path: str | Path,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
    mesh: str | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """`resume`, which leaves the page to who called it, as `run_recipe` does."""
    set_up()
    place = RunDir(path).require()
    recipe = recipes.read(place.recipe)
    if not recipe.reproducible and not live:
        missing = [k for k in ("loss", "metric", "optimizer") if str(getattr(recipe.train, k)).startswith("(a Python")]
        if missing:
            raise RunError(
                "the run was made with Python objects that its recipe cannot hold", where=place.recipe,
                expected=", ".join(missing), fix="resume it from Python: pc.resume(path, live={...})",
            )  # fmt: skip
    recipe, note = moved(recipe, mesh)
    with hosts.together(), Lock(place.lock) if hosts.is_first() else nullcontext():
        if place.result.is_file():
            raise RunError(
                "the run is finished", where=place.path, fix=f"to train on from its weights: --from {place.path}"
            )
        session = Session(recipe, data, dict(live or {}), place.path, tuple(callbacks), checkpoint_seconds)
        if session.prepared.fingerprint != recipe.data.fingerprint:
            raise RunError(
                "the data have changed since the run began", where=recipe.data.source,
                expected=f"fingerprint {recipe.data.fingerprint}", got=session.prepared.fingerprint,
                fix="bring the old file back, or start a new run",
            )  # fmt: skip
        session.notes += note
        if not hosts.is_first():
            return session.train(None, resumed=True, shared=place)
        return session.train(place, resumed=True)


def moved(recipe: Recipe, mesh: str | None) -> tuple[Recipe, list[str]]:
    """(the recipe for another mesh than the run began on, what a person should know of it)."""
    if mesh is None:
        return recipe, []
    train = msgspec.structs.replace(recipe.train, mesh=mesh)
    built = meshes.build(mesh)
    size, shards, note = 1 if built is None else built.size, recipe.train.shards or 1, []
    if shards % size:
        note = [f"the rows are dealt anew, into {size} shards in place of {shards}: the batches change from here on"]
        train = msgspec.structs.replace(train, shards=size)
    return msgspec.structs.replace(recipe, train=train), note


def runs(parent: str | Path = RUNS) -> list[dict[str, Any]]:
    """The runs under a folder, oldest first, each with its result where it has one."""
    found = []
    for place in find_runs(Path(parent)):
        result = read_json(place.result) if place.result.is_file() else None
        found.append({"path": str(place.path), "result": result})
    return found
