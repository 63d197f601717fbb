# pyright: reportMissingImports=false
"""What passes between a PyTorch model's layers: taken by hooks that hang on the layers for one forward pass, and on
their outputs until the gradient has come.

A hook copies at most 4,096 elements; all arithmetic is done at the end of the step, in NumPy, after one transfer. What
a model does by functions (`F.relu`) is heard through a `TorchFunctionMode`, on the measured passes alone.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pellucid.connect.torch_kinds import FUNCTIONS, channels_first, leaves
from pellucid.signals.record import number, spread
from pellucid.signals.sampling import moments, rank_share, stride

Tensor = torch.Tensor
FOLD = 16  # calls of one layer in a step whose samples are kept apart
ROWS = 1024  # examples over which units are judged
FEW = 64  # examples, and units, whose directions are counted


def local(x: Any) -> Tensor:
    """What this process holds of a distributed tensor; any other as it is."""
    return x.to_local() if hasattr(x, "to_local") else x


def sample(x: Tensor, axis: int = -1) -> Tensor:
    """A copy of at most `SAMPLE` elements, evenly strided in the order of the indices; [n].

    >>> sample(torch.arange(3.0)).tolist(), sample(torch.zeros(10_000, 8)).shape
    ([0.0, 1.0, 2.0], torch.Size([3810]))
    """
    x = local(x.detach())
    if x.is_sparse:
        return (x.coalesce().values().float().square().sum() / x.numel()).sqrt().reshape(1)  # one value of its size
    if x.is_complex():
        x = x.abs()
    step = stride(x.shape, axis) if x.dim() else 1
    if step == 1:
        return x.reshape(-1).clone()
    if x.is_contiguous():
        return x.view(-1)[::step].clone()
    return x[torch.unravel_index(torch.arange(0, x.numel(), step, device=x.device), x.shape)]


def read(tensors: list[Tensor]) -> list[np.ndarray]:
    """Arrays on the host, with one transfer from each device."""
    found: list[np.ndarray | None] = [None] * len(tensors)
    for device in {t.device for t in tensors}:
        places = [i for i, t in enumerate(tensors) if t.device == device]
        flat = torch.cat([tensors[i].reshape(-1) for i in places])
        host = (flat if flat.dtype == torch.float64 else flat.float()).cpu().numpy()
        at = 0
        for i in places:
            found[i], at = host[at : (end := at + tensors[i].numel())], end
    return [f for f in found if f is not None]


class Seen(NamedTuple):
    """A layer, as it was met in the first measured pass."""

    path: str
    kind: str


class Inert:
    """A hook that a copy, or a pickle, of the model gets as one that does nothing."""

    def __init__(self, act: Callable[..., None]):
        self.act = act

    def __call__(self, *args: Any) -> None:
        if not torch.compiler.is_compiling():  # a compiler that traces the model sees nothing here
            self.act(*args)

    def __deepcopy__(self, memo: Any) -> "Inert":
        return Inert(_nothing)

    def __reduce__(self) -> Any:  # plain Python, so that what is saved does not need this package: {}.get(module, args)
        return getattr, ({}, "get")


def _nothing(*args: Any) -> None: ...


class Functions(TorchFunctionMode):
    """Hears of every activation that is applied as a function."""

    def __init__(self, heard: Callable[[str, Any], None]):
        super().__init__()
        self.heard = heard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        if torch.compiler.is_compiling():
            return y
        kind = FUNCTIONS.get(func)
        if kind is not None:
            self.heard(kind, y)
        return y


class Units:
    """How the units of each layer behave over many examples, added up pass by pass."""

    def __init__(self) -> None:
        self.rows = 0
        self.spread: dict[int, Tensor] = {}  # of each unit: its largest difference between two examples of a pass
        self.slopes: dict[int, list[Tensor]] = {}  # samples of outputs whose slope follows from them
        self.directions: dict[int, Tensor] = {}

    def add(self, place: int, kind: str, y: Tensor, axis: int) -> None:
        others = [i for i in range(y.dim()) if i != axis]
        apart = (y.amax(others) - y.amin(others)) if others else torch.zeros_like(y)
        known = self.spread.get(place)
        if known is None or known.shape == apart.shape:
            self.spread[place] = apart if known is None else torch.maximum(known, apart)
        if kind in ("sigmoid", "tanh", "rnn"):
            self.slopes.setdefault(place, []).append(sample(y))
        if place not in self.directions and len(y) > 1:
            rows = y[:FEW].reshape(min(len(y), FEW), -1)
            self.directions[place] = rows[:, :: -(-rows.shape[1] // FEW)].clone()

    def line(self, kinds: list[str]) -> dict[str, Any]:
        """dead, saturated and rank of each layer."""
        layers = range(len(kinds))
        dead = {i: float((t == 0).double().mean()) for i, t in self.spread.items()}
        flat = {i: _flat(kinds[i], np.concatenate(read(ts))) for i, ts in self.slopes.items()}
        rank = {i: rank_share(t.double().cpu().numpy()) for i, t in self.directions.items()}
        found = {"dead": dead, "saturated": flat, "rank": rank}
        return {name: [number(values.get(i, math.nan)) for i in layers] for name, values in found.items()}


def _flat(kind: str, y: np.ndarray) -> float:
    """The share whose slope is under 1 % of the activation's largest."""
    slope = 4 * y * (1 - y) if kind == "sigmoid" else 1 - y * y
    return float(np.mean(slope < 0.01))


class Probes:
    """The hooks of one model."""

    def __init__(self, model: nn.Module, guard: Callable[[], Any]):
        self.guard = guard  # a context in which faults are caught
        compiled = [m for m in model.modules() if is_compiled(m)]
        self.hidden = {id(part) for m in compiled for part in m.modules()}  # what hangs on these is not called
        self.leaves = [leaf for leaf in leaves(model) if id(leaf[1]) not in self.hidden]
        self.layers: list[Seen] = []
        self.places: dict[str, int] = {}
        self.fixed = False  # the layers are those of the record's header
        self.handles: list[Any] = []
        self.mode: Functions | None = None
        self.units = Units()  # of training passes
        self.evaluated = Units()
        self.forget()

    def forget(self) -> None:
        """Begin a new step."""
        self.activations: dict[int, list[Any]] = {}
        self.gradients: dict[int, list[Any]] = {}

    # -- one forward pass -------------------------------------------------------------------------------------------

    def attach(self, training: bool) -> None:
        """Listen to the next pass."""
        self.detach()
        self.training, self.first, self.at, self.inside = training, False, "", 0
        self.counts: dict[str, int] = {}
        self.heard: Tensor | None = None
        for path, module, kind in self.leaves:
            self.handles.append(module.register_forward_pre_hook(Inert(self._enter(kind))))
            self.handles.append(module.register_forward_hook(Inert(self._leave(path, kind))))
        if not self.hidden:
            self.mode = Functions(self._function)
            self.mode.__enter__()

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.mode is not None:
            mode, self.mode = self.mode, None
            mode.__exit__(None, None, None)

    def _enter(self, kind: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self.inside += bool(kind)

        return enter

    def _leave(self, path: str, kind: str) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.inside -= bool(kind)
            with self.guard(), torch._C.DisableTorchFunction():  # what is done here is not to be heard
                y = _tensor(output)
                if kind or y is not self.heard:
                    self._take(path, kind, y)
                self.at, self.counts = path, {}

        return leave

    def _function(self, kind: str, output: Any) -> None:
        if self.inside:  # a layer's own arithmetic
            return
        with self.guard():
            self.counts[kind] = self.counts.get(kind, 0) + 1
            name = kind if self.counts[kind] == 1 else f"{kind}{self.counts[kind]}"
            self.heard = _tensor(output)
            self._take(f"{self.at}/{name}" if self.at else name, kind, self.heard)

    def _take(self, path: str, kind: str, y: Tensor | None) -> None:
        if y is None or not y.is_floating_point() or y.numel() == 0 or y.dim() == 0:
            return
        if self.training and not y.requires_grad and not self.fixed and kind == "":
            return
        place = self.places.get(path)
        if place is None:
            if self.fixed or not self.training:
                return
            place = self.places[path] = len(self.layers)
            self.layers.append(Seen(path, kind))
        with torch.no_grad():
            self.first = channels_first(kind, self.first)
            axis = 1 if self.first and y.dim() > 2 else y.dim() - 1
            if self.training:
                self._keep(self.activations, place, sample(y, axis))
            units = self.units if self.training else self.evaluated
            if units.rows < ROWS:
                units.add(place, kind, y.detach(), axis)
        if self.training and y.requires_grad:
            y.register_hook(self._gradient(place, axis))

    def _gradient(self, place: int, axis: int) -> Callable[[Tensor], None]:
        def come(gradient: Tensor) -> None:
            with self.guard(), torch.no_grad():
                self._keep(self.gradients, place, sample(gradient, axis))

        return come

    def _keep(self, kept: dict[int, list[Any]], place: int, taken: Tensor) -> None:
        samples = kept.setdefault(place, [])
        samples.append(taken)
        if len(samples) > FOLD:  # a cell in a long loop: sums instead
            sums = [s for s in samples if isinstance(s, np.ndarray)]
            fresh = read([s for s in samples if isinstance(s, Tensor)])
            kept[place] = [sum(sums, moments(fresh))]

    # -- the end of a step ------------------------------------------------------------------------------------------

    def lines(self, scale: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
        """Statistics of the activations and of the gradients, one value a layer; NaN for one that was not met.
        scale: what the loss was multiplied by."""
        both, tensors = (self.activations, self.gradients), []
        for kept in both:
            tensors += [t for samples in kept.values() for t in samples if isinstance(t, Tensor)]
        arrays = iter(read(tensors))
        made = []
        for kept, by in zip(both, (1.0, scale), strict=True):
            sums = np.full((len(self.layers), 5), math.nan)
            for place, samples in kept.items():
                parts = [s if isinstance(s, np.ndarray) else moments([next(arrays)]) for s in samples]
                sums[place] = np.sum(parts, 0) / np.array([1, by, by * by, 1, 1])
            made.append(spread(sums))
        return made[0], made[1]


def is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _tensor(output: Any) -> Tensor | None:
    """The first floating tensor of an output."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((t for part in parts if (t := _tensor(part)) is not None and t.is_floating_point()), None)
