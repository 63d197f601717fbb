"""`pellucid explain`: one row of a run's data, or of any data with initial weights, forward and backward."""

import json
from dataclasses import dataclass
from typing import Any

from pellucid.commands import options
from pellucid.errors import DataError, RunError, SettingError
from pellucid.rundir import RunDir


@dataclass
class Subject:
    """What is explained: a network, the raw data, and the loss."""

    network: Any
    dataset: Any
    loss: Any
    said: str


def explain(
    source: str, *, row: int, layer: str | None, unit: int | None, words: dict[str, Any], learning_rate: float | None,
    trust: bool, as_json: bool,
) -> int:  # fmt: skip
    """The exit code is 1 where the walk and `jax.grad` disagree."""
    if unit is not None and unit < 1:
        raise SettingError("units are counted from 1", where="--unit", got=unit)
    subject = _of_run(source, words) or _of_data(source, words, trust)
    from pellucid.data import encode

    if not 1 <= row <= len(subject.dataset):
        raise SettingError("there is no such row", where="--row", expected=f"1 to {len(subject.dataset):,}", got=row)
    import numpy as np

    network = subject.network
    part = encode(subject.dataset.take(np.array([row - 1])), network.features, network.targets, f"row {row}")
    from pellucid.views.explain import leaves, to_json, walk

    paths = [path for path, _ in leaves(network.layer)]
    if layer is not None and layer not in paths:
        from pellucid.errors import nearest

        raise SettingError(f"the network has no layer {layer!r}", where="--layer", fix=nearest(layer, paths))
    made = walk(network, part.x[0], part.y[0], subject.loss, 0.1 if learning_rate is None else learning_rate)
    if as_json:
        from pellucid import files

        facts = {"source": source, "row": row, "features": list(network.features.names), **to_json(made)}
        print(json.dumps(files.finite(facts), ensure_ascii=False, allow_nan=False))
    else:
        _print(subject, row, made, layer, unit)
    return 0 if made.check.agrees else 1


def _print(subject: Subject, row: int, made: Any, layer: str | None, unit: int | None) -> None:
    from rich.text import Text

    from pellucid.views.console import out, unicode_fits
    from pellucid.views.explain_text import Wish, written

    network, console = subject.network, out()
    truth = ", ".join(str(v[0]) for v in _truth(subject, row))
    console.print(Text(f"{subject.dataset.name}, row {row}: {truth}; {subject.said}", style="bold"), soft_wrap=True)
    lines = written(
        made, Wish(layer, unit), network.features.names, output_names(network.targets), unicode_fits(console)
    )
    for text, style in lines:
        console.print(Text(text, style=style), soft_wrap=True)


def _truth(subject: Subject, row: int) -> list[Any]:
    from pellucid.data.targets import split_targets

    return [values[row - 1 : row] for _, values in split_targets(subject.dataset.y, subject.dataset.target)]


def output_names(targets: Any) -> list[str]:
    """What each output of the network stands for."""
    names: list[str] = []
    for column in targets.columns:
        names += [str(c) for c in column.classes] if column.stop - column.start > 1 else [column.name]
    return names


def _of_run(source: str, words: dict[str, Any]) -> Subject | None:
    """The run of this path or name, where there is one."""
    if not any(place.exists for place in (RunDir(source), RunDir(options.home() / source))):
        return None
    given = [f"--{key}" for key, value in words.items() if value not in (None, [])]
    if given:
        raise SettingError("a run brings its own settings", got=", ".join(given), fix="leave them out")
    place = options.find_run(source)
    from pellucid import recipe as recipes
    from pellucid import resolve
    from pellucid.data import load
    from pellucid.machine import set_up
    from pellucid.network.network import Network

    set_up()
    recipe = recipes.read(place.recipe)
    d = recipe.data
    if d.source is None:
        raise RunError("the run was given its data in Python", where=place.recipe, fix="explain it there")
    if isinstance(recipe.train.loss, str) and recipe.train.loss.startswith("(a Python"):
        raise DataError(
            "the run's loss was a Python function, whose chain rule is not written here", where=place.recipe
        )
    network = Network.load(place.path)
    if network.targets is None or network.features is None:
        raise RunError("the network does not know its data", where=place.network, fix="train it with pellucid train")
    dataset = load(d.source, target=d.target, task=d.task, group=d.group, time=d.time, weight=d.weight)
    said = f"the network of {place.path.name}, {network.parameters:,} parameters"
    return Subject(network, dataset, resolve.yardsticks(recipe, network.targets)[0], said)


def _of_data(source: str, words: dict[str, Any], trust: bool) -> Subject:
    """Data, and a network as training would begin with it."""
    from pellucid.commands.train import recipe_of, settings
    from pellucid.fit import Session
    from pellucid.machine import set_up

    given = {key: value for key, value in words.items() if value not in (None, [])}
    recipe, folder = recipe_of({"source": source, "trust": trust}, settings(given))
    set_up()
    session = Session(recipe, None, {}, folder, (), 0.0)
    said = f"initial weights, seed {session.settings.seed}, {session.network.parameters:,} parameters"
    return Subject(session.network, session.dataset, session.settings.loss, said)
