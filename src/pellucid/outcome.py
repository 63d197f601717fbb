"""What a run came to: scores on each part, the metrics that a person reads, costs."""

import math
import os
import sys
import warnings
from typing import Any

import numpy as np

from pellucid import doubts
from pellucid.data import Part, Prepared, Targets
from pellucid.errors import PellucidWarning
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.train.evaluate import Evaluator
from pellucid.train.loop import carries
from pellucid.train.loss import Loss
from pellucid.train.metrics import Metric, confusion_matrix

PARTS = ("train", "validation", "test")
FURTHER = {
    "classification": ("accuracy", "balanced_accuracy", "f1", "roc_auc"),
    "regression": ("r2", "mean_absolute_error", "root_mean_squared_error"),
    "mixed": (),
    "language": (),
    "pairs": (),
}


def metric_name(metric: Metric | None) -> str:
    return metric.name if metric is not None else "loss"


def scores(
    network: Network, prepared: Prepared, loss: Loss, metric: Metric | None,
    keep: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """{"train": {"loss", metric}, "validation": ..., "test": ..., "details": of the test part (or validation),
    "doubts": how sure the network is of wrong answers, see `pellucid.doubts`}.

    keep: where the outputs of the part that the details tell of are put, by its name, for what else reads them.
    """
    evaluator = Evaluator(network.layer, loss, metric, streams=streams(network, prepared.targets))
    params, state = flatten(network.params or {}), network.state or {}
    out: dict[str, Any] = {}
    parts: dict[str, Part | None] = {name: getattr(prepared, name) for name in PARTS}
    for name, part in parts.items():
        out[name] = None
        if part is not None and len(part.y):
            out[name] = evaluator(params, state, part).to_json(metric_name(metric))
    shown = next((name for name in reversed(PARTS) if out[name] is not None), None)
    if shown is not None and (part := parts[shown]) is not None:
        if prepared.targets.tokens:  # outputs at every step may not fit into memory
            out["details"] = {"part": shown, **of_tokens(out[shown]["loss"], part)}
        else:
            outputs = evaluator.outputs(params, state, part)
            if keep is not None:
                keep[shown] = outputs
            out["details"] = {"part": shown, **details(outputs, part, prepared.targets)}
    if doubts.applies(prepared.targets):
        rows = doubts.few(prepared.train)
        out["doubts"] = doubts.doubts(evaluator.outputs(params, state, rows), rows)
    return out


def streams(network: Network, targets: Targets) -> bool:
    """Whether a text is read on and on, a state being carried from piece to piece."""
    return targets.task == "language" and carries(network.layer)


def of_tokens(loss: float, part: Part) -> dict[str, float]:
    """What a loss per token says: among how many equally likely tokens the network hesitates (perplexity), and how many
    bits a character of the text would take if it were packed by the network's foresight."""
    found = {"perplexity": math.exp(min(loss, 700.0))}
    if part.characters:
        found["bits_per_character"] = loss / math.log(2) / part.characters
    return found


def details(outputs: np.ndarray, part: Part, targets: Targets) -> dict[str, Any]:
    """Further metrics, numbers in their own units; the confusion matrix of a single column of classes."""
    y, weight = part.y, part.weight
    if targets.steps:
        outputs, y, weight = of_steps(outputs, y, weight)
    if targets.task == "regression":
        outputs = outputs.reshape(len(outputs), -1) * targets.scale + targets.mean
        y = y.reshape(len(y), -1) * targets.scale + targets.mean
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PellucidWarning)
        for name in FURTHER[targets.task]:
            if len(targets.columns) == 1 or targets.loss != "joint":
                found[name] = float(Metric.of(name)(outputs, y, weight))
    if targets.classes and y.ndim == 1:
        found["confusion"] = confusion_matrix(outputs, y, classes=len(targets.classes)).tolist()
        found["classes"] = [str(c) for c in targets.classes]
    return found


def of_steps(outputs: np.ndarray, y: np.ndarray, weight: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """The steps that have a target as examples: outputs [n, steps, k] -> [m, k], y [n, steps] -> [m]."""
    real = ~np.isnan(y) if y.dtype.kind == "f" else y >= 0
    return outputs[real], y[real], None if weight is None else np.repeat(weight, real.sum(axis=1))


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    if os.name == "nt":
        return _windows_peak()
    if (peak := _linux_peak()) is not None:
        return peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _linux_peak() -> int | None:
    """This program's own peak: `ru_maxrss` begins, on Linux, with what the process that started this one held."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def _windows_peak() -> int:
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = [("cb", wintypes.DWORD), ("PageFaultCount", wintypes.DWORD)] + [
            (name, ctypes.c_size_t)
            for name in (
                "PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage",
                "QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage", "PeakPagefileUsage",
            )
        ]  # fmt: skip

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    windll = getattr(ctypes, "windll")  # noqa: B009  (there on Windows alone)
    process = windll.kernel32.GetCurrentProcess()
    windll.psapi.GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb)
    return int(counters.PeakWorkingSetSize)
