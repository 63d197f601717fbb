# pyright: reportMissingImports=false
"""Changes that can be made to a copy of a PyTorch model, its optimizer and its steps, each as a function of a `Branch`.

change = times_rate(now=0.1, factor=0.1)
change.apply(branch)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.connect import remedies
from pellucid.connect.remedies import ADAPTIVE, BENDING, Change
from pellucid.connect.torch_kinds import kind_of, leaves
from pellucid.doctor.finding import Finding

Tensor = torch.Tensor


@dataclass
class Branch:
    """A copy that is trained for a while. prepare: what is done to a batch first."""

    model: nn.Module
    optimizer: Optimizer
    clip_norm: float | None = None
    prepare: Callable[[Any], Any] = field(default=lambda batch: batch)


def changes(model: nn.Module, optimizer: Optimizer, batches: list[Any], findings: Iterable[Finding]) -> list[Change]:
    """What can be tried on this model: first the rates that findings name, then all that apply to it."""
    found = [*_of_rate(optimizer, findings), *_of_structure(model), *_of_steps(optimizer)]
    if scale := standardising(batches):
        found.append(Change(remedies.STANDARDIZE, lambda branch: setattr(branch, "prepare", scale), anew=True))
    return found


# -- steps ------------------------------------------------------------------------------------------------------------


def _of_rate(optimizer: Optimizer, findings: Iterable[Finding]) -> list[Change]:
    if not all("lr" in group for group in optimizer.param_groups):
        return []
    now = float(optimizer.param_groups[0]["lr"])
    return [times_rate(now, factor) for factor in remedies.factors(now, findings)]


def times_rate(now: float, factor: float) -> Change:
    """The learning rate of every group times a factor."""

    def apply(branch: Branch) -> None:
        for group in branch.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    return Change(remedies.rate(now, factor), apply)


def _of_steps(optimizer: Optimizer) -> list[Change]:
    def clip(branch: Branch) -> None:
        branch.clip_norm = 1.0

    def no_decay(branch: Branch) -> None:
        for group in branch.optimizer.param_groups:
            group["weight_decay"] = 0.0

    def other(make: Callable[[Any], Optimizer]) -> Callable[[Branch], None]:
        def apply(branch: Branch) -> None:
            groups = [{"params": group["params"]} for group in branch.optimizer.param_groups]
            branch.optimizer = make(groups)

        return apply

    found = [Change(remedies.CLIP, clip)]
    if type(optimizer).__name__.lower() in ADAPTIVE:
        found.append(Change(remedies.MOMENTUM, other(lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9))))
    else:
        found.append(Change(remedies.ADAM, other(lambda groups: torch.optim.Adam(groups, lr=1e-3))))
    if any(group.get("weight_decay") for group in optimizer.param_groups):
        found.append(Change(remedies.NO_DECAY, no_decay))
    return found


# -- layers -----------------------------------------------------------------------------------------------------------


def _of_structure(model: nn.Module) -> list[Change]:
    parts = list(leaves(model))
    bends = [m for _, m, kind in parts[:-1] if kind in BENDING]  # the last one belongs to the loss
    folds = [m for _, m, kind in parts[:-1] if kind == "relu"]
    matrices = [m for _, m, kind in parts if kind in ("dense", "conv")]
    found = []
    if bends:
        remedy = remedies.relu(type(bends[0]).__name__)
        found.append(Change(remedy, _swapping(BENDING, nn.ReLU), anew=True))
    elif folds:
        found.append(Change(remedies.LEAKY, _swapping(("relu",), nn.LeakyReLU)))
    if len(matrices) > 2:
        found.append(Change(remedies.NORM, _normalised, anew=True))
    if matrices:
        remedy = remedies.initial(bool(bends))
        found.append(Change(remedy, lambda branch: initialise(branch.model, remedy.settings["initial"]), anew=True))
    return found


def _swapping(kinds: tuple[str, ...], make: Callable[[], nn.Module]) -> Callable[[Branch], None]:
    def apply(branch: Branch) -> None:
        last = [module for _, module, _ in leaves(branch.model)][-1]
        wanted = lambda module: kind_of(module) in kinds and module is not last  # noqa: E731
        _replace(branch.model, lambda module: make() if wanted(module) else None)
        if make is nn.ReLU:
            initialise(branch.model, "he_normal")

    return apply


def _normalised(branch: Branch) -> None:
    """A normalisation behind every dense and convolutional layer but the last."""
    parts = [module for _, module, kind in leaves(branch.model) if kind in ("dense", "conv")]
    inner = {id(module) for module in parts[:-1]}

    def put(module: nn.Module) -> nn.Module | None:
        if id(module) not in inner:
            return None
        width = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
        norm = nn.LayerNorm(width) if kind_of(module) == "dense" else nn.GroupNorm(1, width)  # pyright: ignore
        weight = next(module.parameters())
        norm.to(weight.device, weight.dtype)
        branch.optimizer.add_param_group({"params": list(norm.parameters())})
        return nn.Sequential(module, norm)

    _replace(branch.model, put)


def _replace(model: nn.Module, by: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put other modules in the place of some; those inside a layer of a known kind stay."""
    for name, part in list(model._modules.items()):  # a part that is used twice is met twice
        new = None if part is None else by(part)
        if new is not None:
            new.train(model.training)
            setattr(model, name, new)
        elif part is not None and not kind_of(part):
            _replace(part, by)


def redraw(model: nn.Module) -> list[str]:
    """Draw all weights but frozen ones anew, by each module's own `reset_parameters`; -> the modules that have none."""
    left = []
    for path, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            continue
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif own:
            left.append(path or type(module).__name__)
    return left


def initialise(model: nn.Module, name: str) -> None:
    """Draw the weights of dense and convolutional layers anew, by the rule of that name; biases are 0."""
    draw = nn.init.kaiming_normal_ if name == "he_normal" else nn.init.xavier_uniform_
    for _, module, kind in leaves(model):
        if kind in ("dense", "conv"):
            for p in module.parameters():
                if p.requires_grad:
                    draw(p.data) if p.dim() > 1 else p.data.zero_()


# -- inputs -----------------------------------------------------------------------------------------------------------


def standardising(batches: list[Any]) -> Callable[[Any], Any] | None:
    """What brings each feature of the inputs (each channel, of images) to mean 0 and deviation 1 over these batches;
    None where they are so already, or are no numbers.

    >>> scale = standardising([(torch.tensor([[0.0, 100.0], [2.0, 300.0]]), None)])
    >>> scale((torch.tensor([[2.0, 200.0]]), "a target"))
    (tensor([[1., 0.]]), 'a target')
    """
    inputs = [x for batch in batches if (x := first_of(batch)) is not None]
    if not inputs or not all(x.is_floating_point() and x.dim() > 1 for x in inputs):
        return None
    if len({x.shape[1:] for x in inputs}) > 1:
        return None
    axis = 1 if inputs[0].dim() > 3 else inputs[0].dim() - 1
    others = [i for i in range(inputs[0].dim()) if i != axis]
    whole = torch.cat([x.detach().double() for x in inputs])
    mean, deviation = whole.mean(others, keepdim=True), whole.std(others, keepdim=True, correction=0)
    if remedies.are_standardised(mean.cpu().numpy(), deviation.cpu().numpy()):
        return None
    deviation[deviation == 0] = 1

    def scale(batch: Any) -> Any:
        x = first_of(batch)
        assert x is not None
        new = ((x.double() - mean) / deviation).to(x.dtype)
        return _with_first(batch, new)

    return scale


def first_of(batch: Any) -> Tensor | None:
    """A batch's first tensor: its inputs."""
    if isinstance(batch, Tensor):
        return batch
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple | list) else ()
    return next((x for part in parts if (x := first_of(part)) is not None), None)


def _with_first(batch: Any, new: Tensor) -> Any:
    if isinstance(batch, Tensor):
        return new
    items = list(batch.items()) if isinstance(batch, dict) else list(enumerate(batch))
    place = next(i for i, (_, part) in enumerate(items) if first_of(part) is not None)
    items[place] = (items[place][0], _with_first(items[place][1], new))
    return dict(items) if isinstance(batch, dict) else tuple(part for _, part in items)
