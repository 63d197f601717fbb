"""One training from recipe to result: data, network, loop, record, doctor, and the folder that holds it all.

`fit.py` has the faces of it; `Callback` is what others may be told while it goes on, `Run` what it comes to.
"""

import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import msgspec

from pellucid import files, outcome, resolve
from pellucid import recipe as recipes
from pellucid.data import Dataset, Prepared, baselines, load, prepare
from pellucid.data.stream import streamed
from pellucid.doctor.finding import Finding
from pellucid.errors import DataError, Diverged, PellucidWarning, RunError, SettingError
from pellucid.examine import Examination
from pellucid.history import History
from pellucid.inspection.inspect import inspect
from pellucid.machine import Interruptions, compile_seconds, make_room
from pellucid.memory import free_memory
from pellucid.network.adapt import standardise
from pellucid.network.network import Network
from pellucid.network.storage import describe, weights
from pellucid.preflight import preflight
from pellucid.recipe import Recipe
from pellucid.rundir import RunDir
from pellucid.shown import Findings, Shown
from pellucid.signals.record import RecordWriter, read_lines
from pellucid.train import checkpoint, fitting, hosts, sharded_checkpoint
from pellucid.train.evaluate import link_of
from pellucid.train.loop import ChunkEnded, EpochEnded, Loop, Settings
from pellucid.train.range_test import range_test
from pellucid.trivial import trivial_loss

WAIT = 0.2  # seconds between looks at what is asked, while paused
# writes a run's page and gives its path; the package's __init__ sets it, for what draws pages lies above this file
reporter: Callable[[Path], Path] | None = None


class Callback:
    """What may be told while a run goes on. Override what you need; returning "stop" ends the run after that chunk.

    of_one_run: where several runs go on side by side, it is told of the first alone; others are copied for each run.
    """

    of_one_run: ClassVar[bool] = False

    def loading(self, done: int, total: int) -> None: ...

    def preparing(self, said: str) -> None: ...

    def started(self, session: "Session") -> None: ...

    def chunk_ended(self, event: ChunkEnded) -> str | None: ...

    def epoch_ended(self, event: EpochEnded) -> str | None: ...

    def found(self, finding: Finding) -> None: ...

    def repairing(self, said: str) -> None: ...

    def finished(self, run: "Run") -> None: ...


@dataclass
class Run(Shown):
    """A finished run: its result, the best network, the epochs, and the folder that holds it all (None: in memory)."""

    path: Path | None
    recipe: Recipe
    result: dict[str, Any]
    network: Network
    prepared: Prepared
    history: list[dict[str, Any]] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def report(self) -> Path:
        """Write (again) and name the page that shows the run: `report.html` in its folder."""
        if self.path is None or reporter is None:
            raise RunError("a run without a folder has no report", fix='let fit write one: fit(..., out="runs")')
        return reporter(self.path)

    def __repr__(self) -> str:
        best = self.result.get("test") or self.result.get("validation") or self.result.get("train")
        shown = ", ".join(f"{k} {v:.4f}" for k, v in (best or {}).items())
        return f"Run({self.recipe.name}: {shown}, best epoch {self.result['best_epoch']}, {self.path or 'in memory'})"


class Session:
    """One training from recipe to result: prepare, then `train`."""

    def __init__(
        self, recipe: Recipe, data: Any, live: dict[str, Any], folder: Path | None, callbacks: tuple[Callback, ...],
        checkpoint_seconds: float, like: "Session | None" = None,
    ):  # fmt: skip
        """like: a session whose data serve this one too, as far as it prepares them alike."""
        began = time.perf_counter()
        make_room()
        self.callbacks, self.checkpoint_seconds = callbacks, checkpoint_seconds
        self.given, self.live, self.folder = recipe, live, folder  # as a person gave them
        self.compiled_before = compile_seconds()
        self.dataset = self._dataset(recipe, data) if like is None else like.dataset
        self.start = None if recipe.network.start is None else Network.load(recipe.network.start)
        same = like is not None and like.given.data == recipe.data and self.start is None
        self.prepared = like.prepared if like is not None and same else self._prepare(recipe, self.start)
        if "network" not in live:
            recipe = resolve.suggested(recipe, self.prepared.features, self.prepared.targets)
        recipe = resolve.ordered(recipe, self.prepared)
        self.notes = list(self.prepared.notes)
        rows = len(self.prepared.train.y)
        settings, notes = resolve.settings_of(recipe, live, self.prepared.targets, rows)
        self.notes += notes
        self.network = self._network(recipe, live, folder, settings)
        recipe, settings = self._fitted(recipe, settings, live)
        self.notes += fitting.cautions(self.network, settings)
        if hosts.count() > 1:
            hosts.check_alike(resolve.compared(recipe, self.network, self.prepared.fingerprint))
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
            return streamed(data, d.stream)
        return load(data if data is not None else d.source, progress=self._loading, say=self._preparing, **words)

    def _preparing(self, said: str) -> None:
        for callback in self.callbacks:
            callback.preparing(said)

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

    def _fitted(self, recipe: Recipe, settings: Settings, live: dict[str, Any]) -> tuple[Recipe, Settings]:
        """Recipe and settings with a batch that the memory holds."""
        train, free = self.prepared.train, free_memory()
        if recipe.train.batch_size != "auto":
            fitting.require_room(self.network, train, settings, free)
            return recipe, settings
        if free is None:
            raise fitting.unknown_memory()
        found = fitting.largest_batch(self.network, train, settings, free)
        self.notes += fitting.notes(found, settings)
        recipe = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, batch_size=found.batch))
        return recipe, resolve.settings_of(recipe, live, self.prepared.targets, len(train.y))[0]

    # -- training -----------------------------------------------------------------------------------------------

    def train(self, place: RunDir | None, resumed: bool = False, shared: RunDir | None = None) -> Run:
        """Run the loop to its end, writing to `place` (None: nowhere). shared: of processes that do not write the run,
        its folder all the same, for their parts of its checkpoints."""
        self.place, self.began = place, time.perf_counter()
        self.shared = shared = place or shared
        self.writer = self.clock = self.history_kept = None
        kept = sharded_checkpoint.read(shared.checkpoint) if resumed and shared is not None else None
        header = self.begin(preflight_too=kept is None)
        if place is not None:
            self._open(place, kept, header)
        elif kept is not None:
            self._restore(*kept)
        wanted = self.recipe.train.baselines and hosts.is_first()
        compare = _Background(lambda: baselines(self.prepared, self.recipe.train.seed), wanted)
        for callback in self.callbacks:
            callback.started(self)
        self._announce([f for f in self.examination.given if f.alarm] if kept is None else [])
        try:
            with Interruptions() as interruptions:
                self._loop(interruptions)
            if not self.loop.finished:
                self._save()
                interruptions.leave(shared.path if shared else None)
            return self._finish(compare)
        finally:
            self._close()

    def begin(self, preflight_too: bool = True) -> dict[str, Any]:
        """Make the loop and the doctor beside it, ready for the first update; gives the record's header. `train` calls
        it; who drives the loop by hand, an update at a time, calls it instead."""
        self.loop = Loop(self.network, self.prepared.train, self.prepared.validation, self.settings)
        header = self._header(preflight_too)
        self.examination = Examination(self.recipe.train.silence)
        self.examination.add({"kind": "header", **header})
        return header

    def _open(self, place: RunDir, kept: Any, header: dict[str, Any]) -> None:
        place.requests()  # what was asked of a process that is gone is not asked of this one
        self.history_kept = History(place.history, self.recipe.train.history)
        part = self.prepared.validation or self.prepared.train
        if kept is None:
            recipes.write(self.recipe, place.recipe)
            files.write_json(place.network, describe(self.network))
            self.writer = RecordWriter(place.record, header)
            self.clock = RecordWriter(place.clock, {})
            self.history_kept.begin(part, 0, _tensors(self.loop.now()))
            return
        plain = self._restore(*kept)
        self.history_kept.begin(part, self.loop.epoch, _tensors(self.loop.now()))
        self.writer = RecordWriter(place.record, offset=plain["record"])
        for line in read_lines(place.record):
            self.examination.add(line)
        self.clock = RecordWriter(place.clock, offset=plain["clock"])

    def _restore(self, arrays: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
        self.loop.restore(arrays, plain["loop"])
        self.seconds, self.history = plain["seconds"], plain["history"]
        return plain

    def _header(self, preflight_too: bool) -> dict[str, Any]:
        """What the record says before its first line: the layers, and what the doctor has to know of the run."""
        loop, targets, settings = self.loop, self.prepared.targets, self.settings
        loss = settings.loss.scored()
        outputs = loop.width
        setup = {
            "task": targets.task, "loss": loss.name, "link": str(loss.link), "outputs": outputs,
            "classes": len(targets.classes) or None, "optimizer": settings.optimizer.name,
            "learning_rate": loop.numbers.get("learning_rate"), "schedule": settings.schedule.name,
            "weight_decay": loop.numbers.get("weight_decay"), "batch": loop.program.batch, "rows": loop.program.rows,
            "validation_rows": None if self.prepared.validation is None else len(self.prepared.validation.y),
            "usual_loss": targets.loss if targets.loss != "joint" else None, "sample_rows": len(loop.sample.y),
            "standardized": self.recipe.data.standardize, "rates": [group for group, _ in settings.rates],
            "loss_settings": _spec_of(settings.loss, full=True),
            "updates": settings.updates, "steps_per_epoch": loop.program.steps_per_epoch, "patience": settings.patience,
            "parameters": self.network.parameters, "every": loop.every, "steps": loop.steps_read,
            "metric": outcome.metric_name(settings.metric), "frozen": list(settings.frozen),
            "trivial_loss": trivial_loss(loss, self.prepared.train, outputs),
            "trivial_validation": self._trivial_on_validation(loss, outputs), "keep": settings.keep, "recipe": True,
            "optimizer_settings": _spec_of(settings.optimizer), **self.of_network,
            "precision": None if settings.precision == "float32" else settings.precision,
        }  # fmt: skip
        if self.recipe.train.doctor != "off" and preflight_too and hosts.is_first():
            settable = self.of_network.get("settings", ())
            found = preflight(self.network, self.prepared, settings, self.dataset, settable=settable)
            setup["preflight"] = [f.to_json() for f in found if f.problem not in self.recipe.train.silence]
        return {
            "layers": list(loop.kinds), "weights": list(loop.carry.params), "kinds": list(loop.kinds.values()),
            "shapes": [list(value.shape) for value in loop.carry.params.values()],
            "setup": files.finite({key: value for key, value in setup.items() if value is not None}),
        }  # fmt: skip

    def _loop(self, interruptions: Interruptions) -> None:
        saved = last = time.perf_counter()
        asked: set[str] = set()
        for event in self.loop.run(stop=lambda: interruptions.asked_to_end or "stop" in asked):
            now = time.perf_counter()
            answers = self._tell(event, now - last)
            last = now
            asked.update(answer for answer in answers if answer)
            if self.place is not None:
                asked.update(self.place.requests())
                if now - saved >= self.checkpoint_seconds:
                    asked.add("save")
            agreed = interruptions.agreed(asked)
            asked.clear()
            asked.update(agreed)
            if self.shared is not None:
                if self.loop.finished:
                    continue
                if "save" in asked:
                    self._save()
                    asked.discard("save")
                    saved = time.perf_counter()
                if "pause" in asked:
                    asked.discard("pause")
                    asked.update(self._paused(interruptions))
                    saved = last = time.perf_counter()

    def _paused(self, interruptions: Interruptions) -> set[str]:
        """Saved, and waiting until another process asks to go on; gives what else it asks."""
        self._save()
        began = time.perf_counter()
        self._tell_clock({"kind": "paused"})
        asked: set[str] = set()
        while not interruptions.asked_to_end and not asked & {"continue", "stop"}:
            time.sleep(WAIT)
            asked = interruptions.agreed(asked | (self.place.requests() if self.place is not None else set()))
        self.began += time.perf_counter() - began  # the pause is no part of the training time
        self._tell_clock({"kind": "continued"})
        return asked & {"stop"}

    def _tell_clock(self, line: dict[str, Any]) -> None:
        if self.clock is not None:
            self.clock.append({"time": round(time.time(), 3), "step": self.loop.step, **line})
            self._flush()

    def _tell(self, event: ChunkEnded | EpochEnded, seconds: float) -> list[str | None]:
        clock: dict[str, Any] = {"time": round(time.time(), 3), "seconds": round(seconds, 6), "step": event.step}
        if isinstance(event, ChunkEnded):
            self._record(event.measured)
            if self.clock is not None:
                self.clock.append({"kind": "chunk", **clock, "steps": event.steps})
            self._flush()
            return [callback.chunk_ended(event) for callback in self.callbacks]
        line = epoch_line(event, outcome.metric_name(self.settings.metric))
        self.history.append(line)
        self._record([*event.measured, {"kind": "epoch", **files.finite(line)}])
        if self.clock is not None:
            self.clock.append({"kind": "epoch", **clock})
        self._flush()
        self._keep_weights(event)
        if event.measured and not self.loop.finished and self.recipe.train.doctor != "off":
            self._announce(self.examination.look())
        return [callback.epoch_ended(event) for callback in self.callbacks]

    def _keep_weights(self, event: EpochEnded) -> None:
        """For the result where they are the best so far, for looking back where that epoch is kept."""
        if self.place is None or self.history_kept is None:
            return
        looked_at = self.history_kept.wants(event.epoch)
        if not (looked_at or event.improved):
            return
        tensors = _tensors(self.loop.now())
        if looked_at:
            self.history_kept.add(event.epoch, tensors)
        if event.improved:
            files.write_bytes(self.place.weights, tensors)

    def _flush(self) -> None:
        """Whoever follows the run from its folder sees it at once."""
        for log in (self.writer, self.clock):
            if log is not None:
                log.flush()

    def _trivial_on_validation(self, loss: Any, outputs: int) -> float | None:
        """What the best constant answer of the training part loses on validation."""
        part = self.prepared.validation
        return None if part is None else trivial_loss(loss, self.prepared.train, outputs, on=part)

    def tell(self, said: str) -> None:
        """What is being tried to repair the run."""
        for callback in self.callbacks:
            callback.repairing(said)

    def _announce(self, found: list[Finding]) -> None:
        for finding in found:
            for callback in self.callbacks:
                callback.found(finding)

    def _record(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self.examination.add(line)
            if self.writer is not None:
                self.writer.append(line)

    def _save(self) -> None:
        """The last complete state, with the logs' lengths at this moment."""
        if self.shared is None:
            return
        for log in (self.writer, self.clock):
            if log is not None:
                log.flush(sync=True)
        arrays, loop = self.loop.snapshot()
        plain = {
            "loop": loop, "record": self.writer and self.writer.offset, "clock": self.clock and self.clock.offset,
            "history": self.history, "seconds": self.seconds + time.perf_counter() - self.began,
        }  # fmt: skip
        if self.settings.mesh is not None:
            sharded_checkpoint.write(self.shared.checkpoint, arrays, plain)
        else:
            checkpoint.write(self.shared.checkpoint, arrays, plain)
            sharded_checkpoint.discard(self.shared.checkpoint)

    def _close(self) -> None:
        for log in (self.writer, self.clock):
            if log is not None:
                log.close()

    def _finish(self, compare: "_Background") -> Run:
        loop, place = self.loop, self.place
        if self.shared is not None:
            self._save()
            self._tell_clock({"kind": "scoring"})
        network = loop.result()
        trained = self.seconds + time.perf_counter() - self.began
        reached = bool(loop.best.arrays)
        loss, metric = self.settings.loss.scored(), self.settings.metric
        outputs: dict[str, Any] = {}
        scored = outcome.scores(network, self.prepared, loss, metric, outputs) if reached else {}
        result = self._result(scored, compare.result(), trained)
        findings = Findings(f.to_json() for f in self._conclude(result))
        result["findings"] = [{k: f[k] for k in ("problem", "severity", "layer", "step", "summary")} for f in findings]
        run = Run(place.path if place else None, self.recipe, result, network, self.prepared, self.history, findings)
        if place is not None:
            if reached:
                files.write_bytes(place.weights, _tensors(network))
                self._inspect(place, network, outputs)
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

    def _inspect(self, place: RunDir, network: Network, outputs: dict[str, Any]) -> None:
        """What it has learned, beside the result. That it cannot be told is no reason to lose the run."""
        if not self.recipe.train.inspect:
            return
        dataset = self.dataset if self.recipe.data.fold is None else None  # folds leave the set's own parts unused
        try:
            found = inspect(
                network, self.prepared, metric=self.settings.metric, loss=self.settings.loss.scored(), dataset=dataset,
                outputs=outputs,
            )  # fmt: skip
        except Exception as error:
            said = f"the network could not be inspected: {type(error).__name__}: {error}"
            warnings.warn(said, PellucidWarning, stacklevel=2)
            return
        files.write_json(place.inspection, found, indent=None)

    def _result(self, scored: dict[str, Any], compared: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        loop, targets = self.loop, self.prepared.targets
        compiling = compile_seconds() - self.compiled_before
        examples = loop.step * loop.program.batch
        return {
            "task": targets.task,
            "metric": outcome.metric_name(self.settings.metric),
            **{part: scored.get(part) for part in outcome.PARTS},
            "details": scored.get("details"),
            "doubts": scored.get("doubts"),
            "best_epoch": loop.best.epoch,
            "epochs": loop.epoch,
            "steps": loop.step,
            "stopped": loop.stopped,
            "seconds": round(seconds, 3),
            "compile_seconds": round(compiling, 3),
            "waiting_seconds": round(loop.feed.waited, 3),
            "examples_per_second": round(examples / max(seconds - compiling, 1e-3), 1),
            "parameters": self.network.parameters,
            "peak_memory_bytes": outcome.peak_memory(),
            "seed": self.settings.seed,
            "rows": {p: 0 if (v := getattr(self.prepared, p)) is None else len(v) for p in outcome.PARTS},
            "baselines": compared,
            "notes": self.notes,
            "range_test": self.ranged.to_json() if self.ranged else None,
            "findings": [],
            "run": str(self.shared.path) if self.shared else None,
            **({"mesh": self.recipe.train.mesh, "processes": hosts.count()} if self.settings.mesh else {}),
        }  # fmt: skip


def epoch_line(event: EpochEnded, metric: str) -> dict[str, Any]:
    """An epoch as the record and the history hold it. "train" is the mean while learning; "sample" the end's score."""
    return {
        "epoch": event.epoch, "step": event.step, "train": {"loss": event.loss}, "sample": event.sample.to_json(metric),
        "validation": event.validation.to_json(metric) if event.validation else None,
        "learning_rate": event.learning_rate, "improved": event.improved,
    }  # fmt: skip


def _spec_of(part: Any, full: bool = False) -> Any:
    try:
        return part.to_json(full)
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
    error.run = run
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
