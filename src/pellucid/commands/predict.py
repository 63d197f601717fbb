"""`pellucid predict` and `pellucid evaluate`: a run's network on rows."""

import json
import sys
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import DataError


def predict(run: Path, file: str, *, out: Path | None, probabilities: bool, device: str | None, as_json: bool) -> None:
    options.choose_device(device)
    place = options.find_run(run)
    from pellucid.data import load
    from pellucid.network.network import Network

    options.check_device(device)
    network = Network.load(place.path)
    shape = network.features.shape if network.features is not None and network.features.dtype == "uint8" else None
    words: dict[str, Any] = {}
    if network.targets is not None and network.targets.task == "pairs":
        words = {"task": "pairs", "text": getattr(getattr(network.features, "encoder", None), "column", None)}
    data = load(file, target=False, image_shape=shape, **words)
    files_of = {} if data.names is None else {"file": list(data.names)}
    if network.targets is not None and network.targets.steps:
        columns = step_columns(network, data.x, probabilities)
    else:
        columns = {**files_of, **which(network, data.x), **prediction_columns(network, data.x, probabilities)}
    rows = len(next(iter(columns.values())))
    if as_json:
        print(json.dumps({"run": str(place.path), "rows": rows, **_plain(columns)}, ensure_ascii=False))
        return
    import polars as pl

    table = pl.DataFrame({name: pl.Series(name, list(values)) for name, values in columns.items()})
    if out is None:
        sys.stdout.write(table.write_csv())
        return
    from pellucid import files

    files.make_folder(out.parent)
    files.write_text(out, table.write_csv())
    print(f"{rows:,} predictions in {out}")


def which(network: Any, x: Any) -> dict[str, Any]:
    """What each prediction is of, where it is not a row: the group of a sequence, the last moment of a window."""
    encoder = getattr(network.features, "encoder", None)
    examples = getattr(encoder, "examples", None)
    return examples(x) if examples is not None and hasattr(x, "columns") else {}


def prediction_columns(network: Any, x: Any, probabilities: bool) -> dict[str, Any]:
    """`prediction` (or `prediction_NAME` for each of several targets), and `probability_CLASS` for each class."""
    targets = network.targets
    if targets is not None and targets.tokens:
        return _texts(network, x, probabilities)
    outputs = network._outputs(x)
    if targets is None:
        outputs = outputs.reshape(len(outputs), -1)
        return {f"output_{i + 1}": outputs[:, i].tolist() for i in range(outputs.shape[1])}
    decoded = targets.decode(outputs)
    found: dict[str, Any] = {}
    outputs = outputs.reshape(len(outputs), -1)
    for column in targets.columns:
        tail = "" if len(targets.columns) == 1 else f"_{column.name}"
        found[f"prediction{tail}"] = (decoded[column.name] if tail else decoded).tolist()
        if probabilities and column.kind != "number":
            found |= _probabilities(column, outputs[:, column.start : column.stop], f"probability{tail}")
    if probabilities and targets.task == "regression":
        raise DataError("numbers have no probabilities", where="--probabilities", fix="leave --probabilities out")
    return found


def step_columns(network: Any, x: Any, probabilities: bool) -> dict[str, Any]:
    """A row for each step that there is: which sequence (its number, or its group), which step, `prediction`, and
    `probability_CLASS` for each class."""
    import numpy as np

    rows, target = network.features.transform(x), network.targets.columns[0]
    outputs = network._forward(rows)
    real = ~np.isnan(rows).all(axis=2)  # [n, steps]
    names = which(network, x) or {"sequence": list(range(1, len(rows) + 1))}
    sequence, step = np.nonzero(real)
    found: dict[str, Any] = {name: [values[i] for i in sequence] for name, values in names.items()}
    skipped = network.features.encoder.skipped(x) if hasattr(x, "columns") else np.zeros(len(rows), int)
    found["step"] = (skipped[sequence] + step + 1).tolist()
    found["prediction"] = target.decode(outputs[real]).tolist()
    if probabilities and target.kind == "number":
        raise DataError("numbers have no probabilities", where="--probabilities", fix="leave --probabilities out")
    return found | (_probabilities(target, outputs[real], "probability") if probabilities else {})


def _texts(network: Any, x: Any, probabilities: bool) -> dict[str, Any]:
    """What a network for pairs writes for each source."""
    if network.targets.task == "language":
        raise DataError("a language model goes on writing, and predicts no rows", fix="pellucid generate RUN")
    if probabilities:
        raise DataError("texts have no list of probabilities", where="--probabilities", fix="leave it out")
    return {"prediction": network.predict(x).tolist()}


def _probabilities(column: Any, outputs: Any, name: str) -> dict[str, Any]:
    if outputs.shape[1] == 1:  # one sigmoid output: the probability of the second class
        no, yes = column.classes
        return {f"{name}_{no}": (1 - outputs[:, 0]).tolist(), f"{name}_{yes}": outputs[:, 0].tolist()}
    return {f"{name}_{label}": outputs[:, i].tolist() for i, label in enumerate(column.classes)}


def _plain(columns: dict[str, Any]) -> dict[str, Any]:
    from pellucid import files

    return files.finite(columns)


def evaluate(run: Path, file: str | None, *, device: str | None, as_json: bool) -> None:
    options.choose_device(device)
    place = options.find_run(run)
    options.check_device(device)
    result = evaluation(place, file)
    if as_json:
        from pellucid import files

        print(json.dumps(files.finite(result), ensure_ascii=False, allow_nan=False))
        return
    from pellucid.views.console import out
    from pellucid.views.summary import evaluation as shown

    out().print(shown(result))


def evaluation(place: Any, file: str | None) -> dict[str, Any]:
    """{"part", "rows", "loss", metric, "details", ...} of a run's network on a file, or on its own held-out part."""
    from pellucid import outcome, resolve
    from pellucid import recipe as recipes
    from pellucid.network.layer import flatten
    from pellucid.network.network import Network
    from pellucid.train.evaluate import Evaluator

    recipe = recipes.read(place.recipe)
    network = Network.load(place.path)
    if network.targets is None or network.features is None:
        raise DataError("the network does not know its data", where=place.network, fix="train it with pellucid train")
    loss, metric = resolve.yardsticks(recipe, network.targets)
    notes = [
        f"the run's {key} was a Python function; the usual one stands in"
        for key in ("loss", "metric")
        if str(getattr(recipe.train, key)).startswith("(a Python object")
    ]
    part, name, said = _rows(recipe, network, file)
    evaluator = Evaluator(network.layer, loss, metric, streams=outcome.streams(network, network.targets))
    params, state = flatten(network.params or {}), network.state or {}
    scores = evaluator(params, state, part).to_json(outcome.metric_name(metric))
    if network.targets.tokens:
        details = outcome.of_tokens(scores["loss"], part)
    else:
        details = outcome.details(evaluator.outputs(params, state, part), part, network.targets)
    return {
        "file": file, "part": name, "rows": len(part), **scores, "metric": outcome.metric_name(metric),
        "details": details, "notes": notes + said, "run": str(place.path),
    }  # fmt: skip


def _rows(recipe: Any, network: Any, file: str | None) -> tuple[Any, str, list[str]]:
    from pellucid.data import encode, load

    d = recipe.data
    if file is not None:
        target = [column.name for column in network.targets.columns] if _is_table(file) else None
        said: list[str] = []
        words: dict[str, Any] = {"task": d.task}
        if target is not None:
            text = d.text if d.task == "pairs" else getattr(network.features.encoder, "column", None)
            words |= {"weight": d.weight, "text": text}
        if d.sequences or d.window:
            words |= {"group": d.group, "time": d.time, "sequences": d.sequences, "window": d.window}
            words |= {"each_step": d.each_step}
        data = load(file, target=target, **words)
        return encode(data, network.features, network.targets, file, said.append), "file", [*data.notes, *said]
    if d.source is None:
        raise DataError("the run was given its data in Python", where="recipe.toml", fix="name a FILE to score it on")
    part, name, prepared = options.own_rows(recipe, network)
    changed = [] if prepared.fingerprint == d.fingerprint else ["the data have changed since the run was made"]
    return part, name, changed


def _is_table(file: str) -> bool:
    from pellucid.data.load import TABLES

    name = file.lower().removesuffix(".gz")
    return name.endswith(TABLES)
