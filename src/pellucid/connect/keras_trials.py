"""Trials for a Keras model: copies of it are trained for a while, one as it is, others with a remedy each, from the
same state on the same batches, and what helps beyond the seeds' noise is said with numbers.

A copy is made once for each remedy, so that its training is compiled once, and is put back to where all begin for each
seed. It is trained by its own `fit`, so that a `train_step` of the user's is in it. Nothing of the user's is touched:
the random states of Python, NumPy and PyTorch are put back.
"""

import inspect
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from pellucid.connect.keras_probes import host, keras, leaves
from pellucid.connect.keras_remedies import FUNCTIONAL, Batch, Branch, changes, normalising
from pellucid.connect.remedies import NORM, Change
from pellucid.connect.trials import Branches, Trials, checked, order, reason
from pellucid.doctor.finding import Finding
from pellucid.errors import SettingError

MOST_BYTES = 256 * 2**20  # of batches that are kept
MOST_ROWS = 4096  # by which a branch is judged


def try_remedies(
    model: Any, data: tuple[Any, Any, Any], validation: Any, findings: list[Finding], *, batch_size: int, steps: int,
    seconds: float, seeds: int, fresh: bool | None, begun: str,
) -> Trials:  # fmt: skip
    """See `Watch.try_remedies`."""
    checked(steps, seconds, seeds)
    if not getattr(model, "compiled", False):
        raise SettingError("the model is not compiled", where="try_remedies", expected="a compiled model", got="none",
                           fix="model.compile(optimizer, loss), or model.fit(..., callbacks=[w]) before")  # fmt: skip
    with untouched():
        train = Source.of(*data, batch_size, steps, "x")
        unseen = train if validation is None else Source.of(*_three(validation), batch_size, None, "validation_data")
        finite = all(bool(np.isfinite(host(v)).all()) for v in model.trainable_variables)
        branches = Copies(model, train, unseen, finite, fresh, seconds)
        part = "training" if validation is None else "validation"
        return branches.tried(changes(model, train.sample(), findings), steps, seeds, begun, part)


class Copies(Branches):
    timed = 5

    def __init__(
        self, model: Any, train: "Source", unseen: "Source", finite: bool, fresh: bool | None, seconds: float
    ):  # fmt: skip
        super().__init__(seconds, finite, fresh)
        self.model, self.source, self.unseen = model, train, unseen
        self.made: dict[str, tuple[Branch, list[np.ndarray]]] = {}  # by remedy: the copy, and its optimizer's beginning

    def refused(self, error: Exception) -> SettingError:
        return SettingError(
            "this training cannot be tried", where=type(self.model).__name__,
            expected="inputs and targets as model.fit takes them", got=f"{type(error).__name__}: {reason(error)}",
            fix="w.try_remedies(x, y, validation_data=(x_unseen, y_unseen))",
        )  # fmt: skip

    def start(self, change: Change | None, seed: int) -> Branch:
        name, anew = change.remedy.line() if change else "", self.anew or (change is not None and change.anew)
        if name not in self.made:
            self.made[name] = self._copy(change)
        branch, state = self.made[name]
        if anew:
            _draw(branch.model, self._fresh(change, seed), self.model)
        else:
            _take(branch.model.weights, self.model.weights)
        if change is not None and change.anew:
            random.seed(seed)  # of initial weights that the change itself draws
            change.apply(Branch(branch.model, branch.optimizer))
        for v, value in zip(branch.optimizer.variables, state, strict=True):
            v.assign(value)
        _seed(branch.model, seed)
        return branch

    def _copy(self, change: Change | None) -> tuple[Branch, list[np.ndarray]]:
        random.seed(0)
        model = self._twin(change)
        own = self.model.optimizer
        branch = Branch(model, type(own).from_config(own.get_config()))
        if not (change is not None and change.anew):
            _take(model.weights, self.model.weights)
        if change is not None:
            change.apply(branch)
        told = {name: getattr(self.model._compile_config, "config", {}).get(name) for name in ("loss", "loss_weights")}
        model.compile(
            branch.optimizer, **told, run_eagerly=self.model.run_eagerly, jit_compile=self.model.jit_compile,
            auto_scale_loss=False,
        )  # fmt: skip
        branch.optimizer.build(model.trainable_variables)
        same = type(branch.optimizer) is type(own) and not (self.anew or (change is not None and change.anew))
        if same and own.built:
            rates = {id(v) for v in (_rate_of(branch.optimizer),) if v is not None}
            for v, held in zip(branch.optimizer.variables, own.variables, strict=True):
                if id(v) not in rates:
                    v.assign(host(held))  # never the buffer itself: on JAX a step gives it away
        return branch, [np.array(host(v)) for v in branch.optimizer.variables]

    def _twin(self, change: Change | None) -> Any:
        """A model with weights of its own."""
        put = normalising(self.model) if change is not None and change.remedy == NORM else None
        try:
            twin = _made_again(self.model, put)
            if not twin.built or any(not layer.built for _, layer, _ in leaves(twin)):
                twin(keras.tree.map_structure(lambda a: keras.ops.convert_to_tensor(a[:1]), self.source.first[0]))
            if put is None:
                for layer, own in zip(twin._flatten_layers(), self.model._flatten_layers(), strict=True):
                    layer.trainable = own.trainable  # which get_config() may not tell
            own, other = ([tuple(v.shape) for v in model.weights] for model in (self.model, twin))
        except Exception as error:
            raise self._no_copy(f"{type(error).__name__}: {reason(error)}") from error
        if {id(v) for v in twin.variables} & {id(v) for v in self.model.variables}:
            raise self._no_copy("a copy that shares weights with the model")
        if put is None and own != other:
            raise self._no_copy("a copy with other weights")
        return twin

    def _no_copy(self, got: str) -> SettingError:
        return SettingError(
            "the model cannot be copied, so nothing can be tried", where=type(self.model).__name__,
            expected="what keras.models.clone_model can copy", got=got,
            fix="give its class get_config(), which tells the arguments of __init__",
        )  # fmt: skip

    def _fresh(self, change: Change | None, seed: int) -> Any:
        """A model whose weights are drawn by this seed."""
        _draw_from(seed)
        return self._twin(change)

    def train(self, branch: Branch, seed: int, steps: int) -> bool:
        _draw_from(seed)
        batches = map(branch.prepare, self.source.batches(steps, seed))
        branch.model.fit(_plain(batches), steps_per_epoch=steps, verbose=0, shuffle=False)
        return True  # a loss that was not finite leaves weights whose score is not

    def score(self, branch: Branch) -> float:
        batches = list(map(branch.prepare, self.unseen.judging()))
        with np.errstate(all="ignore"):
            scores = branch.model.evaluate(_plain(iter(batches)), steps=len(batches), verbose=0, return_dict=True)
        value = float(scores["loss"])
        return value if math.isfinite(value) else math.inf


def _made_again(model: Any, put: Callable[[Any], Any] | None) -> Any:
    if isinstance(model, keras.Sequential | FUNCTIONAL):
        return keras.models.clone_model(model, **({} if put is None else {"clone_function": put, "recursive": True}))
    config, accepted = model.get_config(), inspect.signature(type(model).__init__).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):  # then what any layer has is told for nothing
        config = {
            name: v for name, v in config.items() if name in accepted or name not in ("name", "trainable", "dtype")
        }
    return type(model).from_config(config)


def _rate_of(optimizer: Any) -> Any:
    held = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
    return held if isinstance(held, keras.Variable) else None


def _take(variables: list[Any], values: list[Any]) -> None:
    for v, held in zip(variables, values, strict=True):
        v.assign(host(held))  # never the buffer itself: on JAX a step gives it away


def _draw(model: Any, fresh: Any, trained: Any) -> None:
    """Take drawn weights into a copy; layers that are not trained (frozen ones, a normalisation that was adapted) keep
    what they have in the trained model."""
    _take(model.weights, fresh.weights)
    kept = {layer.path: layer for _, layer, _ in leaves(trained) if not layer.trainable_variables}
    for _, layer, _ in leaves(model):
        own = kept.get(layer.path)
        if own is not None and layer.weights and len(own.weights) == len(layer.weights):
            _take(layer.weights, own.weights)


def _draw_from(seed: int) -> None:
    random.seed(seed)
    if keras.backend.backend() == "torch":
        import_module("torch").manual_seed(seed)


def _seed(model: Any, seed: int) -> None:
    """What dropout draws from."""
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    for place, v in enumerate(states):
        v.assign(np.array([seed, place], v.dtype))


# -- batches ----------------------------------------------------------------------------------------------------------


class Source:
    """Where batches come from: rows of arrays, drawn by a seed, or batches that a dataset gave."""

    def __init__(self, rows: Batch | None, kept: list[Batch], size: int):
        self.rows, self.kept, self.size = rows, kept, size
        self.first = kept[0] if rows is None else self._of(range(min(size, self.count)))

    @classmethod
    def of(cls, x: Any, y: Any, weights: Any, size: int, most: int | None, where: str) -> "Source":
        if size < 1:
            raise SettingError(
                "a setting is out of range", where="batch_size", expected="a whole number >= 1", got=size
            )
        listed = isinstance(x, list | tuple) and y is None and all(isinstance(batch, list | tuple) for batch in x)
        if listed or any(not hasattr(a, "shape") or not hasattr(a, "__getitem__") for a in keras.tree.flatten(x)):
            return cls(None, _kept(x, most, where), size)
        parts = (np.asarray(p) if isinstance(p, list) and np.isscalar(p[0]) else p for p in (x, y, weights))
        rows = tuple(keras.tree.map_structure(_array, part) for part in parts)
        lengths = {len(a) for a in keras.tree.flatten(rows) if a is not None}
        if len(lengths) != 1 or 0 in lengths:
            raise SettingError(
                "these are no examples", where=where, expected="inputs and targets of equal length",
                got=f"lengths {sorted(lengths)}",
            )  # fmt: skip
        return cls(_three(rows), [], min(size, *lengths))

    @property
    def count(self) -> int:
        return len(keras.tree.flatten(self.rows)[0])

    def _of(self, places: Any) -> Batch:
        places = np.asarray(places)
        x, y, weights = (
            keras.tree.map_structure(lambda a: None if a is None else a[places], part) for part in self.rows or ()
        )
        return x, y, weights

    def batches(self, steps: int, seed: int) -> Iterator[Batch]:
        """So many, in an order of the seed's; of rows, all of the same size, which is compiled once."""
        if self.rows is None:
            yield from (self.kept[i] for i in order(len(self.kept), steps, seed))
            return
        rows = order(self.count, steps * self.size, seed)
        yield from (self._of(rows[i * self.size : (i + 1) * self.size]) for i in range(steps))

    def judging(self) -> list[Batch]:
        if self.rows is None:
            return self.kept
        rows = min(self.count, MOST_ROWS)
        size = min(rows, 1024)
        return [self._of(range(i, i + size)) for i in range(0, rows - size + 1, size)]

    def sample(self) -> list[Batch]:
        return self.kept if self.rows is None else self.judging()


def _kept(batches: Any, most: int | None, where: str) -> list[Batch]:
    """The first batches: as many as are needed, and as fit."""
    if isinstance(batches, keras.utils.PyDataset):  # which knows no end of its own
        count = batches.num_batches
        batches = map(batches.__getitem__, itertools.count() if count is None else range(count))
    kept, held = [], 0
    try:
        for batch in batches:
            kept.append(_three([keras.tree.map_structure(_array, part) for part in _three(batch)]))
            held += sum(a.nbytes for a in keras.tree.flatten(kept[-1]) if a is not None)
            if len(kept) == most or held > MOST_BYTES:
                break
    except TypeError as error:
        raise SettingError(
            "these are no batches", where=where, expected="arrays, or an iterable of (x, y)", got=reason(error)
        ) from error
    if not kept:
        raise SettingError("there are no batches", where=where, expected="at least one", got="an empty iterable")
    return kept


def _array(a: Any) -> Any:
    if a is None or isinstance(a, np.ndarray):
        return a
    return keras.ops.convert_to_numpy(a) if keras.ops.is_tensor(a) else np.asarray(a)


def _three(batch: Any) -> Batch:
    """(inputs, targets, weights of the examples), as `fit` reads a batch."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    x, y, weights = itertools.islice(itertools.chain(parts, (None, None)), 3)
    return x, y, weights


def _plain(batches: Iterable[Batch]) -> Iterator[Any]:
    """Without what is not there, which Keras would take for a part."""
    for x, y, weights in batches:
        yield (x,) if y is None else (x, y) if weights is None else (x, y, weights)


# -- what is put back -------------------------------------------------------------------------------------------------


@contextmanager
def untouched() -> Iterator[None]:
    """All random states are put back at the end."""
    own, numpys = random.getstate(), np.random.get_state()
    torch = import_module("torch") if keras.backend.backend() == "torch" else None
    held = [] if torch is None else [torch.get_rng_state()]
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
        if torch is not None:
            torch.set_rng_state(held[0])
