"""A network as a table of text: one line a leaf."""

import math
from typing import Any, Protocol

from pellucid.network.layer import Layer, Leaf, join, show_shape
from pellucid.network.trace import trace


class Structured(Protocol):
    """A network, with weights or without."""

    @property
    def layer(self) -> Layer: ...


def rows(network: Structured, x: Any) -> list[dict[str, Any]]:
    """One dict a leaf: path, layer, output (shape without the batch), parameters, initial (of its weights)."""
    traced = trace(network.layer, x)
    return [_row(leaf, traced.declared) for leaf in traced.leaves]


def _row(leaf: Leaf, declared: dict) -> dict[str, Any]:
    own = {
        n: p for n, p in ((n, declared.get(join(leaf.path, n))) for n in leaf.layer.declare(leaf.x)) if p is not None
    }
    trained = {name: p for name, p in own.items() if p.trained}
    weight = trained.get("w")
    return {
        "path": leaf.path,
        "layer": str(leaf.layer.name),
        "output": show_shape(leaf.y)[1:],
        "parameters": sum(math.prod(p.shape) for p in trained.values()),
        "initial": str(getattr(weight.initial, "name", weight.initial)) if weight else "",
    }


def summary(network: Structured, x: Any) -> str:
    """The table, aligned, with the total below."""
    table = [("layer", "kind", "output", "parameters", "initial weights")]
    found = rows(network, x)
    for row in found:
        output = " x ".join(str(n) for n in row["output"]) or "1"
        table.append((row["path"], row["layer"], output, f"{row['parameters']:,}", row["initial"]))
    widths = [max(len(line[i]) for line in table) for i in range(5)]
    lines = [
        "  ".join(
            cell.rjust(w) if i == 3 else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    total = sum(row["parameters"] for row in found)
    return "\n".join([line.rstrip() for line in lines] + [f"{total:,} parameters"])
