# pyright: reportMissingImports=false
"""What stands around a PyTorch model and its updates: wrappers, compilers, scaled losses, several processes."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pellucid.connect.torch_probes import is_compiled


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
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
            "nn.TransformerEncoder evaluates in another way where it is watched, so its layers were not: make it a "
            "part of a module of your own"
        )  # fmt: skip
    return model, ""


def scaler_above() -> Any:
    """The GradScaler that is making this step, if one is."""
    frame = sys._getframe(2)
    for _ in range(12):
        if frame is None:
            return None
        owner: Any = frame.f_locals.get("self")
        if isinstance(owner, torch.amp.GradScaler):  # pyright: ignore[reportPrivateImportUsage]
            return owner if owner.is_enabled() else None
        frame = frame.f_back
    return None


def transformed() -> bool:
    """Whether this runs inside `torch.func`, whose tensors must not be kept."""
    functorch: Any = vars(torch._C)["_functorch"]
    peek = getattr(functorch, "peek_interpreter_stack", None)
    return peek is not None and peek() is not None


def capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def rank() -> int:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if distributed else 0


def losses(values: Sequence[Any]) -> list[float]:
    """Numbers, of tensors on whatever device, in one transfer."""
    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    try:
        found = iter(torch.stack(tensors).double().tolist() if tensors else [])
    except (RuntimeError, TypeError):  # on several devices, or of several shapes
        found = iter([float(v) for v in tensors])
    return [next(found) if isinstance(v, torch.Tensor) else float(v) for v in values]
