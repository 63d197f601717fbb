"""The one place where data, network and training meet: train, watch, save.

run = fit(network, data, optimizer="adam", epochs=20)      # the same words as the command line and the recipe
run = resume("runs/20260101-120000-digits")                # goes on as if it had never stopped
"""

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import msgspec

from pellucid import files, outcome, resolve
from pellucid import recipe as recipes
from pellucid.data import Dataset, Prepared, baselines, load, prepare
from pellucid.doctor.finding import Finding
from pellucid.errors import DataError, Diverged, PellucidWarning, RunError, SettingError
from pellucid.examine import Examination
from pellucid.machine import Interruptions, compile_seconds, set_up
from pellucid.network.adapt import standardise
from pellucid.network.network import Network
from pellucid.network.storage import describe, weights
from pellucid.recipe import Recipe
from pellucid.rundir import RUNS, Lock, RunDir, find_runs, new_run, read_json
from pellucid.signals.record import RecordWriter, read_lines
from pellucid.train import checkpoint
from pellucid.train.evaluate import link_of
from pellucid.train.loop import ChunkEnded, EpochEnded, Loop, Settings
from pellucid.train.range_test import range_test
from pellucid.trivial import trivial_loss

CHECKPOINT_SECONDS = 10.0
# writes a run's page and gives its path; the package's __init__ sets it, for what draws pages lies above this file
reporter: Callable[[Path], Path] | None = None


class Callback:
    """What may be told while a run goes on. Override what you need; returning "stop" ends the run after that chunk."""

    def loading(self, done: int, total: int) -> None: ...

    def started(self, session: "Session") -> None: ...

    def chunk_ended(self, event: ChunkEnded) -> str | None: ...

    def epoch_ended(self, event: EpochEnded) -> str | None: ...

    def found(self, finding: Finding) -> None: ...

    def finished(self, run: "Run") -> None: ...


@dataclass
class Run:
    """A finished run: its result, the best network, the epochs, and the folder that holds it all (None: in memory)."""

    path: Path | None
    recipe: Recipe
    result: dict[str, Any]
    network: Network
    prepared: Prepared
    history: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def report(self) -> Path:
        """Write (again) and name the page that shows the run: `report.html` in its folder."""
        if self.path is None or reporter is None:
            raise RunError("a run without a folder has no report", fix='let fit write one: fit(..., out="runs")')
        return reporter(self.path)

    def __repr__(self) -> str:
        best = self.result.get("test") or self.result.get("validation") or self.result.get("train")
        shown = ", ".join(f"{k} {v:.4f}" for k, v in (best or {}).items())
        return f"Run({self.recipe.name}: {shown}, best epoch {self.result['best_epoch']}, {self.path or 'in memory'})"


def fit(
    network: Any = None,
    data: Any = None,
    *,
    out: str | Path | None = RUNS,
    name: str | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    **settings: Any,
) -> Run:
    """Train `network` on `data`.

    network: a Network, a Layer, or an architecture's name (`"mlp:64,32"`); default `mlp`.
    data: a Dataset, or anything that `load` takes.
    out: the folder in which the run gets a folder of its own, or None to keep everything in memory.
    settings: the words of the recipe (optimizer, learning_rate, epochs, batch_size, patience, seed, split, ...).

    Raises `Diverged` where the loss is not finite, `DataError`, `NetworkError`, `SettingError` where the input cannot
    be used. Ctrl-C saves, and leaves the run resumable.

    >>> run = fit("mlp:8", "xor", epochs=2, out=None, baselines=False)
    >>> sorted(run.result["validation"])
    ['accuracy', 'loss']
    """
    if network is not None:
        settings["network"] = network
    words, live = resolve.split_live({k: v for k, v in settings.items() if v is not None})
    recipe = recipes.make({**words, "name": name})
    run = run_recipe(recipe, data=data, live=live, out=out, callbacks=callbacks, checkpoint_seconds=checkpoint_seconds)
    return _reported(run)


def _reported(run: "Run") -> "Run":
    """The run, its page written; that this fails is no reason to lose the run."""
    if run.path is not None and reporter is not None:
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
) -> Run:
    """Train as a recipe says. `exact`: `out` is the run's own folder. `folder`: where the recipe's files lie."""
    set_up()
    session = Session(recipe, data, dict(live or {}), folder, tuple(callbacks), checkpoint_seconds)
    if out is None:
        return session.train(None)
    place = RunDir(files.make_folder(Path(out))) if exact else new_run(Path(out), session.recipe.name or "run")
    if place.exists:
        raise RunError("there is a run here already", where=place.path, fix=f"pellucid train --resume {place.path}")
    with Lock(place.lock):
        return session.train(place)


def resume(
    path: str | Path,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Go on with an interrupted run: the result has the same bytes as if it had never stopped.

    data, live: what the recipe could not hold (data given in memory, functions), as they were given to `fit`.
    """
    more: dict[str, Any] = {"callbacks": callbacks, "checkpoint_seconds": checkpoint_seconds}
    return _reported(resume_run(path, data=data, live=live, **more))


def resume_run(
    path: str | Path,
    *,
    data: Any = None,
    live: dict[str, Any] | None = None,
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
    with Lock(place.lock):
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
        return session.train(place, resumed=True)


class Session:
    """One training from recipe to result: prepare, then `train`."""

    def __init__(
        self, recipe: Recipe, data: Any, live: dict[str, Any], folder: Path | None, callbacks: tuple[Callback, ...],
        checkpoint_seconds: float,
    ):  # fmt: skip
        began = time.perf_counter()
        self.callbacks, self.checkpoint_seconds = callbacks, checkpoint_seconds
        self.compiled_before = compile_seconds()
        self.dataset = self._dataset(recipe, data)
        self.start = None if recipe.network.start is None else Network.load(recipe.network.start)
        self.prepared = self._prepare(recipe, self.start)
        recipe = resolve.suggested(recipe, self.prepared.features, self.prepared.targets)
        self.notes = list(self.prepared.notes)
        rows = len(self.prepared.train.y)
        settings, notes = resolve.settings_of(recipe, live, self.prepared.targets, rows)
        self.notes += notes
        self.network = self._network(recipe, live, folder, settings)
        self.ranged = None
        if recipe.train.learning_rate == "auto":
            self.ranged = range_test(self.network, self.prepared.train, settings)
            found = msgspec.structs.replace(recipe.train, learning_rate=self.ranged.chosen)
            recipe = msgspec.structs.replace(recipe, train=found)
            settings, _ = resolve.settings_of(recipe, live, self.prepared.targets, rows)
        self.settings: Settings = settings
        self.of_network = resolve.of_network(recipe, live.get("network"), self.network)
        recipe = resolve.written(recipe, settings, self.network, self.prepared.fingerprint, rows)
        source = self.dataset.source.removeprefix("builtin:")
        if source and Path(source).exists():
            source = str(Path(source).resolve())
        target = recipe.data.target
        if target is None and self.dataset.target and not self.dataset.source.startswith("builtin:"):
            target = list(self.dataset.target) if source else None
        described = msgspec.structs.replace(
            recipe.data, source=source or None, target=target, **resolve.data_words(recipe.data, self.prepared.features)
        )
        self.recipe = msgspec.structs.replace(
            recipe, data=described, name=recipe.name or self.dataset.name,
            reproducible=recipe.reproducible and bool(source),
        )  # fmt: skip
        self.seconds = time.perf_counter() - began
        self.history: list[dict[str, Any]] = []

    def _dataset(self, recipe: Recipe, data: Any) -> Dataset:
        d = recipe.data
        if data is None and d.source is None:
            raise SettingError("there is no data", expected="a source: a file, a folder, or a built-in set")
        words = d.loading()
        if isinstance(data, Dataset) and not any(words.values()):
            return data
        return load(data if data is not None else d.source, progress=self._loading, **words)

    def _loading(self, done: int, total: int) -> None:
        for callback in self.callbacks:
            callback.loading(done, total)

    def _prepare(self, recipe: Recipe, start: Network | None) -> Prepared:
        prepared = partial(
            prepare, self.dataset, seed=recipe.train.seed, features=start.features if start else None,
            **recipe.data.preparing(),
        )  # fmt: skip
        if start is None or start.targets is None:
            return prepared()
        try:
            return prepared(targets=start.targets)
        except DataError:  # other labels than it was trained on: what it knows of the features still serves
            found = prepared()
            found.notes.append(f"the targets are not those of {recipe.network.start}: the output layer begins anew")
            return found

    def _network(self, recipe: Recipe, live: dict[str, Any], folder: Path | None, settings: Settings) -> Network:
        prepared = self.prepared
        given = live.get("network")
        if self.start is not None and recipe.network.spec in (None, "network.json"):
            given = resolve.carried_over(self.start, prepared.targets, recipe.train.seed)
        network = resolve.network_of(recipe, given, prepared.features, prepared.targets, folder)
        network = network.replace(link=link_of(settings.loss))
        if network.params is None:
            network = network.initialised(jax.random.key(recipe.train.seed), network.example())
            network.state = standardise(network.layer, network.state or {}, prepared.features)
        resolve.check_paths(network, settings)
        return network

    # -- training -----------------------------------------------------------------------------------------------

    def train(self, place: RunDir | None, resumed: bool = False) -> Run:
        """Run the loop to its end, writing to `place` (None: nowhere)."""
        self.place, self.began = place, time.perf_counter()
        self.loop = Loop(self.network, self.prepared.train, self.prepared.validation, self.settings)
        self.writer = self.clock = None
        self.examination = Examination(silence=self.recipe.train.silence)
        header = self._header()
        self.examination.add({"kind": "header", **header})
        if place is not None:
            self._open(place, resumed, header)
        compare = _Background(lambda: baselines(self.prepared, self.recipe.train.seed), self.recipe.train.baselines)
        for callback in self.callbacks:
            callback.started(self)
        try:
            with Interruptions() as interruptions:
                self._loop(interruptions)
            if not self.loop.finished:
                self._save()
                interruptions.leave(place.path if place else None)
            return self._finish(compare)
        finally:
            self._close()

    def _open(self, place: RunDir, resumed: bool, header: dict[str, Any]) -> None:
        kept = checkpoint.read(place.checkpoint) if resumed else None
        if kept is None:
            recipes.write(self.recipe, place.recipe)
            files.write_json(place.network, describe(self.network))
            self.writer = RecordWriter(place.record, header)
            self.clock = RecordWriter(place.clock, {})
            return
        arrays, plain = kept
        self.loop.restore(arrays, plain["loop"])
        self.seconds, self.history = plain["seconds"], plain["history"]
        self.writer = RecordWriter(place.record, offset=plain["record"])
        for line in read_lines(place.record):
            self.examination.add(line)
        self.clock = RecordWriter(place.clock, offset=plain["clock"])

    def _header(self) -> dict[str, Any]:
        """What the record says before its first line: the layers, and what the doctor has to know of the run."""
        loop, targets, settings = self.loop, self.prepared.targets, self.settings
        loss = settings.loss.scored()
        outputs = loop.width
        setup = {
            "task": targets.task, "loss": loss.name, "link": str(loss.link), "outputs": outputs,
            "classes": len(targets.classes) or None, "optimizer": settings.optimizer.name,
            "learning_rate": loop.numbers.get("learning_rate"), "schedule": settings.schedule.name,
            "weight_decay": loop.numbers.get("weight_decay"), "batch": loop.program.batch, "rows": loop.program.rows,
            "updates": settings.updates, "steps_per_epoch": loop.program.steps_per_epoch, "patience": settings.patience,
            "parameters": self.network.parameters, "every": loop.every, "steps": loop.steps_read,
            "metric": outcome.metric_name(settings.metric), "frozen": list(settings.frozen),
            "trivial_loss": trivial_loss(loss, self.prepared.train, outputs), "keep": settings.keep, "recipe": True,
            "optimizer_settings": _spec_of(settings.optimizer), **self.of_network,
        }  # fmt: skip
        return {
            "layers": list(loop.kinds), "weights": list(loop.carry.params), "kinds": list(loop.kinds.values()),
            "setup": files.finite({key: value for key, value in setup.items() if value is not None}),
        }  # fmt: skip

    def _loop(self, interruptions: Interruptions) -> None:
        saved = last = time.perf_counter()
        asked: set[str] = set()
        for event in self.loop.run(stop=lambda: bool(interruptions.received) or "stop" in asked):
            now = time.perf_counter()
            answers = self._tell(event, now - last)
            last = now
            asked.update(answer for answer in answers if answer)
            if self.place is not None:
                asked.update(self.place.requests())
                if self.loop.finished:
                    continue
                if "save" in asked or now - saved >= self.checkpoint_seconds:
                    self._save()
                    asked.discard("save")
                    saved = time.perf_counter()

    def _tell(self, event: ChunkEnded | EpochEnded, seconds: float) -> list[str | None]:
        clock: dict[str, Any] = {"time": round(time.time(), 3), "seconds": round(seconds, 6), "step": event.step}
        if isinstance(event, ChunkEnded):
            self._record(event.measured)
            if self.clock is not None:
                self.clock.append({"kind": "chunk", **clock, "steps": event.steps})
            return [callback.chunk_ended(event) for callback in self.callbacks]
        line = epoch_line(event, outcome.metric_name(self.settings.metric))
        self.history.append(line)
        self._record([*event.measured, {"kind": "epoch", **files.finite(line)}])
        if self.clock is not None:
            self.clock.append({"kind": "epoch", **clock})
        for log in (self.writer, self.clock):
            if log is not None:
                log.flush()
        if event.improved and self.place is not None:
            files.write_bytes(self.place.weights, _tensors(self.loop.result()))
        if event.measured and not self.loop.finished and self.recipe.train.doctor != "off":
            for finding in self.examination.look():
                for callback in self.callbacks:
                    callback.found(finding)
        return [callback.epoch_ended(event) for callback in self.callbacks]

    def _record(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self.examination.add(line)
            if self.writer is not None:
                self.writer.append(line)

    def _save(self) -> None:
        """The last complete state, with the logs' lengths at this moment."""
        if self.place is None or self.writer is None or self.clock is None:
            return
        for log in (self.writer, self.clock):
            log.flush(sync=True)
        arrays, loop = self.loop.snapshot()
        plain = {
            "loop": loop, "record": self.writer.offset, "clock": self.clock.offset, "history": self.history,
            "seconds": self.seconds + time.perf_counter() - self.began,
        }  # fmt: skip
        checkpoint.write(self.place.checkpoint, arrays, plain)

    def _close(self) -> None:
        for log in (self.writer, self.clock):
            if log is not None:
                log.close()

    def _finish(self, compare: "_Background") -> Run:
        loop, place = self.loop, self.place
        if place is not None:
            self._save()
        network = loop.result()
        trained = self.seconds + time.perf_counter() - self.began
        reached = bool(loop.best.arrays)
        scored = (
            outcome.scores(network, self.prepared, self.settings.loss.scored(), self.settings.metric) if reached else {}
        )
        result = self._result(scored, compare.result(), trained)
        findings = [f.to_json() for f in self._conclude(result)]
        result["findings"] = [{k: f[k] for k in ("problem", "severity", "layer", "step", "summary")} for f in findings]
        run = Run(place.path if place else None, self.recipe, result, network, self.prepared, self.history, findings)
        if place is not None:
            if reached:
                files.write_bytes(place.weights, _tensors(network))
            files.write_json(place.findings, files.finite(run.findings))
            files.write_json(place.result, result)
        for callback in self.callbacks:
            callback.finished(run)
        if loop.stopped == "diverged":
            raise _diverged(loop, run)
        return run

    def _conclude(self, result: dict[str, Any]) -> list[Finding]:
        """What is wrong, seen from the end. That the doctor itself fails is no reason to lose the run."""
        if self.recipe.train.doctor == "off":
            return []
        try:
            return self.examination.conclude(result)
        except Exception as error:
            warnings.warn(f"the doctor failed: {type(error).__name__}: {error}", PellucidWarning, stacklevel=2)
            return []

    def _result(self, scored: dict[str, Any], compared: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        loop, targets = self.loop, self.prepared.targets
        compiling = compile_seconds() - self.compiled_before
        examples = loop.step * loop.program.batch
        return {
            "task": targets.task,
            "metric": outcome.metric_name(self.settings.metric),
            **{part: scored.get(part) for part in outcome.PARTS},
            "details": scored.get("details"),
            "best_epoch": loop.best.epoch,
            "epochs": loop.epoch,
            "steps": loop.step,
            "stopped": loop.stopped,
            "seconds": round(seconds, 3),
            "compile_seconds": round(compiling, 3),
            "examples_per_second": round(examples / max(seconds - compiling, 1e-3), 1),
            "parameters": self.network.parameters,
            "peak_memory_bytes": outcome.peak_memory(),
            "seed": self.settings.seed,
            "rows": {p: 0 if (v := getattr(self.prepared, p)) is None else len(v) for p in outcome.PARTS},
            "baselines": compared,
            "notes": self.notes,
            "range_test": self.ranged.to_json() if self.ranged else None,
            "findings": [],
            "run": str(self.place.path) if self.place else None,
        }  # fmt: skip


def epoch_line(event: EpochEnded, metric: str) -> dict[str, Any]:
    """An epoch as the record and the history hold it. "train" is the mean while learning; "sample" the end's score."""
    return {
        "epoch": event.epoch, "step": event.step, "train": {"loss": event.loss}, "sample": event.sample.to_json(metric),
        "validation": event.validation.to_json(metric) if event.validation else None,
        "learning_rate": event.learning_rate, "improved": event.improved,
    }  # fmt: skip


def _spec_of(optimizer: Any) -> Any:
    try:
        return optimizer.to_json()
    except SettingError:  # a Python object
        return None


def _tensors(network: Network) -> bytes:
    from safetensors.numpy import save

    return save(weights(network))


def _diverged(loop: Loop, run: Run) -> Diverged:
    at = f"step {loop.bad}" if loop.bad is not None else f"epoch {loop.epoch}, on validation"
    rate = loop.numbers.get("learning_rate")
    error = Diverged(
        "training diverged: the loss is not finite", where=at + (f", learning rate {rate:g}" if rate else ""),
        expected="a finite loss", got=f"the best epoch before it: {loop.best.epoch}" if loop.best.epoch else None,
        fix=f"--learning-rate {rate / 10:g}" if rate else "a smaller learning rate",
    )  # fmt: skip
    error.run = run  # type: ignore[attr-defined]
    return error


class _Background:
    """Baselines are computed in a thread while XLA compiles. What fails there is a warning, never the run's end."""

    def __init__(self, work: Callable[[], list[dict[str, Any]]], wanted: bool):
        self.value: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True) if wanted else None
        if self.thread is not None:
            self.thread.start()

    def _run(self, work: Callable[[], list[dict[str, Any]]]) -> None:
        try:
            self.value = work()
        except Exception as error:
            self.error = error

    def result(self) -> list[dict[str, Any]]:
        if self.thread is not None:
            self.thread.join()
        if self.error is not None:
            warnings.warn(f"the baselines failed: {self.error}", PellucidWarning, stacklevel=2)
        return self.value


def runs(parent: str | Path = RUNS) -> list[dict[str, Any]]:
    """The runs under a folder, oldest first, each with its result where it has one."""
    found = []
    for place in find_runs(Path(parent)):
        result = read_json(place.result) if place.result.is_file() else None
        found.append({"path": str(place.path), "result": result})
    return found
