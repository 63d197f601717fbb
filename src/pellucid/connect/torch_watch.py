# pyright: reportMissingImports=false
"""The doctor for a PyTorch training loop, whoever wrote it.

    with pc.connect.torch.watch(model, optimizer) as w:
        for epoch in range(epochs):
            for x, y in loader:
                loss = criterion(model(x), y)
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                w.log(loss=loss)
            w.log(validation_loss=evaluate(model))
    w.findings(), w.record

Measured are the updates 0, 1, 2, 4, 8, ... and then every 100th (of small networks every 200th): activations and
gradients of each layer, gradients, updates and sizes of each weight; and the share of dead and saturated units, in the
evaluation passes (from the second on: they are expected as many updates after the first as that was after the
beginning) or, where there are none, in the measured updates. In between one hook counts the optimizer's updates.
Nothing that is watched is changed, no random number is drawn, and a fault in here ends the watching, not the training.
JAX is not loaded.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.connect.torch_around import capturing, losses, rank, scaler_above, transformed, unwrapped
from pellucid.connect.torch_kinds import shape_of
from pellucid.connect.torch_probes import ROWS, Inert, Probes
from pellucid.connect.torch_trials import try_remedies
from pellucid.connect.torch_updates import Updates
from pellucid.connect.trials import SECONDS, STEPS, Trials
from pellucid.connect.watcher import FLOPS, SHORT, STEP, Watcher, diagnose, warn
from pellucid.errors import SettingError
from pellucid.signals.record import number, numbers

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
    told: what the watcher cannot see, in the words of a record: task="classification", classes=10,
    loss="cross_entropy", rows=50_000, updates=..., steps_per_epoch=..., trivial_loss=... (of the best constant answer).

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
        first = rank() == 0
        super().__init__(
            out=out if first else None, every=every, quiet=quiet or not first, silence=silence, told=told, read=losses
        )
        if not isinstance(model, nn.Module):
            raise SettingError(
                "this cannot be watched", where="model", expected="an nn.Module", got=type(model).__name__
            )
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):  # wrapped by accelerate, Lightning
            optimizer = inner
        if not isinstance(optimizer, Optimizer):
            raise SettingError(
                "this cannot be watched", where="optimizer", expected="a torch.optim.Optimizer",
                got=type(optimizer).__name__,
            )  # fmt: skip
        self.optimizer, self.scaler = optimizer, scaler
        self.model, self.blind = unwrapped(model)
        if self.blind:
            self.notes.append(self.blind)
        self.evaluates = not any(isinstance(m, _FAST) for m in self.model.modules())
        self.handles: dict[str, Any] = {}
        self.probes = Probes(self.model, self.safely)
        if self.probes.hidden and not self.blind:
            self.notes.append("layers inside compiled parts, and activations applied as functions, were not watched")
        self.weights = Updates(self.model, optimizer)
        self.batch: int | None = None
        self.mode = True  # the model's `training` at the last update
        self.armed = False  # the coming update is measured
        self.validated = self.expected = 0  # updates at the last validation that was told, and at the next one
        self.pending = False  # it is being made
        self.chunked, self.length, self.rare = 0, self.journal.every, every is None
        self.passes, self.scale = 0, 1.0  # of the coming update: passes, and what their losses are multiplied by

    # -- attaching --------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Watch":
        with self.safely():
            if self.optimizer in _watched:
                warn("this optimizer is watched already; both watchers go on, and will find the same")
            _watched.add(self.optimizer)
            self.mode = self.model.training
            self.handles["after"] = self.optimizer.register_step_post_hook(self._after_update)
            self._arm(True)
        return self

    def _arm(self, measure: bool, evaluated: bool = False) -> None:
        """Prepare for the coming update: hooks hang only where it is measured, or where an evaluation is expected."""
        self.armed = measure
        wanted = {
            "pass": None if self.blind or not (measure or evaluated) else self._listen,
            "before": None if not measure else lambda: self.optimizer.register_step_pre_hook(self._before_update),
        }
        for name, attach in wanted.items():
            if attach is None and name in self.handles:
                self.handles.pop(name).remove()
            elif attach is not None and name not in self.handles:
                self.handles[name] = attach()

    def _listen(self) -> Any:
        return self.model.register_forward_pre_hook(Inert(self._pass_begins))

    def __exit__(self, *error: Any) -> None:
        self.detach()
        if not self.aside:
            with self.safely():
                self._end()
        self.close()

    def detach(self) -> None:
        _watched.discard(self.optimizer)
        self.probes.detach()
        for handle in self.handles.values():
            handle.remove()
        self.handles.clear()

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

    # -- trials -----------------------------------------------------------------------------------------------------

    def try_remedies(
        self, loss: Callable[..., torch.Tensor], batches: Iterable[Any], validation: Iterable[Any] | None = None, *,
        steps: int = STEPS, seconds: float = SECONDS, seeds: int = 3, fresh: bool | None = None,
    ) -> Trials:  # fmt: skip
        """Train copies of the model for a while, one as it is and others with a remedy each, from the same state on the
        same batches, and say which remedies help beyond noise. The model, its optimizer and all random states stay as
        they are.

        loss: of (model, *batch), or of (model, batch) where a batch is no tuple; gives one number.   batches: to learn
        from, as many as the steps need (up to 256 MB).   validation: batches by which branches are judged; None: those
        that they learn from.   steps: updates of a branch.   seconds: for all of them; fewer updates, seeds and
        remedies where it does not suffice.   seeds: of the order of the batches and of dropout.   fresh: begin from
        weights drawn anew by each module's own `reset_parameters`; None: where the weights are not finite.

        Each branch makes plain steps: `zero_grad`, backward, `step`; schedules and clipping of your loop are not in it.

        >>> model = nn.Linear(3, 1)
        >>> w = watch(model, torch.optim.SGD(model.parameters(), lr=1e-5), quiet=True)
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> batches = list(zip(x.split(16), x.sum(1, keepdim=True).split(16)))
        >>> trials = w.try_remedies(lambda model, x, y: (model(x) - y).square().mean(), batches, steps=20)
        >>> "Adam, rate 0.001" in [trial.remedy.text for trial in trials.helping]
        True
        """
        found = diagnose(self.record, self.silence)
        budget: dict[str, Any] = {"steps": steps, "seconds": seconds, "seeds": seeds}
        self.trials = try_remedies(
            self.model, self.optimizer, loss, batches, validation, found, fresh=fresh, begun=self._begun(), **budget
        )
        return self.trials

    # -- forward passes ---------------------------------------------------------------------------------------------

    def _pass_begins(self, module: nn.Module, args: Any) -> None:
        wanted = self.evaluates and self.journal.begun and self.probes.evaluated.rows < ROWS
        if self.aside or "end" in self.handles or not (self.armed or wanted):
            return
        with self.safely():
            if transformed():
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
            self.handles["end"] = module.register_forward_hook(Inert(self._pass_ends), always_call=True)

    def _pass_ends(self, module: nn.Module, args: Any, output: Any) -> None:
        if "end" in self.handles:
            self.handles.pop("end").remove()
        self.probes.detach()

    # -- updates ----------------------------------------------------------------------------------------------------

    def _before_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.aside or not self.armed or torch.compiler.is_compiling():
            return
        with self.safely(), torch.no_grad():
            if capturing():
                return
            if self.scaler is None and (found := scaler_above()) is not None:
                self.scaler, self.scale = found, float(found.get_scale())
                if self.passes > 1:  # perhaps attempts that made no update: measure the next one
                    self.passes = 0
            self.weights.before((len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None)
            self.pending = True

    def _after_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.aside or torch.compiler.is_compiling():
            return
        retry = False
        if self.armed and self.pending:
            with self.safely(), torch.no_grad():
                self.weights.after()
                retry = not self._measured()
                self.pending, self.passes = False, 0
                self.probes.forget()
        self.updates += 1
        self.mode = self.model.training
        if self.updates - self.chunked >= self.length and self.journal.begun:
            with self.safely(), torch.no_grad():
                self._chunk()
        measure, evaluated = retry or self.journal.is_measured(self.updates), self.updates == self.expected
        if measure != self.armed or evaluated or "pass" in self.handles:
            with self.safely():
                self._arm(measure, evaluated)

    def _scale(self) -> float:
        return float(self.scaler.get_scale()) if self.scaler is not None else 1.0

    def _measured(self) -> bool:
        """Write what this update was -> whether it could be."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._write()

    def _write(self) -> bool:
        if not self.journal.begun:
            self._begin()
        void = getattr(self.optimizer, "found_inf", None)  # of a fused optimizer, which then leaves all as it was
        if self.scaler is not None and (not self.passes or (void is not None and float(void) > 0)):
            return False
        fused = getattr(self.optimizer, "grad_scale", None)  # such an optimizer divides by it itself
        gradients, before, after = self.weights.sizes(float(fused) if fused is not None else 1.0)
        activation, gradient = self.probes.lines(self.scale)
        if self.scaler is not None and np.isfinite(gradients).all() and any(_above_zero(gradient["nonfinite"])):
            return False  # an attempt whose scale was too large is in it: take the next update instead
        rates = self.weights.rates
        line = {
            "step": self.updates, **({"learning_rate": number(rates[0])} if rates else {}),
            **({"learning_rates": numbers(rates)} if len(set(rates)) > 1 else {}),
            "activation": activation, "gradient": gradient,
            "weight": self.weights.line(gradients, before, after),
        }  # fmt: skip
        self.journal.step(line)
        if not self.probes.evaluated.rows and self.probes.units.rows >= ROWS:
            self._units()
        return True

    def _begin(self) -> None:
        self.probes.fixed = True
        names = self.weights.names
        if self.rare and STEP + 6 * sum(p.numel() for p in names.values()) * (self.batch or 1) / FLOPS < SHORT:
            self.journal.every *= 2
        setup = {"tool": "pytorch", "batch": self.batch, **self.weights.setup(), **self.told}
        seen = self.probes.layers
        kinds = {path: kind for path, _, kind in self.probes.leaves}
        shapes = [shape_of(path, p, kinds.get(path.rpartition("/")[0], "")) for path, p in names.items()]
        self.journal.begin([s.path for s in seen], list(names), [s.kind for s in seen], setup, shapes)
        if left := self.weights.left_out():
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            self.notes.append(f"the optimizer does not hold {left[0]}{more}: only another one can move them")

    # -- now and then -----------------------------------------------------------------------------------------------

    def _log(self, loss: Any, train: dict[str, Any], validation: dict[str, Any]) -> None:
        if isinstance(loss, torch.Tensor):
            # on an accelerator a loss is read with the others of its chunk, for reading makes it wait
            loss = loss.item() if loss.is_cpu else loss.detach().clone()
        if validation:
            self._units(at_least=FEWEST)
            self.expected, self.validated = 2 * self.updates - self.validated, self.updates
        self.journal.log(self.updates, loss, train, validation)

    def _chunk(self) -> None:
        if not self.weights.names or not self.journal.begun:
            return
        self.journal.chunk(self.updates, self.weights.norms())
        self.chunked = self.updates

    def _units(self, at_least: int = 0) -> None:
        """Write how the units behave: in evaluation passes where there are any, else in the measured updates."""
        probes = self.probes
        units = probes.evaluated if probes.evaluated.rows else probes.units
        if units.rows >= at_least and units.spread and self.journal.begun:
            self.journal.units({"step": self.updates, **units.line([s.kind for s in probes.layers])})
            fresh = type(units)
            probes.units, probes.evaluated = fresh(), fresh()


def _above_zero(values: Iterable[Any]) -> list[bool]:
    return [isinstance(v, float) and v > 0 for v in values]
