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


@dataclass(frozen=True)
class Shown:
    """What of it a person wants to see, as written on the command line; all counted from 1."""

    layer: str | None = None
    unit: int | None = None
    place: str | None = None
    step: int | None = None
    head: int | None = None

    def check(self) -> None:
        for name in ("unit", "step", "head"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name}s are counted from 1", where=f"--{name}", got=value)
        self.at()

    def at(self) -> tuple[int, int] | None:
        """The place as (row, column)."""
        if self.place is None:
            return None
        parts = [part.strip() for part in self.place.split(",")]
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise SettingError(
                "a place is a row and a column, counted from 1", where="--place", expected="3,4", got=self.place
            )
        return int(parts[0]), int(parts[1])


def explain(
    source: str, *, row: int, shown: Shown, words: dict[str, Any], learning_rate: float | None, trust: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """The exit code is 1 where the walk and `jax.grad` disagree."""
    shown.check()
    subject = _of_run(source, words) or _of_data(source, words, trust)
    network = subject.network
    x, y = _example(subject, row)
    from pellucid.views.explain import to_json, walk

    rate, step = 0.1 if learning_rate is None else learning_rate, None if shown.step is None else shown.step - 1
    made = walk(network, x, y, subject.loss, rate, step)
    check_shown(made.stages, shown)
    if as_json:
        from pellucid import files

        facts = {"source": source, "row": row, "features": list(network.features.names), **to_json(made)}
        print(json.dumps(files.finite(facts), ensure_ascii=False, allow_nan=False))
    else:
        _print(subject, row, x, made, shown)
    return 0 if made.check.agrees else 1


def _example(subject: Subject, row: int) -> tuple[Any, Any]:
    """The row (of a language model's text: the window), encoded."""
    import numpy as np

    from pellucid.data import encode

    dataset, network = subject.dataset, subject.network
    windows = network.targets.task == "language"
    part = encode(dataset, network.features, network.targets) if windows else None
    rows, what = (len(dataset), "row") if part is None else (len(part.y), "window of the text")
    if not 1 <= row <= rows:
        raise SettingError(f"there is no such {what}", where="--row", expected=f"1 to {rows:,}", got=row)
    if part is not None:
        return part.x[row - 1], part.y[row - 1]
    part = encode(dataset.take(np.array([row - 1])), network.features, network.targets, f"row {row}")
    return part.x[0], part.y[0]


def check_shown(found: Any, shown: Shown) -> None:
    """What was asked for must be there, so that nobody reads another number for it."""
    from pellucid.errors import nearest
    from pellucid.views.explain_stage import every

    shown.check()
    stages = list(every(found))
    paths = list(dict.fromkeys(path for s in stages for path in (*_above(s.path), s.title)))
    if shown.layer is not None and shown.layer not in paths:
        raise SettingError(
            f"the network has no layer {shown.layer!r}", where="--layer", fix=nearest(shown.layer, paths)
        )
    heads = max((s.kept["weights"].shape[0] for s in stages if s.kind == "attention"), default=0)
    steps = max((s.y.shape[0] for s in stages if s.y.ndim == 2 and s.kind not in ("input", "grey")), default=0)
    steps = max([steps, *(len(s.kept["steps"]) for s in stages if "steps" in s.kept)])
    images = [s.y.shape[:2] for s in stages if s.kind == "conv" and s.y.ndim == 3]
    for name, value, most, what in (
        ("head", shown.head, heads, "attention with several heads"),
        ("step", shown.step, steps, "layer that reads steps"),
    ):
        if value is not None and value > most:
            raise SettingError(
                f"there is no {name} {value}", where=f"--{name}",
                expected=f"1 to {most}" if most else f"a network with a {what}", got=value,
            )  # fmt: skip
    if (at := shown.at()) is not None and not any(at[0] <= h and at[1] <= w for h, w in images):
        most = "a network with convolutions over images" if not images else f"1,1 to {images[0][0]},{images[0][1]}"
        raise SettingError("there is no such place", where="--place", expected=most, got=shown.place)


def _above(path: str) -> list[str]:
    """a, a/b of a/b/c"""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _print(subject: Subject, row: int, x: Any, made: Any, shown: Shown) -> None:
    from rich.text import Text

    from pellucid.views.console import out, unicode_fits
    from pellucid.views.explain_text import written
    from pellucid.views.explain_words import Wish

    network, console = subject.network, out()
    vocabulary = _vocabulary(network)
    console.print(
        Text(f"{subject.dataset.name}, {_said(subject, row, x)}; {subject.said}", style="bold"), soft_wrap=True
    )
    labels = list(vocabulary) if vocabulary and made.loss.steps else output_names(network.targets)
    wish = Wish(shown.layer, shown.unit, shown.step, shown.head, shown.at())
    for text, style in written(made, wish, network.features.names, labels, unicode_fits(console), vocabulary):
        console.print(Text(text, style=style), soft_wrap=True)


def _vocabulary(network: Any) -> tuple[str, ...]:
    """The tokens by their ids, where the network reads text."""
    tokenizer = getattr(network.features.encoder, "tokenizer", None)
    return () if tokenizer is None else tuple(tokenizer.names)


def _said(subject: Subject, row: int, x: Any) -> str:
    """Which example it is, and its truth."""
    if subject.network.targets.task == "language":
        names = _vocabulary(subject.network)
        return f'window {row}: "{"".join(names[i] for i in x[:24])}"...'
    if subject.network.targets.task == "pairs":
        return f"pair {row}"
    return f"row {row}: {', '.join(str(v[0]) for v in _truth(subject, row))}"


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
    dataset = load(d.source, **d.loading())
    said = f"the network of {place.path.name}, {network.parameters:,} parameters"
    return Subject(network, dataset, resolve.yardsticks(recipe, network.targets)[0], said)


def _of_data(source: str, words: dict[str, Any], trust: bool) -> Subject:
    """Data, and a network as training would begin with it."""
    from pellucid.commands.train import recipe_of, settings
    from pellucid.machine import set_up
    from pellucid.session import Session

    given = {key: value for key, value in words.items() if value not in (None, [])}
    recipe, folder = recipe_of({"source": source, "trust": trust}, settings(given))
    set_up()
    session = Session(recipe, None, {}, folder, (), 0.0)
    said = f"initial weights, seed {session.settings.seed}, {session.network.parameters:,} parameters"
    return Subject(session.network, session.dataset, session.settings.loss, said)
