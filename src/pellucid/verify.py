"""Proof that a run is what it says: train it again from its recipe, and compare the bytes."""

import tempfile
from pathlib import Path
from typing import Any

import msgspec

from pellucid import recipe as recipes
from pellucid.errors import RunError
from pellucid.fit import run_recipe
from pellucid.rundir import RunDir
from pellucid.session import Callback

COMPARED = ("weights.safetensors", "record.jsonl")
DECISIVE = ("jax", "jaxlib", "optax", "numpy", "platform", "processor", "threads", "kernels", "pellucid")


def verify(path: str | Path, callbacks: tuple[Callback, ...] = ()) -> dict[str, Any]:
    """Train the run anew in a temporary folder and compare `weights.safetensors` and `record.jsonl` byte by byte.

    Gives {"run", "comparable", "agrees", "differences", "files"}. Equal bytes are promised for equal versions on an
    equal processor with as many threads; where these differ, `comparable` is false, `differences` says how, and
    `agrees` says what was found all the same.
    """
    place = RunDir(path).require()
    place.read_result()  # an unfinished run has nothing to compare with
    recipe = recipes.read(place.recipe)
    if not recipe.reproducible:
        raise RunError(
            "the run cannot be trained again from its recipe alone", where=place.recipe,
            got="it was made from data in memory, or with Python objects", fix="fit it again in Python and compare",
        )  # fmt: skip
    now = recipes.versions()
    differences = [
        f"{name}: {recipe.versions.get(name)} then, {now.get(name)} now"
        for name in DECISIVE
        if recipe.versions.get(name) != now.get(name)
    ]
    wanted = recipe.data.fingerprint
    with tempfile.TemporaryDirectory(prefix="pellucid-verify-") as folder:
        again = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, baselines=False))
        run = run_recipe(again, out=folder, exact=True, folder=place.path, callbacks=callbacks)
        if run.prepared.fingerprint != wanted:
            raise RunError(
                "the data have changed since the run", where=recipe.data.source, expected=f"fingerprint {wanted}",
                got=run.prepared.fingerprint,
            )  # fmt: skip
        files = [{"file": name, "agrees": _same(place.path / name, Path(folder) / name)} for name in COMPARED]
    return {
        "run": str(place.path),
        "comparable": not differences,
        "agrees": all(file["agrees"] for file in files),
        "differences": differences,
        "files": files,
    }


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()
