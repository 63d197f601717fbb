"""`pellucid export`: a run's network as a file that other software reads."""

import json
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import PellucidError, SettingError
from pellucid.memory import in_words
from pellucid.rundir import RunDir

PYTORCH = "pytorch.safetensors"
FORMATS = "--onnx or --pytorch"


def export(run: Path, *, onnx: bool, pytorch: bool, to: Path | None, device: str | None, as_json: bool) -> None:
    if onnx == pytorch:
        raise SettingError(
            "two formats are asked for at once" if onnx else "it is not said which format to write",
            where="pellucid export", expected=FORMATS, fix=f"pellucid export {run} --onnx",
        )  # fmt: skip
    options.choose_device(device)
    place = options.find_run(run)
    options.check_device(device)
    path = place.path if to is None else to
    facts = to_onnx(place, _file(path, "network.onnx")) if onnx else to_pytorch(place, _file(path, PYTORCH))
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    print(told(facts) if onnx else told_of_pytorch(facts))


def _file(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


def to_pytorch(place: RunDir, path: Path) -> dict[str, Any]:
    """Write the weights under PyTorch's names and layouts -> what was written, as plain values."""
    from pellucid import files
    from pellucid.connect.torch import save
    from pellucid.network.network import Network

    network = Network.load(place.path)
    files.make_folder(path.parent)
    own = save(network, path)
    return {
        "run": str(place.path), "file": str(path), "format": "pytorch", "bytes": path.stat().st_size,
        "own_layout": list(own),
    }  # fmt: skip


def told_of_pytorch(facts: dict[str, Any]) -> str:
    lines = [
        f"{facts['file']}: {in_words(facts['bytes'])}, a state_dict under PyTorch's names",
        "  read it:  module.load_state_dict(safetensors.torch.load_file(file), strict=False)",
    ]
    if facts["own_layout"]:
        lines.append(
            f"  note:     PyTorch has no such layers, these are as Pellucid's: {', '.join(facts['own_layout'])}"
        )
    return "\n".join(lines)


def to_onnx(place: RunDir, path: Path) -> dict[str, Any]:
    """Write the file, compared on rows of the run's data -> what was written, as plain values."""
    from pellucid.connect.onnx import export
    from pellucid.machine import set_up
    from pellucid.network.network import Network

    set_up()
    network = Network.load(place.path)
    rows, said = rows_of(place, network)
    done = export(network, path, rows)
    return {
        "run": str(place.path), "file": str(done.path), "format": "onnx", "bytes": done.size,
        "input": signature(done.input), "output": signature(done.output), "free_batch": done.free_batch,
        "operations": done.nodes, "rows": done.rows, "rows_from": said, "difference": done.difference,
    }  # fmt: skip


def signature(one: tuple[str, str, tuple[int | str, ...]]) -> dict[str, Any]:
    name, kind, shape = one
    return {"name": name, "type": kind, "shape": list(shape)}


def rows_of(place: RunDir, network: Any) -> tuple[Any, str]:
    """Some rows of the run's own data as the network takes them in, and where they come from; None without data."""
    from pellucid import recipe as recipes
    from pellucid.connect.onnx import CHECKED

    recipe = recipes.read(place.recipe)
    if recipe.data.source is None or network.features is None or network.targets is None:
        return None, "made up: the run was given its data in Python"
    try:
        part, name, _ = options.own_rows(recipe, network)
    except (PellucidError, OSError) as error:
        problem = error.problem if isinstance(error, PellucidError) else str(error)
        return None, f"made up: the run's data cannot be read ({problem})"
    return part.x[slice(0, CHECKED)], f"the run's {name} part"


def told(facts: dict[str, Any]) -> str:
    """For a person."""
    lines = [
        f"{facts['file']}: {in_words(facts['bytes'])}, {facts['operations']} operations",
        *(f"  {name + ':':<9}{shown(facts[name])}" for name in ("input", "output")),
        f"  checked:  onnxruntime on {facts['rows']} rows ({facts['rows_from']}) differs from the network by "
        f"{facts['difference']:.2g} at most",
    ]  # fmt: skip
    if not facts["free_batch"]:
        lines.append("  note:     it takes one row at a time; this network cannot be written with a free batch")
    return "\n".join(lines)


def shown(one: dict[str, Any]) -> str:
    return f" {one['name']} {one['type']} [{', '.join(map(str, one['shape']))}]"
