"""A run in the terminal: scores, curves, every layer's signals over time as small curves, findings, confusion."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pellucid.rundir import RunDir, read_json
from pellucid.signals.record import Record, read_record
from pellucid.views import facts
from pellucid.views.console import figure, sparkline, table, unicode_fits
from pellucid.views.findings import findings, repaired
from pellucid.views.summary import confusion, scores

LONGEST, SHORTEST = 16, 6  # small curves, in characters
NUMBER, DEAD, SPACE = 8, 4, 2  # widths of columns, and between them
DULL = ("input", "flatten", "identity", "dropout")  # they pass on what they got


def shown_run(place: RunDir) -> dict[str, Any]:
    """What `pellucid show` tells, as plain values: {"run", "status", "result", "epochs", "layers", "findings"}."""
    result = read_json(place.result) if place.result.is_file() else None
    record = read_record(place.record) if place.record.is_file() else Record()
    found: Any = read_json(place.findings) if place.findings.is_file() else []
    return {
        "run": str(place.path), "name": place.path.name, "status": facts.status(result, place.running),
        "result": result, "epochs": record.epochs, "layers": layers_of(record), "findings": found,
    }  # fmt: skip


def layers_of(record: Record) -> list[dict[str, Any]]:
    """One dict a layer: layer, kind, activation and gradient (root mean squares over time), dead (a share, or None)."""
    if not record.steps or not all("activation" in line for line in record.steps):
        return []
    sizes, flow = record.series("activation", "rms")[1], record.series("gradient", "rms")[1]
    dead = next((line["dead"] for line in reversed(record.units) if "dead" in line), [])
    kinds = record.kinds or [""] * len(record.layers)
    found = []
    for i, (name, kind) in enumerate(zip(record.layers, kinds, strict=True)):
        share = float(dead[i]) if i < len(dead) else math.nan
        found.append(
            {
                "layer": name, "kind": kind, "activation": sizes[:, i].tolist(), "gradient": flow[:, i].tolist(),
                "dead": share if math.isfinite(share) else None,
            }
        )  # fmt: skip
    return found


def show(console: Console, run: dict[str, Any], notes: bool = False) -> None:
    """Print a run as `shown_run` gives it. notes: findings too that do no harm."""
    result = run["result"]
    unicode = unicode_fits(console)
    console.print(Text.assemble((run["name"], "bold"), f"  {run['status']}"), soft_wrap=True)
    parts: list[RenderableType] = []
    if result is not None:
        parts += [Text(""), scores(result), Text("")]
        if (beaten := facts.beaten_by(result)) is not None:
            parts.append(Text(beaten, style="yellow"))
        parts.append(Text(facts.epochs_said(result)))
    elif run["epochs"]:
        parts.append(Text(f"{run['epochs'][-1]['epoch']} epochs so far"))
    parts += _headed(curve_table(run["epochs"], console.width, unicode))
    parts += _headed(layer_table(run["layers"], console.width, unicode))
    details = (result or {}).get("details") or {}
    if details.get("confusion"):
        parts += [Text(""), confusion(details["confusion"], details["classes"], width=console.width)]
    if result is not None and (treated := repaired(result)) is not None:
        parts += [Text(""), treated]
    if result is not None or run["findings"]:
        parts += [Text(""), findings(run["findings"], notes=notes)]
    console.print(Group(*parts), crop=False)


def _headed(one: RenderableType | None) -> list[RenderableType]:
    return [] if one is None else [Text(""), one]


def curve_table(epochs: Sequence[dict[str, Any]], width: int, unicode: bool) -> RenderableType | None:
    """Loss and metric over the epochs: a small curve, from, to."""
    if len(epochs) < 2:
        return None
    made = table("over the epochs", "", "from", "to", left=2)
    room = min(2 * LONGEST, width - 22 - 2 * (NUMBER + SPACE))
    for part, key in (("training", "sample"), ("validation", "validation")):
        names = dict.fromkeys(name for epoch in epochs for name in (epoch.get(key) or {}))
        for name in names:
            values = [float((epoch.get(key) or {}).get(name, "nan")) for epoch in epochs]
            drawn = sparkline(stretched(values, room), room, unicode) if room >= SHORTEST else ""
            made.add_row(f"{part} {name}", drawn, figure(values[0]), figure(values[-1]))
    return made


def layer_table(layers: Sequence[dict[str, Any]], width: int, unicode: bool) -> RenderableType | None:
    """A row a layer: the size of its outputs and of the gradient that reaches it, over time and at the end, and the
    share of its units that are dead. Small curves are on a logarithmic scale, at least a factor of ten from bottom to
    top; they go where there is no room."""
    layers = [one for one in layers if one["kind"] not in DULL] or list(layers)
    if not layers:
        return None
    fixed = 2 * NUMBER + DEAD + 3 * SPACE
    longest = max(len(one["layer"]) for one in layers)
    name = min(max(longest, 5), max(width - fixed - 2 * (SHORTEST + SPACE), 12), 28)
    if width - fixed - 2 * (SHORTEST + SPACE) < 12:
        name = min(max(longest, 5), width - fixed)
    room = min((width - fixed - name) // 2 - SPACE, LONGEST)
    drawn = room >= SHORTEST
    heads = ["output", "", "gradient", ""] if drawn else ["output", "gradient"]
    made = table("layer", *heads, "dead", left=1)
    for one in layers:
        cells: list[str | Text] = [_cut(one["layer"], name, unicode)]
        for key in ("activation", "gradient"):
            values = one[key]
            if drawn:
                cells.append(sparkline(stretched(logarithms(values), room), room, unicode, span=1.0))
            cells.append(f"{values[-1]:.2g}")
        dead = one["dead"]
        share = "-" if dead is None else f"{dead:.0%}"
        cells.append(Text(share, style="yellow" if dead is not None and dead >= 0.5 else ""))
        made.add_row(*cells)
    if drawn:
        for place in (1, 3):
            made.columns[place].justify = "left"
    return made


def logarithms(values: Sequence[float]) -> list[float]:
    """Of sizes; what is 0 stands with the least that is not.

    >>> logarithms([0.0, 10.0, 1000.0, float("inf")])
    [1.0, 1.0, 3.0, inf]
    """
    least = min((v for v in values if 0 < v < math.inf), default=1.0)
    return [math.log10(max(v, least)) if v == v and v != math.inf else v for v in values]


def stretched(values: Sequence[float], most: int) -> list[float]:
    """At most so many values: of each stretch the largest, or one that is not finite.

    >>> stretched([1.0, 5.0, 2.0, 2.0], 2)
    [5.0, 2.0]
    """
    if most < 1 or len(values) <= most:
        return list(values)
    found = []
    for part in np.array_split(np.asarray(values, np.float64), most):
        broken = part[~np.isfinite(part)]
        found.append(float(broken[0]) if len(broken) else float(part.max()))
    return found


def _cut(text: str, most: int, unicode: bool) -> str:
    """The end of a path says most."""
    if len(text) <= most:
        return text
    return ("…" if unicode else "~") + text[1 - most :]
