"""What every layer did while the network learned: activations, gradients and units as heat maps of depth by time, in
colours with a fixed meaning; the same as curves, folded away."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pellucid.signals.record import Record
from pellucid.views.svg import COLOURS, Level, Line, line_chart
from pellucid.views.svg_heat import BATLOW, Colours, heat_map

if TYPE_CHECKING:
    from pellucid.views.report import Pages

SILENT = ("flatten", "dropout", "identity", "input")  # layers that pass on what they got
MOST_ROWS = 64  # of more layers, only those with weights are shown, and of these so many
USUAL = 1e-3  # an update's size beside its weights, as a rule of thumb
SIZES = Colours(1e-4, 1e4, ("vanished", "1", "exploded"))
FLOW = Colours(1e-4, 1e4, ("vanished", "as at the start", "exploded"))
STEP = Colours(USUAL * 1e-4, USUAL * 1e4, ("stands still", "usual", "jumps"))
SHARE = Colours(0.0, 1.0, ("none", "half", "all"), log=False, stops=BATLOW)


def signals(pages: "Pages") -> str:
    record = pages.record
    if len(record.steps) < 2 or not record.layers:
        return ""
    layers = shown_layers(pages)
    names = [record.layers[i] for i in layers]
    charts = [_activations(record, layers, names), _gradients(record, layers, names)]
    charts += [*_units(record, names, layers), _update_ratio(record)]
    said = (
        "One row a layer, the input above, time to the right; samples stand evenly, and are closer at the start. Dark "
        "is vanishing, fire is exploding. Measured on a sample of each layer's numbers; hover for the values."
    )
    if len(names) < sum(not silent for silent in _silent(pages)):
        said += f" Of {len(record.layers)} layers, {len(names)} with weights are shown."
    return f'<p class="quiet">{said}</p><div class="charts">{"".join(charts)}</div>{_as_curves(record, layers, names)}'


def _silent(pages: "Pages") -> list[bool]:
    silent = {row["path"] for row in pages.layers if row["layer"] in SILENT}
    return [name in silent for name in pages.record.layers]


def shown_layers(pages: "Pages") -> list[int]:
    """Which of the record's layers to show: those that do something; of very many, those with weights."""
    record = pages.record
    layers = [i for i, silent in enumerate(_silent(pages)) if not silent] or list(range(len(record.layers)))
    if len(layers) > MOST_ROWS:
        owners = {record.weights[i].rpartition("/")[0] for i in matrices(record)}
        layers = [i for i in layers if record.layers[i] in owners] or layers
    if len(layers) > MOST_ROWS:
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, MOST_ROWS).round().astype(int)]
    return layers


def _activations(record: Record, layers: list[int], names: list[str]) -> str:
    steps, values = record.series("activation", "rms")
    return heat_map(
        names, steps.tolist(), values[:, layers], title="Activations, root mean square", x_label="update",
        colours=SIZES, said=_change(names, values[:, layers]),
    )  # fmt: skip


def _gradients(record: Record, layers: list[int], names: list[str]) -> str:
    """Beside what reached the last layer first: that is 1 in every network, whatever its loss and batch."""
    steps, values = record.series("gradient", "rms")
    last = values[:, layers[-1]]
    known = last[np.isfinite(last) & (last > 0)]
    scale = float(known[0]) if len(known) else 1.0
    title = f"Gradients, beside the last layer's at the start ({scale:.3g})"
    said = _change(names, values[:, layers])
    return heat_map(
        names, steps.tolist(), values[:, layers], title=title, x_label="update", colours=FLOW, scale=scale, said=said
    )


def _change(names: Sequence[str], values: np.ndarray) -> str:
    """First and last layer at the end, for who hears the picture."""
    return f"At the end {names[0]} has {values[-1, 0]:.3g}, {names[-1]} {values[-1, -1]:.3g}."


def _units(record: Record, names: list[str], layers: list[int]) -> list[str]:
    """Dead and saturated units, and how many directions are used, where the record has them."""
    lines = [line for line in record.units if "dead" in line]
    if len(lines) < 2:
        return []
    steps = [float(line["step"]) for line in lines]
    charts = []
    titles = (
        ("dead", "Dead units: the same for every example, share"),
        ("saturated", "Saturated units: no slope left, share"),
        ("rank", "Directions in which examples differ, share of the possible"),
    )
    for key, title in titles:
        values = np.array([[float(v) for v in line[key]] for line in lines if key in line], np.float64)
        if values.shape != (len(lines), len(record.layers)):
            continue
        some = [j for j, i in enumerate(layers) if np.isfinite(values[:, i]).all()]
        shown = values[:, [layers[j] for j in some]]
        if some and (key == "rank" or (shown > 0.005).any()):
            own = [names[j] for j in some]
            charts.append(
                heat_map(own, steps, shown, title=title, x_label="update", colours=SHARE, said=_change(own, shown))
            )
    return charts


def _update_ratio(record: Record) -> str:
    """How far one update moves each weight matrix, as a share of its size. About 1e-3 is usual."""
    steps, updates = record.series("weight", "update")
    _, sizes = record.series("weight", "rms")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(sizes > 0, updates / sizes, np.nan)
    some = [i for i in matrices(record) if np.isfinite(ratio[:, i]).any()]
    if not some:
        return ""
    if len(some) > MOST_ROWS:
        some = [some[i] for i in np.linspace(0, len(some) - 1, MOST_ROWS).round().astype(int)]
    names, title = [record.weights[i] for i in some], "Size of an update beside its weights"
    if len(some) > COLOURS:
        return heat_map(names, steps.tolist(), ratio[:, some], title=title, x_label="update", colours=STEP)
    lines = [Line(name, steps.tolist(), ratio[:, i].tolist()) for name, i in zip(names, some, strict=True)]
    levels = [Level(USUAL, "usual: 0.001")]
    return line_chart(lines, title=title, x_label="update", y_label="", log_y=True, levels=levels)


def matrices(record: Record) -> list[int]:
    """Which of the record's weights are no biases or scales, in the order of their layers."""
    if len(record.shapes) == len(record.weights):
        found = [i for i, shape in enumerate(record.shapes) if len(shape) > 1]
    else:
        found = [i for i, name in enumerate(record.weights) if not name.endswith("/b")]
    order = {name: place for place, name in enumerate(record.layers)}
    return sorted(found, key=lambda i: order.get(record.weights[i].rpartition("/")[0], -1))


def _as_curves(record: Record, layers: list[int], names: list[str]) -> str:
    """Few layers' signals as curves, folded."""
    if len(names) > COLOURS:
        return ""
    charts = []
    for group, title in (("activation", "Activations, root mean square"), ("gradient", "Gradients, root mean square")):
        steps, values = record.series(group, "rms")
        charts.append(_curves(names, steps, values[:, layers], title, log=True))
    steps, zeros = record.series("activation", "zero")
    some = [i for i in layers if (zeros[:, i] > 0.01).any()]
    if some:
        own = [record.layers[i] for i in some]
        charts.append(_curves(own, steps, zeros[:, some], "Outputs that are zero, share"))
    return f'<details><summary>The same as curves</summary><div class="charts">{"".join(charts)}</div></details>'


def _curves(names: list[str], steps: np.ndarray, values: np.ndarray, title: str, log: bool = False) -> str:
    lines = [Line(name, steps.tolist(), values[:, i].tolist()) for i, name in enumerate(names)]
    return line_chart(lines, title=title, x_label="update", y_label="", log_y=log)
