# pyright: reportMissingImports=false
"""Trials for a PyTorch loop: copies of the model and its optimizer are trained for a while, one as it is, others with a
remedy each, from the same state on the same batches, and what helps beyond the seeds' noise is said with numbers.

The loop itself hands over a loss, `loss(model, *batch)`, and batches; a step is `zero_grad`, backward, `step`. Nothing
of the user's is touched: gradients go to the copies alone, and random states are put back (torch's on the processor and
on the model's device, a DataLoader's own, Python's, NumPy's).
"""

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.connect.remedies import Change
from pellucid.connect.torch_remedies import Branch, changes, first_of, redraw
from pellucid.connect.trials import Branches, Trials, checked, order, reason
from pellucid.doctor.finding import Finding
from pellucid.errors import SettingError

Loss = Callable[..., torch.Tensor]
MOST_BYTES = 256 * 2**20  # of batches that are kept


def try_remedies(
    model: nn.Module, optimizer: Optimizer, loss: Loss, batches: Iterable[Any], validation: Iterable[Any] | None,
    findings: list[Finding], *, steps: int, seconds: float, seeds: int, fresh: bool | None, begun: str,
) -> Trials:  # fmt: skip
    """See `Watch.try_remedies`."""
    checked(steps, seconds, seeds)
    with untouched(model, batches, validation), torch.inference_mode(False), torch.enable_grad():
        train = _kept(batches, model, "batches", steps)
        unseen = train if validation is None else _kept(validation, model, "validation")
        finite = all(bool(p.isfinite().all()) for p in model.parameters())
        branches = Copies(model, optimizer, loss, train, unseen, finite, fresh, seconds)
        part = "training" if validation is None else "validation"
        try:
            return branches.tried(changes(model, optimizer, train, findings), steps, seeds, begun, part)
        except torch.OutOfMemoryError as error:
            raise SettingError(
                "there is no memory for a copy of the model", where="try_remedies",
                expected="room for a second model, its gradients and its optimizer", got=str(error).splitlines()[0],
                fix="smaller batches, or a copy of both on the CPU",
            ) from None  # fmt: skip


class Copies(Branches):
    fatal = (torch.OutOfMemoryError,)

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, loss: Loss, train: list[Any], unseen: list[Any],
        finite: bool, fresh: bool | None, seconds: float,
    ):  # fmt: skip
        super().__init__(seconds, finite, fresh)
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.batches, self.unseen = train, unseen

    def refused(self, error: Exception) -> SettingError:
        return _refused(error)

    def start(self, change: Change | None, seed: int) -> Branch:
        branch = Branch(*copied(self.model, self.optimizer))
        torch.manual_seed(seed)
        if self.anew or (change is not None and change.anew):
            left = redraw(branch.model)
            branch.optimizer.state.clear()
            note = f"kept as they are, for their modules have no reset_parameters: {', '.join(left[:3])}"
            if left and note not in self.notes:
                self.notes.append(note)
        if change is not None:
            change.apply(branch)
        if not branch.model.training:
            branch.model.train()
        return branch

    def train(self, branch: Branch, seed: int, steps: int) -> bool:
        """The order of the batches is the seed's."""
        torch.manual_seed(seed)
        trained = [p for group in branch.optimizer.param_groups for p in group["params"] if p.requires_grad]
        for place in order(len(self.batches), steps, seed):
            batch = branch.prepare(self.batches[place])

            def closure(batch: Any = batch) -> torch.Tensor:
                branch.optimizer.zero_grad()
                value = _call(self.loss, branch.model, batch)
                value.backward(inputs=trained)
                if branch.clip_norm is not None:
                    nn.utils.clip_grad_norm_(trained, branch.clip_norm)
                return value.detach()

            if isinstance(branch.optimizer, torch.optim.LBFGS):
                value = branch.optimizer.step(closure)  # pyright: ignore[reportArgumentType]
            else:
                value = closure()
                branch.optimizer.step()
            if not math.isfinite(float(value)):
                return False
        if steps and all(p.grad is None for p in trained):
            raise _refused("the loss gave no gradient to the model that it was handed")
        return True

    def score(self, branch: Branch) -> float:
        modes = {module: module.training for module in branch.model.modules()}
        branch.model.eval()
        with torch.no_grad():
            pairs = []
            for batch in self.unseen:
                x = first_of(batch)
                rows = len(x) if x is not None and x.dim() else 1
                pairs.append((rows, float(_call(self.loss, branch.model, branch.prepare(batch)))))
        for module, mode in modes.items():
            module.training = mode
        value = sum(rows * one for rows, one in pairs) / sum(rows for rows, _ in pairs)
        return value if math.isfinite(value) else math.inf


def _call(loss: Loss, model: nn.Module, batch: Any) -> torch.Tensor:
    value = loss(model, *batch) if isinstance(batch, tuple | list) else loss(model, batch)
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise _refused(f"it gave {got}")
    return value


def _refused(got: Any) -> SettingError:
    return SettingError(
        "this loss cannot be tried", where="loss", expected="a function of (model, *batch) that gives one number",
        got=f"{type(got).__name__}: {str(got).splitlines()[0]}" if isinstance(got, Exception) else got,
        fix="w.try_remedies(lambda model, x, y: cross_entropy(model(x), y), batches)",
    )  # fmt: skip


# -- copies -----------------------------------------------------------------------------------------------------------


def copied(model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """A model and an optimizer that share nothing with the given ones."""
    try:
        memo: dict[int, Any] = {}
        twin, second = copy.deepcopy(model, memo), _second(optimizer, memo)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise SettingError(
            "the model cannot be copied, so nothing can be tried", where=type(model).__name__,
            expected="what copy.deepcopy can copy", got=f"{type(error).__name__}: {reason(error)}",
            fix="keep no tensors with a history in the module (use detach()), and no open files or locks",
        ) from error  # fmt: skip
    own = {t.data_ptr() for t in [*model.parameters(), *model.buffers()] if t.numel()}
    held = [p for group in second.param_groups for p in group["params"]]
    if any(t.data_ptr() in own for t in [*twin.parameters(), *twin.buffers(), *held] if t.numel()):
        raise SettingError(
            "the model cannot be copied, so nothing can be tried", where=type(model).__name__,
            expected="a copy with weights of its own", got="a copy that shares weights with the model",
            fix="let __deepcopy__ copy the weights too",
        )  # fmt: skip
    return twin, second


def _second(optimizer: Optimizer, memo: dict[int, Any]) -> Optimizer:
    """A copy that holds the model's copied weights. (`copy.deepcopy` of an optimizer forgets what a class like LBFGS
    keeps besides state and groups.) Hooks, and what a schedule wraps around `step`, stay behind."""
    state = {name: v for name, v in vars(optimizer).items() if name != "step" and not name.startswith("_optimizer_")}
    made = type(optimizer).__new__(type(optimizer))
    made.__setstate__(copy.deepcopy(state, memo))
    return made


def _kept(batches: Iterable[Any], model: nn.Module, where: str, most: int | None = None) -> list[Any]:
    """The first batches, on the model's device: as many as the steps need, and as fit."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    kept, size = [], 0
    try:
        for batch in _iterated(batches):
            batch = _moved(batch, device)
            kept.append(batch)
            size += _bytes(batch)
            if len(kept) == most or size > MOST_BYTES:
                break
    except TypeError as error:
        raise SettingError("these are no batches", where=where, expected="an iterable", got=error) from error
    if not kept:
        raise SettingError("there are no batches", where=where, expected="at least one", got="an empty iterable",
                           fix="give a DataLoader or a list, not an iterator that is used up")  # fmt: skip
    return kept


def _iterated(batches: Any) -> Iterator[Any]:
    if isinstance(batches, torch.Tensor):
        raise TypeError("one tensor")
    if isinstance(batches, torch.utils.data.DataLoader) and batches.num_workers and batches.persistent_workers:
        return batches._get_iterator()  # the loop itself may be in the midst of the one that it keeps
    return iter(batches)


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.detach().to(device)
    if isinstance(batch, dict):
        return type(batch)({name: _moved(part, device) for name, part in batch.items()})
    if isinstance(batch, tuple | list):
        parts = [_moved(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch.to(device) if hasattr(batch, "to") else batch


def _bytes(batch: Any) -> int:
    if isinstance(batch, torch.Tensor):
        return batch.numel() * batch.element_size()
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple | list) else ()
    return sum(map(_bytes, parts))


# -- what is put back -------------------------------------------------------------------------------------------------


@contextmanager
def untouched(model: nn.Module, *loaders: Any) -> Iterator[None]:
    """All random states are put back at the end."""
    devices = {p.device for p in model.parameters() if p.device.type not in ("cpu", "meta")}
    own, numpys = random.getstate(), np.random.get_state()
    generators = [g for loader in loaders for g in _generators(loader)]
    states = [g.get_state() for g in generators]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for kind in {device.type for device in devices}:
            places = [device for device in devices if device.type == kind]
            stack.enter_context(torch.random.fork_rng(places, device_type=kind))
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpys)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _generators(loader: Any) -> Iterator[torch.Generator]:
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for owner in (loader, sampler, inner):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator
