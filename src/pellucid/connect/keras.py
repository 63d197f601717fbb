"""The doctor for Keras 3, as a callback: `model.fit(x, y, callbacks=[pc.connect.keras.Watch(probe=(x[:256], y[:256]))])`.

Keras hides its gradients, so the forward and backward passes are computed once more, on a few examples that are given
(`probe`), at the updates 0, 1, 2, 4, 8, ... and then every 100th: by `jax.grad` or by PyTorch's autograd, whichever is
Keras's backend. For these passes each layer's `call` is wrapped, so that any model is seen into, subclassed ones too,
and all variables are read and written in a `StatelessScope`: running averages, seeds and metrics stay as they are.
What an update did to the weights is the difference that it made. On other backends layers are not seen.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.connect.watcher import Watcher
from pellucid.errors import MissingExtra, SettingError
from pellucid.signals.record import number, numbers, spread
from pellucid.signals.sampling import moments, rank_share, stride

try:
    import keras
except ImportError as error:  # pragma: no cover
    raise MissingExtra("Keras is not installed", fix='pip install "pellucid[keras]"') from error

ROWS = 512  # of the probe
_BY_CLASS = {
    "dense": "Dense EinsumDense",
    "conv": "Conv1D Conv2D Conv3D DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D",
    "conv_transpose": "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU PReLU",
    "elu": "ELU",
    "softmax": "Softmax",
    "rnn": "SimpleRNN",
    "lstm": "LSTM ConvLSTM1D ConvLSTM2D",
    "gru": "GRU",
    "embed": "Embedding",
    "attention": "MultiHeadAttention GroupedQueryAttention Attention AdditiveAttention",
    "batch_norm": "BatchNormalization",
    "layer_norm": "LayerNormalization GroupNormalization UnitNormalization",
    "rms_norm": "RMSNormalization",
    "dropout": "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout AlphaDropout",
    "flatten": "Flatten",
    "identity": "Identity",
    "max_pool": "MaxPooling1D MaxPooling2D MaxPooling3D",
    "avg_pool": "AveragePooling1D AveragePooling2D AveragePooling3D",
    "global_pool": "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D",
    "upsample": "UpSampling1D UpSampling2D UpSampling3D",
}
_KINDS = {name: kind for kind, names in _BY_CLASS.items() for name in names.split()}
_FUNCTIONS = {"relu": "relu", "relu6": "relu", "leaky_relu": "leaky_relu", "elu": "elu", "celu": "elu", "selu": "selu",
              "gelu": "gelu", "silu": "silu", "swish": "silu", "hard_silu": "silu", "mish": "silu",
              "softplus": "softplus", "sigmoid": "sigmoid", "hard_sigmoid": "sigmoid", "tanh": "tanh",
              "hard_tanh": "tanh", "softmax": "softmax", "log_softmax": "softmax"}  # fmt: skip
_NAMES = {"kernel": "w", "bias": "b", "embeddings": "w", "recurrent_kernel": "u", "gamma": "scale", "beta": "bias"}
Tap = Callable[[str, str, Any], Any]  # (path, kind, what comes out) -> what goes on


class Watch(keras.callbacks.Callback, Watcher):
    """Watches `model.fit`; what it finds is told when training ends, and by `findings()`.

    probe: (inputs, targets) of some training examples, as `fit` takes them; at most 512 are used.   Everything else as
    in `pc.connect.torch.watch`: out, every, quiet, silence, and what the watcher cannot see (task, classes, ...).
    """

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
        self.chunked, self.place, self.mean = 0, -1, 0.0
        self.compute: Callable[..., Any] | None = None

    # -- what Keras calls -------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        with self._watching():
            if self.journal.begun:  # another `fit` of the same model
                return
            self.names = _weights(self.model)
            self.compute = _backend(self)
            if self.compute is None:
                reason = "without a probe" if self.probe is None else f"on the backend {keras.backend.backend()}"
                self.notes.append(f"{reason} layers and gradients are not seen; probe=(x[:256], y[:256]), torch or jax")
            measured = self._measure()
            self.journal.begin(list(self.layers), list(self.names), list(self.layers.values()), self._setup())
            self.pending = measured

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.place, self.mean = -1, 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.aside:
            return
        with self._watching():
            made = batch - self.place
            before, self.updates = self.updates, self.updates + made
            mean = float((logs or {}).get("loss", math.nan))  # over the epoch so far
            loss = (mean * (batch + 1) - self.mean * (self.place + 1)) / made
            self.place, self.mean = batch, mean
            self.journal.log(self.updates, loss)
            measured = any(self.journal.is_measured(step) for step in range(before + 1, self.updates + 1))
            full = self.updates - self.chunked >= self.journal.every
            if not (measured or full or self.pending):
                return
            self._sync()
            if self.pending:
                self._made(made)
            if full:
                self._chunk()
            if measured:
                self.pending = self._measure()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.aside:
            return
        with self._watching():
            self._units()
            logs = dict(logs or {})
            validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
            train = {n: v for n, v in logs.items() if n not in ("loss", "learning_rate") and not n.startswith("val_")}
            if validation:
                self.journal.log(self.updates, None, train, validation)

    def on_train_end(self, logs: Any = None) -> None:
        with self._watching():
            if self.updates > self.chunked:
                self._chunk()
            self.journal.flush()
        if not self.quiet and not self.aside:
            self.close()

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
        frozen = [v.path for v in self.model.non_trainable_weights if v.name in _NAMES and v.name not in ("gamma", "beta")]
        return {
            "tool": f"keras-{keras.backend.backend()}", "optimizer": name, "learning_rate": self._rate(),
            "steps_per_epoch": params.get("steps"), **self.told, "frozen": frozen,
        }  # fmt: skip

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _measure(self) -> dict[str, Any]:
        """What is known of an update before it is made."""
        before = {path: _sample(v) for path, v in self.names.items()}
        line: dict[str, Any] = {"step": self.updates, "learning_rate": number(self._rate())}
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
        line["weight"] = {"gradient": numbers(slopes), "update": numbers(moved), "rms": numbers(sizes)}
        self.journal.step(line)
        self.pending = None
        if count > 1 and not any("steps_per_execution" in note for note in self.notes):
            self.notes.append(f"steps_per_execution: what counts as one update of the weights here is that of {count}")

    def _chunk(self) -> None:
        norms = [float(np.linalg.norm(keras.ops.convert_to_numpy(v.value).ravel())) for v in self.names.values()]
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
            rows = y[:128].reshape(min(len(y), 128), -1)
            found["rank"].append(rank_share(rows[:, :: -(-rows.shape[1] // 128)]))
        self.journal.units({"step": self.updates, **{name: numbers(values) for name, values in found.items()}})

    # -- one pass over the probe ------------------------------------------------------------------------------------

    def forward(self, values: list[Any], tap: Tap, training: bool = True) -> Any:
        """The loss on the probe with these values of the model's variables, which stay as they are."""
        model = self.model
        assert self.probe is not None
        x, y = self.probe
        mapping = list(zip(_variables(model), values, strict=True))
        told = {"training": training} if model._call_has_training_arg else {}
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True), _tapped(model, tap):
            x = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
            outputs = model(x, **told)
            if not training:
                return outputs
            y = keras.tree.map_structure(keras.ops.convert_to_tensor, y)
            return model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None, training=True)


def _backend(watch: Watch) -> Callable[..., Any] | None:
    if watch.probe is None:
        return None
    return {"jax": _with_jax, "torch": _with_torch}.get(keras.backend.backend(), lambda watch: None)(watch)


def _with_jax(watch: Watch) -> Callable[..., Any]:
    """-> a function that gives (activations' sums, gradients' sums, weights' gradients), or all outputs."""
    import jax

    from pellucid.network.probes import Probes

    model = watch.model

    def meet(path: str, kind: str, y: Any) -> Any:
        watch.layers.setdefault(path, kind)
        return y

    jax.eval_shape(lambda values: watch.forward(values, meet), [v.value for v in _variables(model)])
    paths, trained = tuple(watch.layers), len(watch.names)

    @jax.jit
    def slopes(trainable: list[Any], others: list[Any]) -> Any:
        def loss(trainable: list[Any], slots: Any) -> Any:
            probes = Probes(slots)
            value = watch.forward([*trainable, *others], lambda path, kind, y: probes.tap(path, y))
            return value, probes.taken

        (_, taken), (weights, felt) = jax.value_and_grad(loss, (0, 1), has_aux=True)(trainable, Probes.empty(paths))
        return taken, felt, weights

    @jax.jit
    def all_outputs(values: list[Any]) -> Any:
        kept: dict[str, Any] = {}

        def keep(path: str, kind: str, y: Any) -> Any:
            kept[path] = y
            return y

        watch.forward(values, keep, training=False)
        return kept

    def compute(outputs: bool = False) -> Any:
        values = [v.value for v in _variables(model)]
        if outputs:
            return {path: (np.asarray(y), _axis(model, path, y.ndim)) for path, y in all_outputs(values).items()}
        taken, felt, weights = slopes(values[:trained], values[trained:])
        host = [{path: np.asarray(v, np.float64) for path, v in found.items()} for found in (taken, felt)]
        return host[0], host[1], [_picked(np.asarray(w)) for w in weights]

    return compute


def _with_torch(watch: Watch) -> Callable[..., Any]:
    import torch

    model, trained = watch.model, len(watch.names)

    def compute(outputs: bool = False) -> Any:
        felt: dict[str, list[np.ndarray]] = {}
        met: dict[str, list[np.ndarray]] = {}

        def host(y: Any) -> np.ndarray:
            return y.detach().float().cpu().numpy()

        def keep(path: str, kind: str, y: Any) -> Any:
            watch.layers.setdefault(path, kind)
            met.setdefault(path, []).append(host(y) if outputs else _picked(host(y)))
            if not outputs and y.requires_grad:
                y.register_hook(lambda g: felt.setdefault(path, []).append(_picked(host(g))))
            return y

        values = [v.value.detach() for v in _variables(model)]
        if outputs:
            with torch.no_grad():
                watch.forward(values, keep, training=False)
            return {path: (ys[-1], _axis(model, path, ys[-1].ndim)) for path, ys in met.items()}
        weights = [v.requires_grad_() for v in values[:trained]]
        with torch.enable_grad():
            loss = watch.forward([*weights, *values[trained:]], keep)
            slopes = torch.autograd.grad(loss, weights, allow_unused=True)
        unknown = np.full(5, math.nan)
        activations = {path: moments(met[path]) if path in met else unknown for path in watch.layers}
        gradients = {path: moments(felt[path]) if path in felt else unknown for path in watch.layers}
        found = zip(slopes, weights, strict=True)
        return activations, gradients, [_picked(host(torch.zeros_like(w) if g is None else g)) for g, w in found]

    return compute


@contextmanager
def _tapped(model: Any, tap: Tap) -> Iterator[None]:
    """Each layer's output goes through `tap`, and so does what comes before an activation that a layer applies."""
    changed: list[tuple[Any, str, Any]] = []  # (layer, attribute, what it was, if it was the layer's own)

    def put(layer: Any, name: str, value: Any) -> None:
        changed.append((layer, name, layer.__dict__.get(name)))
        layer.__dict__[name] = value

    try:
        for path, layer, kind in _leaves(model):
            activation = _own_activation(layer, kind)
            if activation is not None:
                put(layer, "activation", _around(path, kind, activation, tap))
            else:
                put(layer, "call", _after(path, kind, layer.call, tap))
        yield
    finally:
        for layer, name, value in reversed(changed):
            if value is None:
                del layer.__dict__[name]
            else:
                layer.__dict__[name] = value


def _after(path: str, kind: str, call: Callable, tap: Tap) -> Callable:
    def tapped(*args: Any, **kwargs: Any) -> Any:
        y = call(*args, **kwargs)
        if isinstance(y, tuple | list):
            return type(y)((tap(path, kind, y[0]), *y[1:])) if y and _is_float(y[0]) else y
        return tap(path, kind, y) if _is_float(y) else y

    return tapped


def _around(path: str, kind: str, activation: Callable, tap: Tap) -> Callable:
    name = _FUNCTIONS.get(getattr(activation, "__name__", ""), "")

    def tapped(x: Any) -> Any:
        return tap(f"{path}/{name or 'activation'}", name, activation(tap(path, kind, x)))

    return tapped


def _leaves(model: Any) -> list[tuple[str, Any, str]]:
    """(path, layer, kind) of every layer that is made of no others, or is of a known kind."""
    found: list[tuple[str, Any, str]] = []
    inside: set[int] = set()
    for layer in model._flatten_layers(include_self=False):
        if id(layer) in inside or isinstance(layer, keras.layers.InputLayer):
            continue
        kind = _KINDS.get(type(layer).__name__, "")
        if isinstance(layer, keras.layers.Activation):
            kind = _FUNCTIONS.get(getattr(layer.activation, "__name__", ""), "")
        parts = list(layer._flatten_layers(include_self=False))
        if kind:
            inside |= {id(part) for part in parts}
        elif parts or isinstance(layer, keras.layers.Wrapper):
            continue
        found.append((_path(model, layer.path or layer.name), layer, kind))
    return found


def _own_activation(layer: Any, kind: str) -> Callable | None:
    activation = layer.__dict__.get("activation")
    if kind not in ("dense", "conv", "conv_transpose") or not callable(activation):
        return None
    return None if activation is keras.activations.linear or isinstance(activation, keras.layers.Layer) else activation


def _weights(model: Any) -> dict[str, Any]:
    """The trained variables, by paths in Pellucid's words: `hidden/w` for `hidden/kernel`."""
    owners = {id(v): path for path, layer, _ in _leaves(model) for v in layer.trainable_variables}
    found = {}
    for v in model.trainable_variables:
        own = _NAMES.get(v.name, v.name)
        path = f"{owners[id(v)]}/{own}" if id(v) in owners else _path(model, v.path)
        found[path if path not in found else _path(model, v.path)] = v
    return found


def _variables(model: Any) -> list[Any]:
    """The trained ones first, then all others that a pass may read or write."""
    return [*model.trainable_variables, *model.non_trainable_variables, *model.metrics_variables]


def _path(model: Any, path: str) -> str:
    return path.removeprefix(f"{model.name}/")


def _axis(model: Any, path: str, axes: int) -> int:
    """The axis of a layer's units: the last, but for images with channels first."""
    layer = next((layer for own, layer, _ in _leaves(model) if path == own or path.startswith(f"{own}/")), None)
    return 1 if getattr(layer, "data_format", None) == "channels_first" and axes > 2 else axes - 1


def _is_float(y: Any) -> bool:
    return hasattr(y, "dtype") and keras.backend.is_float_dtype(keras.backend.standardize_dtype(y.dtype))


def _picked(a: np.ndarray) -> np.ndarray:
    """A copy of at most `SAMPLE` elements."""
    return np.array(a.reshape(-1)[:: stride(a.shape)] if a.ndim else a.reshape(1), copy=True)


def _sample(v: Any) -> np.ndarray:
    return _picked(keras.ops.convert_to_numpy(v.value)).astype(np.float64)


def _rms(values: np.ndarray) -> float:
    v = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.dot(v, v) / max(v.size, 1)))
