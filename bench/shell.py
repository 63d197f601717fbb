"""From a cold shell to a trustworthy result: a command, an empty cache, until the process has ended."""

import json
import sys
from pathlib import Path
from typing import Any

from bench import process
from bench.data import MNIST
from bench.process import ROOT

ASKED = 0.98  # of MNIST's test part
SETTINGS = ("--network", "mlp:512", "--epochs", "6", "--batch-size", "128")


def command(contender: str, folder: Path) -> list[str]:
    """Pellucid with everything on (signals, doctor, baselines, checkpoints, report); PyTorch's short script."""
    if contender == "torch":
        return [sys.executable, str(ROOT / "bench" / "scripts" / "mnist_torch.py"), str(MNIST)]
    return [sys.executable, "-m", "pellucid", "train", str(MNIST), *SETTINGS, "--out", str(folder / "run"), "--json"]


def measured(contender: str, cap: float, env: dict[str, str], folder: Path) -> dict[str, Any]:
    """{"seconds": [of the whole process], "accuracy": ...}; failed where the accuracy is not what was asked for."""
    if not MNIST.is_dir():
        return {"skipped": f"MNIST is not in {MNIST}"}
    done = process.run(command(contender, folder), cap, env)
    if done.trouble:
        return {"failed": done.trouble}
    told = json.loads(done.out.splitlines()[-1])
    accuracy = told["accuracy"] if contender == "torch" else told["test"]["accuracy"]
    if accuracy < ASKED:
        return {"failed": f"ended at an accuracy of {accuracy:.4f}, below {ASKED}"}
    if contender == "pellucid" and not (folder / "run" / "report.html").is_file():
        return {"failed": "no report was written"}
    return {
        "seconds": [done.seconds], "accuracy": accuracy, "others": done.others,
        "peak_memory_bytes": told["peak_memory_bytes"],
    }  # fmt: skip
