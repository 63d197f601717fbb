"""The last complete state of a run in one file, replaced atomically: `checkpoint/state.safetensors`.

The plain values (step, epoch, offsets of the logs, ...) are JSON in the file's own metadata, so that arrays and values
can never be from different moments.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from pellucid import files
from pellucid.errors import RunError

FORMAT = "1"
STATE = "state.safetensors"


def write(folder: Path, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`."""
    files.make_folder(folder)
    metadata = {"format": FORMAT, "pellucid": json.dumps(files.finite(plain))}
    tensors = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    for name, value in arrays.items():  # ascontiguousarray makes a scalar a vector
        tensors[name] = tensors[name].reshape(np.shape(value))
    files.write_bytes(folder / STATE, save_tensors(tensors, metadata))


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """What `write` wrote, or None where there is no checkpoint yet."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise RunError(
                    "the checkpoint was written by another version of Pellucid", where=path,
                    expected=f"format {FORMAT}", got=f"format {metadata.get('format')}",
                )  # fmt: skip
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, json.loads(metadata["pellucid"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            "the checkpoint cannot be read", where=path, got=error, fix="train again from the recipe"
        ) from error
