"""The doctor for a PyTorch training loop, whoever wrote it.

    with pc.connect.torch.watch(model, optimizer) as w:
        for epoch in range(epochs):
            for x, y in loader:
                loss = criterion(model(x), y)
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                w.log(loss=loss)
            w.log(validation_loss=evaluate(model))
    w.findings(), w.record

Measured are the updates 0, 1, 2, 4, 8, ... and then every 100th: activations and gradients of each layer, gradients,
updates and sizes of each weight, and in evaluation passes the share of dead and saturated units. Between measured
updates one hook on the model and two on the optimizer return at once. Nothing that is watched is changed, no random
number is drawn, and a fault in here ends the watching, not the training. JAX is not loaded.
"""

import sys
import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.connect.torch_kinds import weight_names
from pellucid.connect.torch_probes import ROWS, Inert, Probes, is_compiled, read, sample
from pellucid.connect.watcher import Watcher, warn
from pellucid.errors import SettingError
from pellucid.signals.record import number, numbers

OPTIMIZERS = {"Adam": "adam", "NAdam": "adam", "RAdam": "adam", "Adamax": "adam", "AdamW": "adamw", "RMSprop": "rmsprop",
              "Adagrad": "adagrad", "Lion": "lion", "Muon": "muon"}  # fmt: skip
FEWEST = 64  # examples by which units may be judged
_watched: weakref.WeakSet = weakref.WeakSet()  # optimizers
# evaluation passes of these take another way through PyTorch where hooks are attached, with other roundings
_FAST = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


def watch(
    model: nn.Module, optimizer: Optimizer, *, out: str | Path | None = None, every: int | None = None,
    scaler: Any = None, quiet: bool = False, silence: Iterable[str] = (), **told: Any,
) -> "Watch":  # fmt: skip
    """Watch a model while it is trained, in a `with`; what it finds is told at the end, and by `findings()`.

    out: a folder or a .jsonl file for the record.   every: measure each so many updates, besides the first few.
    scaler: the loss's GradScaler, which is found by itself where it makes the steps.   silence: problems not to tell.
    told: what the watcher cannot see, in the words of a record: task="classification", classes=10, loss="cross_entropy",
    rows=50_000, updates=..., steps_per_epoch=..., trivial_loss=... (of the best constant answer).

    >>> model = nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model, optimizer, quiet=True) as w:
    ...     for step in range(3):
    ...         loss = model(torch.ones(4, 3)).square().mean()
    ...         optimizer.zero_grad(); loss.backward(); optimizer.step()
    ...         w.log(loss=loss)
    >>> w.record.weights, [line["step"] for line in w.record.steps]
    (['dense/w', 'dense/b'], [0, 1, 2])
    """
    return Watch(model, optimizer, out=out, every=every, scaler=scaler, quiet=quiet, silence=silence, **told)


class Watch(Watcher, AbstractContextManager):
    """Made by `watch`."""

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, *, out: str | Path | None, every: int | None, scaler: Any,
        quiet: bool, silence: Iterable[str], **told: Any,
    ):  # fmt: skip
        first = _rank() == 0
        super().__init__(
            out=out if first else None, every=every, quiet=quiet or not first, silence=silence, told=told, read=_losses
        )
        if not isinstance(model, nn.Module):
            raise SettingError("this cannot be watched", where="model", expected="an nn.Module", got=type(model).__name__)
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):  # wrapped by accelerate, Lightning
            optimizer = inner
        if not isinstance(optimizer, Optimizer):
            raise SettingError(
                "this cannot be watched", where="optimizer", expected="a torch.optim.Optimizer",
                got=type(optimizer).__name__,
            )  # fmt: skip
        self.optimizer, self.scaler = optimizer, scaler
        self.model, self.blind = _unwrapped(model)
        if self.blind:
            self.notes.append(self.blind)
        self.evaluates = not any(isinstance(m, _FAST) for m in self.model.modules())
        self.handles: list[Any] = []
        self.probes = Probes(self.model, self.safely)
        if self.probes.hidden and not self.blind:
            self.notes.append("layers inside compiled parts, and activations applied as functions, were not watched")
        self.names: dict[str, nn.Parameter] = {}
        self.batch: int | None = None
        self.mode = True  # the model's `training` at the last update
        self.met = self.armed = False  # the model was called; the coming update is measured
        self.pass_end: Any = None
        self.pending: dict[str, Any] = {}
        self.old: dict[str, np.ndarray] = {}  # of weights that the optimizer does not hold
        self.chunked = 0
        self.passes, self.scale = 0, 1.0  # of the coming update: forward passes, and what their losses are multiplied by

    # -- attaching --------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Watch":
        with self.safely():
            if self.optimizer in _watched:
                warn("this optimizer is watched already; both watchers go on, and will find the same")
            _watched.add(self.optimizer)
            self.mode = self.model.training
            if not self.blind:
                self.handles.append(self.model.register_forward_pre_hook(Inert(self._pass_begins)))
            self.handles.append(self.optimizer.register_step_pre_hook(Inert(self._before_update)))
            self.handles.append(self.optimizer.register_step_post_hook(Inert(self._after_update)))
            self.armed = self.journal.is_measured(0)
        return self

    def __exit__(self, *error: Any) -> None:
        self.detach()
        if not self.aside:
            with self.safely():
                self._end()
        self.close()

    def detach(self) -> None:
        _watched.discard(self.optimizer)
        self.probes.detach()
        for handle in [*self.handles, *([self.pass_end] if self.pass_end is not None else [])]:
            handle.remove()
        self.handles, self.pass_end = [], None

    def _end(self) -> None:
        if self.updates == 0:
            self.notes.append("optimizer.step() was not seen: was another optimizer at work, or a compiled step?")
        elif not self.blind and not self.probes.layers:
            self.notes.append(
                "the layers were not met: a compiled model calls none of them, nor does one that is never called as a "
                "whole, model(x); train without torch.compile for a while to see them"
            )
        if self.updates > self.chunked:
            self._chunk()
        self._units(at_least=FEWEST)

    # -- forward passes ---------------------------------------------------------------------------------------------

    def _pass_begins(self, module: nn.Module, args: Any) -> None:
        self.met = True
        wanted = self.evaluates and self.journal.begun and self.probes.evaluated.rows < ROWS
        if self.aside or self.pass_end is not None or not (self.armed or wanted):
            return
        with self.safely():
            if _transformed():
                return
            training = torch.is_grad_enabled() and (module.training or not self.mode)
            if not (self.armed if training else wanted):
                return
            rows = next((len(a) for a in args if isinstance(a, torch.Tensor) and a.dim()), 0)
            units = self.probes.units if training else self.probes.evaluated
            units.rows += rows
            self.batch = self.batch or (rows if training else None)
            if training:
                scale = self._scale()
                if scale != self.scale:  # the last attempt's gradients were not finite, and no update was made of it
                    self.probes.forget()
                    self.passes = 0
                self.passes, self.scale = self.passes + 1, scale
            self.probes.attach(training)
            self.pass_end = module.register_forward_hook(Inert(self._pass_ends), always_call=True)

    def _pass_ends(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.pass_end is not None:
            self.pass_end.remove()
            self.pass_end = None
        self.probes.detach()

    # -- updates ----------------------------------------------------------------------------------------------------

    def _before_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.aside or not self.armed:
            return
        with self.safely(), torch.no_grad():
            if _capturing():
                return
            if self.scaler is None and (found := _scaler_above()) is not None:
                self.scaler, self.scale = found, float(found.get_scale())
                if self.passes > 1:  # perhaps attempts that made no update: measure the next one
                    self.passes = 0
            self.names = self.names or weight_names(self.model)
            closure = len(args) > 1 and args[1] is not None or kwargs.get("closure") is not None
            self.pending = {
                "rates": [float(group["lr"]) for group in optimizer.param_groups if "lr" in group],
                "before": [sample(p) for p in self.names.values()],
                # with a closure the gradients are computed within the step, and still there after it
                "gradients": None if closure else self._gradients(),
            }

    def _gradients(self) -> list[torch.Tensor | None]:
        return [None if p.grad is None else sample(p.grad) for p in self.names.values()]

    def _after_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.aside:
            return
        with self.safely(), torch.no_grad():
            retry = False
            if self.armed and self.pending:
                if self.pending["gradients"] is None:
                    self.pending["gradients"] = self._gradients()
                retry = not self._measured()
                self.pending, self.passes = {}, 0
                self.probes.forget()
            self.updates += 1
            self.mode = self.model.training
            if self.updates - self.chunked >= self.journal.every and self.journal.begun:
                self._chunk()
            self.armed = retry or self.journal.is_measured(self.updates)

    def _scale(self) -> float:
        return float(self.scaler.get_scale()) if self.scaler is not None else 1.0

    def _measured(self) -> bool:
        """Write what this update was -> whether it could be."""
        if not self.journal.begun:
            self._begin()
        void = getattr(self.optimizer, "found_inf", None)  # of a fused optimizer, which then leaves all as it was
        if self.scaler is not None and (not self.passes or (void is not None and float(void) > 0)):
            return False
        fused = getattr(self.optimizer, "grad_scale", None)  # such an optimizer divides by it itself
        taken = [t for t in self.pending["gradients"] if t is not None]
        arrays = read([*self.pending["before"], *taken, *(sample(p) for p in self.names.values())])
        count = len(self.names)
        before, after = arrays[:count], arrays[len(arrays) - count :]
        slopes = iter(arrays[count : len(arrays) - count])
        by = float(fused) if fused is not None else 1.0
        gradients = [
            0.0 if t is None else _rms(next(slopes), p) / by
            for t, p in zip(self.pending["gradients"], self.names.values(), strict=True)
        ]
        activation, gradient = self.probes.lines(self.scale)
        if self.scaler is not None and np.isfinite(gradients).all() and any(_above_zero(gradient["nonfinite"])):
            return False  # an attempt whose scale was too large is in it: take the next update instead
        rates = self.pending["rates"]
        line = {
            "step": self.updates, **({"learning_rate": number(rates[0])} if rates else {}),
            **({"learning_rates": numbers(rates)} if len(set(rates)) > 1 else {}),
            "activation": activation, "gradient": gradient,
            "weight": {
                "gradient": numbers(gradients), "update": numbers(self._moved(before, after)),
                "rms": numbers([_rms(b) for b in before]),
            },
        }  # fmt: skip
        self.journal.step(line)
        if not self.probes.evaluated.rows and self.probes.units.rows >= ROWS:
            self._units()
        return True

    def _moved(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> list[float]:
        """How far each weight went. One that the optimizer does not hold is compared with when it was last seen, for
        another optimizer may move it."""
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        moved = []
        for (name, p), b, a in zip(self.names.items(), before, after, strict=True):
            if id(p) not in held and p.requires_grad:
                b, self.old[name] = self.old.get(name, b), a
            moved.append(_rms(a.astype(np.float64) - b))
        return moved

    def _begin(self) -> None:
        group = self.optimizer.param_groups[0]
        name = type(self.optimizer).__name__
        known = OPTIMIZERS.get(name, name.lower())
        if name == "SGD" and group.get("momentum"):
            known = "nesterov" if group.get("nesterov") else "momentum"
        self.probes.fixed = True
        setup = {
            "tool": "pytorch", "optimizer": known, "learning_rate": float(group["lr"]) if "lr" in group else None,
            "batch": self.batch, **self.told,
            "frozen": [path for path, p in self.names.items() if not p.requires_grad],
        }  # fmt: skip
        seen = self.probes.layers
        self.journal.begin([s.path for s in seen], list(self.names), [s.kind for s in seen], setup)
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        left = [path for path, p in self.names.items() if p.requires_grad and id(p) not in held]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            self.notes.append(f"the optimizer does not hold {left[0]}{more}: only another one can move them")

    # -- now and then -----------------------------------------------------------------------------------------------

    def _log(self, loss: Any, train: dict[str, Any], validation: dict[str, Any]) -> None:
        if isinstance(loss, torch.Tensor):
            loss = loss.detach().clone()
        if validation:
            self._units(at_least=FEWEST)
        super()._log(loss, train, validation)

    def _chunk(self) -> None:
        if not self.names or not self.journal.begun:
            return
        weights = [p.detach().to_local() if hasattr(p, "to_local") else p.detach() for p in self.names.values()]
        norms = read([torch.linalg.vector_norm(w.float() if w.dtype.itemsize < 4 else w) for w in weights])
        self.journal.chunk(self.updates, np.concatenate(norms))
        self.chunked = self.updates

    def _units(self, at_least: int = 0) -> None:
        """Write how the units behave: in evaluation passes where there are any, else in the measured updates."""
        probes = self.probes
        units = probes.evaluated if probes.evaluated.rows else probes.units
        if units.rows >= at_least and units.spread and self.journal.begun:
            self.journal.units({"step": self.updates, **units.line([s.kind for s in probes.layers])})
            fresh = type(units)
            probes.units, probes.evaluated = fresh(), fresh()


def _losses(values: Sequence[Any]) -> list[float]:
    """Numbers, of tensors on whatever device, in one transfer."""
    tensors = [v.detach().reshape(-1)[:1] for v in values if isinstance(v, torch.Tensor)]
    found = iter(np.concatenate(read(tensors)).tolist() if tensors else [])
    return [next(found) if isinstance(v, torch.Tensor) else float(v) for v in values]


def _rms(values: np.ndarray, sparse: Any = None) -> float:
    v = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if sparse is not None and sparse.grad is not None and sparse.grad.is_sparse:  # rows that are not there are 0
            return float(np.sqrt(np.dot(v, v) / sparse.numel()))
        return float(np.sqrt(np.dot(v, v) / max(v.size, 1)))


def _above_zero(values: Iterable[Any]) -> list[bool]:
    return [isinstance(v, float) and v > 0 for v in values]


def _unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """(the module itself, why its layers cannot be watched or "")."""
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    reason = "a compiled model calls none of its layers: weights, updates and losses were watched, the layers were not"
    if is_compiled(model):
        return getattr(model, "_orig_mod", model), reason
    if isinstance(model, torch.jit.ScriptModule):
        return model, reason.replace("compiled", "scripted")
    if isinstance(model, nn.TransformerEncoder | nn.TransformerEncoderLayer):
        return model, (
            "nn.TransformerEncoder evaluates in another way where it is watched, so its layers were not: make it a part "
            "of a module of your own"
        )  # fmt: skip
    return model, ""


def _scaler_above() -> Any:
    """The GradScaler that is making this step, if one is."""
    frame = sys._getframe(2)
    for _ in range(12):
        if frame is None:
            return None
        if isinstance(owner := frame.f_locals.get("self"), torch.amp.GradScaler):
            return owner if owner.is_enabled() else None
        frame = frame.f_back
    return None


def _transformed() -> bool:
    """Whether this runs inside `torch.func`, whose tensors must not be kept."""
    peek = getattr(torch._C._functorch, "peek_interpreter_stack", None)
    return peek is not None and peek() is not None


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _rank() -> int:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if distributed else 0
