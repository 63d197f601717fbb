"""Runs' folders as a training leaves them, made in a moment: what a page shows of them is what is tested."""

import json

import jax
import numpy as np
from safetensors.numpy import save

from pellucid import files, resolve
from pellucid import recipe as recipes
from pellucid.data import prepare
from pellucid.history import History
from pellucid.network.storage import describe, weights
from pellucid.rundir import RunDir


def untrained(place: RunDir, network, dataset, **settings) -> RunDir:
    """A run as it is before its first update, without the training."""
    prepared = prepare(dataset, **settings)
    made = resolve.network_of(recipes.make({"network": network}), None, prepared.features, prepared.targets, None)
    made = made.initialised(jax.random.key(0), made.example())
    place.path.mkdir(parents=True)
    place.recipe.write_text("")
    files.write_json(place.network, describe(made))
    history = History(place.history, 64)
    history.begin(prepared.validation, 0, save(weights(made)))
    history.add(1, save({name: np.asarray(2 * value) for name, value in weights(made).items()}))
    return place


def record(place: RunDir, layers: list[str], steps: int, every: int = 1, **setup) -> None:
    """A record and a clock of so many measured steps, with a run's usual shapes."""
    rng = np.random.default_rng(len(layers))
    names = [f"{name}/w" for name in layers]
    told = {"updates": steps * every, "batch": 32, "steps_per_epoch": 10 * every, "metric": "accuracy", **setup}
    head = {
        "kind": "header", "schema": 1, "layers": layers, "weights": names, "kinds": ["dense"] * len(layers),
        "shapes": [[8, 8]] * len(layers), "setup": told,
    }  # fmt: skip
    lines, ticks = [head], [{"kind": "header", "schema": 1}]
    for n in range(steps):
        at, loss = n * every, 2 / (1 + n / 50) + 0.05 * rng.random()
        rms = (np.exp(0.3 * rng.normal(size=len(layers))) * 0.5 ** np.arange(len(layers))).round(6).tolist()
        one = {"rms": rms, "zero": [0.1] * len(layers)}
        size = {"gradient": rms, "update": [0.001] * len(layers), "rms": [1.0] * len(layers)}
        lines.append(
            {
                "kind": "step", "step": at, "loss": loss, "learning_rate": 0.01, "activation": one, "gradient": one,
                "weight": size,
            }
        )  # fmt: skip
        lines.append({"kind": "chunk", "step": at + 1, "loss": {"mean": loss, "min": loss - 0.1, "max": loss + 0.1}})
        ticks.append({"kind": "chunk", "time": 1e9 + n, "seconds": 0.1, "step": at + 1, "steps": every})
        if n % 10 == 9:
            scores = {"loss": loss, "accuracy": 1 - loss / 3}
            lines.append(
                {
                    "kind": "epoch", "epoch": n // 10 + 1, "step": at + every, "train": {"loss": loss},
                    "sample": scores, "validation": scores, "improved": True,
                }
            )  # fmt: skip
    for path, some in ((place.record, lines), (place.clock, ticks)):
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in some))
