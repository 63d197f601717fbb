"""Changes that can be made to a copy of a Keras model and its optimizer, each as a function of a `Branch`.

A change that puts something between layers (`inserts`) is made while the model is copied, layer by layer; all others
act on the copy, so that subclassed models bear them too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from pellucid.connect import remedies
from pellucid.connect.keras_probes import ACTIVATIONS, keras, leaves, own_activation
from pellucid.connect.remedies import ADAPTIVE, BENDING, Change
from pellucid.doctor.finding import Finding

Batch = tuple[Any, Any, Any]  # inputs, targets, weights of the examples
WEIGHTED = ("dense", "conv")
FUNCTIONAL = import_module("keras.src.models.functional").Functional  # which Keras names nowhere else


@dataclass
class Branch:
    """A copy that is trained for a while. prepare: what is done to a batch first."""

    model: Any
    optimizer: Any
    prepare: Callable[[Batch], Batch] = field(default=lambda batch: batch)


def changes(model: Any, sample: list[Batch], findings: Iterable[Finding]) -> Iterator[Change]:
    """What can be tried on this model: first the rates that findings name, then all that apply to it."""
    now = rate(model.optimizer)
    for factor in remedies.factors(now, findings):
        yield Change(remedies.rate(now, factor), _times(factor))
    yield from _of_structure(model)
    yield from _of_steps(model.optimizer)
    if scale := standardising(sample):
        yield Change(remedies.STANDARDIZE, lambda branch: setattr(branch, "prepare", scale), anew=True)


# -- steps ------------------------------------------------------------------------------------------------------------


def inner(optimizer: Any) -> Any:
    """What is inside a loss scale."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def rate(optimizer: Any) -> float:
    held = optimizer.learning_rate  # a variable, or what a schedule gives
    return float(keras.ops.convert_to_numpy(getattr(held, "value", held)))


def _times(factor: float) -> Callable[[Branch], None]:
    """The learning rate, a schedule too, times a factor."""

    class Times(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self, schedule: Callable[..., Any]):
            self.schedule = schedule

        def __call__(self, step: Any) -> Any:
            own = isinstance(self.schedule, keras.optimizers.schedules.LearningRateSchedule)
            return factor * (self.schedule(step) if own else self.schedule())

    def apply(branch: Branch) -> None:
        optimizer = inner(branch.optimizer)
        held = optimizer._learning_rate
        if callable(held):
            optimizer.learning_rate = Times(held)
        else:
            optimizer.learning_rate = rate(optimizer) * factor

    return apply


def _of_steps(optimizer: Any) -> Iterator[Change]:
    def clip(branch: Branch) -> None:
        steps = inner(branch.optimizer)
        steps.clipnorm, steps.clipvalue, steps.global_clipnorm = None, None, 1.0

    def no_decay(branch: Branch) -> None:
        inner(branch.optimizer).weight_decay = None

    def other(make: Callable[[], Any]) -> Callable[[Branch], None]:
        def apply(branch: Branch) -> None:
            scaled = inner(branch.optimizer) is not branch.optimizer
            branch.optimizer = keras.optimizers.LossScaleOptimizer(make()) if scaled else make()

        return apply

    yield Change(remedies.CLIP, clip)
    if type(inner(optimizer)).__name__.lower() in ADAPTIVE:
        yield Change(remedies.MOMENTUM, other(lambda: keras.optimizers.SGD(0.01, momentum=0.9)))
    else:
        yield Change(remedies.ADAM, other(lambda: keras.optimizers.Adam(1e-3)))
    if getattr(inner(optimizer), "weight_decay", None):
        yield Change(remedies.NO_DECAY, no_decay)


# -- layers -----------------------------------------------------------------------------------------------------------


def _of_structure(model: Any) -> Iterator[Change]:
    acting = list(_acting(model))
    bends = [name for _, name in acting if name in BENDING]
    matrices = [layer for _, layer, kind in leaves(model) if kind in WEIGHTED and layer.trainable]
    if bends:
        yield Change(remedies.relu(bends[0]), _rectified, anew=True)
    elif any(name == "relu" for _, name in acting):
        yield Change(remedies.LEAKY, _leaking)
    if len(matrices) > 2 and isinstance(model, keras.Sequential | FUNCTIONAL):
        yield Change(remedies.NORM, _nothing, anew=True)
    if matrices:
        remedy = remedies.initial(bool(bends))
        yield Change(remedy, lambda branch: initialise(branch.model, remedy.settings["initial"]), anew=True)


def _nothing(branch: Branch) -> None:
    pass


def _acting(model: Any) -> Iterator[tuple[Any, str]]:
    """(layer, name) of each activation but the last one, which belongs to the loss."""
    parts = leaves(model)
    for place, (_, layer, kind) in enumerate(parts):
        own = own_activation(layer, kind)
        name = kind if own is None else ACTIVATIONS.get(getattr(own, "__name__", ""), "")
        if name and place < len(parts) - 1 and (own is not None or kind in ACTIVATIONS.values()):
            yield layer, name


def _rectified(branch: Branch) -> None:
    for layer, name in list(_acting(branch.model)):
        if name in BENDING:
            layer.activation = keras.activations.relu
    initialise(branch.model, "he_normal")


def _leaking(branch: Branch) -> None:
    for layer, name in list(_acting(branch.model)):
        if name == "relu" and isinstance(layer, keras.layers.ReLU):
            layer.negative_slope = 0.01
        elif name == "relu":
            layer.activation = _leaky


def _leaky(x: Any) -> Any:
    return keras.activations.leaky_relu(x, 0.01)


def normalising(model: Any) -> Callable[[Any], Any]:
    """Copies a layer; behind every dense and convolutional one but the last it puts a normalisation, before the
    activation."""
    parts = [layer for _, layer, kind in leaves(model) if kind in WEIGHTED]
    inside = {id(layer): kind for _, layer, kind in leaves(model) if kind in WEIGHTED and layer is not parts[-1]}

    def put(layer: Any) -> Any:
        kind, config = inside.get(id(layer)), layer.get_config()
        if kind is None:
            return type(layer).from_config(config)
        activation = layer.activation
        copied = type(layer).from_config({**config, "activation": "linear"})
        channels = 1 if getattr(layer, "data_format", "") == "channels_first" else -1
        told: dict[str, Any] = {"name": f"{layer.name}_norm", "dtype": layer.dtype_policy}
        norm = keras.layers.GroupNormalization(1, axis=channels, **told)
        if kind == "dense":
            norm = keras.layers.LayerNormalization(**told)
        acting = keras.layers.Activation(activation, name=f"{layer.name}_act", dtype=layer.dtype_policy)
        return keras.Sequential([copied, norm, acting], name=f"{layer.name}_normed")

    return put


def initialise(model: Any, name: str) -> None:
    """Draw the weights of dense and convolutional layers anew, by the rule of that name; biases are 0."""
    make = {"he_normal": keras.initializers.HeNormal, "glorot_uniform": keras.initializers.GlorotUniform}[name]
    for _, layer, kind in leaves(model):
        for v in layer.trainable_variables if kind in WEIGHTED else ():
            v.assign(make()(v.shape, v.dtype) if len(v.shape) > 1 else keras.ops.zeros(v.shape, v.dtype))


# -- inputs -----------------------------------------------------------------------------------------------------------


def standardising(sample: list[Batch]) -> Callable[[Batch], Batch] | None:
    """What brings each feature of the inputs (each channel, of images) to mean 0 and deviation 1 over these batches;
    None where they are so already, or are no numbers (whole numbers are names, but for images of bytes)."""
    inputs = [x for x, _, _ in sample]
    if not all(isinstance(x, np.ndarray) and _is_measured(x) for x in inputs) or len({x.shape[1:] for x in inputs}) > 1:
        return None
    first = keras.config.image_data_format() == "channels_first"
    axis = 1 if inputs[0].ndim > 3 and first else inputs[0].ndim - 1
    others = tuple(i for i in range(inputs[0].ndim) if i != axis)
    whole = np.concatenate(inputs).astype(np.float64)
    mean, deviation = whole.mean(others, keepdims=True), whole.std(others, keepdims=True)
    if remedies.are_standardised(mean, deviation):
        return None
    deviation[deviation == 0] = 1

    def scale(batch: Batch) -> Batch:
        return ((batch[0] - mean) / deviation).astype(np.float32), *batch[1:]

    return scale


def _is_measured(x: np.ndarray) -> bool:
    return x.ndim > 1 and (x.dtype.kind == "f" or (x.dtype == np.uint8 and x.ndim > 2))
