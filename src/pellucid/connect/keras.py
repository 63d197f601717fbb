"""The doctor for Keras 3, as a callback.

    model.fit(x, y, callbacks=[pc.connect.keras.Watch(probe=(x[:256], y[:256]))])

Keras hides its gradients, so the forward and backward passes are computed once more, on a few examples that are given
(`probe`), at the updates 0, 1, 2, 4, 8, ... and then every 100th (of small networks every 200th): by `jax.grad`, by
PyTorch's autograd or by TensorFlow's `GradientTape`, whichever is Keras's backend (`keras_passes`). What an update did
to the weights is the difference that it made. On another backend layers are not seen.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.connect.keras_passes import passes
from pellucid.connect.keras_probes import NAMES, host, keras, picked, weight_names
from pellucid.connect.keras_remedies import rate
from pellucid.connect.keras_trials import try_remedies
from pellucid.connect.trials import SECONDS, STEPS, Trials
from pellucid.connect.watcher import FLOPS, SHORT, STEP, Watcher, diagnose
from pellucid.errors import SettingError
from pellucid.signals.record import number, numbers, spread
from pellucid.signals.sampling import rank_share

ROWS = 512  # of the probe
FEW = 64  # examples for gradients, where no batch is told; examples, and units, whose directions are counted
BATCH = 32  # Keras's own, where no other is told
PATIENCE = 10.0  # seconds, with losses that Keras's own thread has not told yet


class Watch(keras.callbacks.Callback, Watcher):
    """Watches `model.fit`; what it finds is told when training ends, and by `findings()`.

    probe: (inputs, targets) of some training examples, as `fit` takes them. Gradients are computed on as many of them
    as a `batch` has (64 where none is told), whether units are dead, on the first 512.   Everything else as in
    `pc.connect.torch.watch`: out, every, quiet, silence, and what the watcher cannot see (task, classes, batch, ...).
    """

    async_safe = True  # Keras tells losses from a thread of its own, and trains on meanwhile

    def __init__(
        self, probe: tuple[Any, Any] | None = None, *, out: str | Path | None = None, every: int | None = None,
        quiet: bool = False, silence: Iterable[str] = (), **told: Any,
    ):  # fmt: skip
        keras.callbacks.Callback.__init__(self)
        Watcher.__init__(self, out=out, every=every, quiet=quiet, silence=silence, told=told)
        if probe is not None and not (isinstance(probe, tuple | list) and len(probe) == 2):
            raise SettingError(
                "this is no probe", where="probe", expected="(inputs, targets) of some training examples",
                got=type(probe).__name__, fix="probe=(x[:256], y[:256])",
            )  # fmt: skip
        self.probe = None if probe is None else keras.tree.map_structure(lambda a: np.asarray(a[:ROWS]), tuple(probe))
        self.layers: dict[str, str] = {}  # path -> kind, in forward order
        self.pending: dict[str, Any] | None = None  # an update that is measured and not yet made
        self.chunked = 0
        self.begun, self.made = 0, -1  # in this epoch: updates before it; the last batch whose update was made
        self.ended = self.heard = 0  # ... of how many executions the loss is to be told; of how many it was read
        self.means: list[tuple[int, float]] = []  # ... (batch, mean loss so far), until they are needed
        self.mean, self.heard_to = 0.0, -1  # ... the last one that was read, and its batch
        self.due = self.looked = 0  # updates at which there is something to do; at which units are next looked at
        self.rare = every is None
        self.compute: Callable[..., Any] | None = None

    # -- what Keras calls -------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        with self._watching():
            if self.journal.begun:  # another `fit` of the same model
                return
            if self.probe is not None and not all(layer.built for layer in self.model._flatten_layers()):
                few = keras.tree.map_structure(lambda a: keras.ops.convert_to_tensor(a[:1]), self.probe[0])
                self.model(few)  # makes the weights, which TensorFlow would do in its first update
            self.names = weight_names(self.model)
            self.compute = passes(self.model, self.probe, self.told.get("batch") or FEW, self.layers)
            if self.compute is None:
                reason = "without a probe" if self.probe is None else f"on the backend {keras.backend.backend()}"
                self.notes.append(f"{reason} layers and gradients are not seen; probe=(x[:256], y[:256])")
            measured = self._measure()
            shapes = [tuple(v.shape) for v in self.names.values()]
            operations = 6 * sum(map(math.prod, shapes)) * (self.told.get("batch") or BATCH)
            if self.rare and STEP + operations / FLOPS < SHORT:
                self.journal.every *= 2
            self.journal.begin(list(self.layers), list(self.names), list(self.layers.values()), self._setup(), shapes)
            self.pending = measured

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun, self.made, self.ended, self.heard = self.updates, -1, 0, 0
        self.means, self.mean, self.heard_to = [], 0.0, -1

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """All updates before this batch were made. Here, and not at a batch's end, for there a callback that is not
        `async_safe` lets the training wait for each loss."""
        if self.aside:
            return
        try:  # the common call, which is made at each update, counts and does nothing more
            if batch > self.made + 1:
                self._count(batch - 1)
            self.ended += 1
        except Exception as error:
            self.step_aside(error)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Perhaps in a thread of Keras's own, some time after the update."""
        if not self.aside:
            self.means.append((batch, (logs or {}).get("loss", math.nan)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.aside:
            return
        with self._watching():
            self.ended = len(self.means) + self.heard  # Keras has waited for all
            last = max((batch for batch, _ in self.means), default=self.made)
            if last > self.made:
                self._count(last)
            self._losses()
            if self.updates >= self.looked:
                self._units()
                self.looked = self.updates + 2 * self.journal.every
            logs = dict(logs or {})
            validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
            train = {n: v for n, v in logs.items() if n not in ("loss", "learning_rate") and not n.startswith("val_")}
            self.journal.epoch(self.updates, logs.get("loss"), train, validation)

    def _count(self, batch: int) -> None:
        """The updates up to this batch were made."""
        made, before = batch - self.made, self.updates
        self.updates, self.made = before + made, batch
        if self.updates >= self.due or self.pending:
            self._act(before, made)

    def _act(self, before: int, made: int) -> None:
        measured = any(self.journal.is_measured(step) for step in range(before + 1, self.updates + 1))
        full = self.updates - self.chunked >= self.journal.every
        self._losses()
        self._sync()
        if self.pending:
            self._made(made)
        if full:
            self._chunk()
        if measured:
            self.pending = self._measure()
        after = (step for step in range(self.updates + 1, self.updates + 2 * self.journal.every))
        self.due = min(next(filter(self.journal.is_measured, after)), self.chunked + self.journal.every)

    def _losses(self) -> None:
        """Tell the journal the loss of each batch, which Keras tells as the mean over the epoch so far."""
        until = time.monotonic() + PATIENCE
        while self.heard + len(self.means) < self.ended and time.monotonic() < until:
            time.sleep(1e-4)  # they are on their way
        told = len(self.means)  # others may come meanwhile
        for batch, mean in sorted(self.means[:told]):
            made = batch - self.heard_to
            loss = (float(mean) * (batch + 1) - self.mean * (batch + 1 - made)) / made
            self.mean, self.heard_to = float(mean), batch
            self.journal.log(self.begun + batch + 1, loss)
        del self.means[:told]
        self.heard += told

    def on_train_end(self, logs: Any = None) -> None:
        with self._watching():
            self._losses()
            if self.updates > self.chunked:
                self._chunk()
            self.journal.close()
        with self._watching():
            if not self.quiet:
                print(self.summary(), file=sys.stderr)

    # -- trials -----------------------------------------------------------------------------------------------------

    def try_remedies(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None, batch_size: int = BATCH,
        steps: int = STEPS, seconds: float = SECONDS, seeds: int = 3, fresh: bool | None = None,
    ) -> Trials:  # fmt: skip
        """Train copies of the model for a while, one as it is and others with a remedy each, from the same state on the
        same batches, and say which remedies help beyond noise. The model, its optimizer and the random states of
        Python, NumPy and PyTorch stay as they are.

        x, y, sample_weight: to learn from, as `fit` takes them: arrays, of which batches of `batch_size` rows are
        drawn; or an iterable of batches `(x, y)`, of which as many are taken as the steps need (up to 256 MB).
        validation_data: by which branches are judged, in either form (of arrays, 4,096 rows at most); None: that which
        they learn from.   steps: updates of a branch.   seconds: for all of them; fewer updates, seeds and remedies
        where it does not suffice.
        seeds: of the order of the examples and of dropout.   fresh: begin from weights drawn anew, as a new copy of the
        model draws them; None: where the weights are not finite.

        A branch is trained by the copy's own `fit`; callbacks are not in it.

        >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(1e-5), "mse")
        >>> w = Watch(probe=(x, x.sum(1)), quiet=True)
        >>> _ = model.fit(x, x.sum(1), epochs=1, verbose=0, callbacks=[w])
        >>> trials = w.try_remedies(x, x.sum(1), steps=30, seeds=2, seconds=600)
        >>> "Adam, rate 0.001" in [trial.remedy.text for trial in trials.helping]
        True
        """
        if self.model is None:
            raise SettingError(
                "there is no model yet to try anything on", where="try_remedies", expected="a model that was watched",
                got="none", fix="model.fit(..., callbacks=[w]) first, or w.set_model(model)",
            )  # fmt: skip
        self._sync()
        self.trials = try_remedies(
            self.model, (x, y, sample_weight), validation_data, diagnose(self.record, self.silence),
            batch_size=batch_size, steps=steps, seconds=seconds, seeds=seeds, fresh=fresh, begun=self._begun(),
        )  # fmt: skip
        return self.trials

    # -- measuring --------------------------------------------------------------------------------------------------

    @contextmanager
    def _watching(self) -> Iterator[None]:
        if self.aside:
            return (yield)
        with self.safely():
            yield

    def _sync(self) -> None:
        """On JAX the weights live in the training loop meanwhile."""
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _setup(self) -> dict[str, Any]:
        optimizer = self.model.optimizer
        name = type(optimizer).__name__.lower()
        if name == "sgd" and getattr(optimizer, "momentum", 0):
            name = "nesterov" if getattr(optimizer, "nesterov", False) else "momentum"
        params = self.params or {}
        frozen = [
            v.path for v in self.model.non_trainable_weights if v.name in NAMES and v.name not in ("gamma", "beta")
        ]
        return {
            "tool": f"keras-{keras.backend.backend()}", "optimizer": name, "learning_rate": rate(self.model.optimizer),
            "steps_per_epoch": params.get("steps"), **self.told, "frozen": frozen,
        }  # fmt: skip

    def _measure(self) -> dict[str, Any]:
        """What is known of an update before it is made."""
        before = {path: _sample(v) for path, v in self.names.items()}
        line: dict[str, Any] = {"step": self.updates, "learning_rate": number(rate(self.model.optimizer))}
        slopes = [math.nan] * len(before)
        if self.compute is not None:
            activations, gradients, weights = self.compute()
            line["activation"] = spread(np.array([activations[path] for path in self.layers]).reshape(-1, 5))
            line["gradient"] = spread(np.array([gradients[path] for path in self.layers]).reshape(-1, 5))
            slopes = [_rms(w) for w in weights]
        return {"line": line, "before": before, "slopes": slopes}

    def _made(self, count: int) -> None:
        """The measured update was made: see what it did."""
        assert self.pending is not None
        line, before, slopes = (self.pending[name] for name in ("line", "before", "slopes"))
        moved = [_rms(_sample(v) - before[path]) for path, v in self.names.items()]
        sizes = [_rms(w) for w in before.values()]
        if float(line["learning_rate"]) > 0:  # what is moved by less than float32 can tell: the most that it can be
            least = np.finfo(np.float32).eps / 2
            rows = zip(moved, sizes, slopes, strict=True)
            moved = [least * size if far == 0 and slope > 0 else far for far, size, slope in rows]
        line["weight"] = {"gradient": numbers(slopes), "update": numbers(moved), "rms": numbers(sizes)}
        self.journal.step(line)
        self.pending = None
        if count > 1 and not any("steps_per_execution" in note for note in self.notes):
            self.notes.append(f"steps_per_execution: what counts as one update of the weights here is that of {count}")

    def _chunk(self) -> None:
        norms = [float(np.linalg.norm(host(v).ravel())) for v in self.names.values()]
        self.journal.chunk(self.updates, norms)
        self.chunked = self.updates

    def _units(self) -> None:
        if self.compute is None:
            return
        found: dict[str, list[float]] = {"dead": [], "saturated": [], "rank": []}
        outputs = self.compute(outputs=True)
        for path, kind in self.layers.items():
            y = np.asarray(outputs[path][0], np.float64)
            units = np.moveaxis(y, outputs[path][1], -1).reshape(-1, y.shape[outputs[path][1]])
            flat = {"sigmoid": lambda y: 4 * y * (1 - y), "tanh": lambda y: 1 - y * y, "rnn": lambda y: 1 - y * y}
            found["dead"].append(float(np.mean(np.ptp(units, axis=0) == 0)))
            found["saturated"].append(float(np.mean(flat[kind](y) < 0.01)) if kind in flat else math.nan)
            rows = y[:FEW].reshape(min(len(y), FEW), -1)
            found["rank"].append(rank_share(rows[:, :: -(-rows.shape[1] // FEW)]))
        self.journal.units({"step": self.updates, **{name: numbers(values) for name, values in found.items()}})


def _sample(v: Any) -> np.ndarray:
    return picked(host(v)).astype(np.float64)


def _rms(values: np.ndarray) -> float:
    v = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.dot(v, v) / max(v.size, 1)))
