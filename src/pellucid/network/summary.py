"""A network as a table of text: one line a leaf."""

import math
from typing import Any, Protocol

import jax

from pellucid.network.layer import Layer, Leaf, join, show_shape
from pellucid.network.trace import trace


class Structured(Protocol):
    """A network, with weights or without."""

    @property
    def layer(self) -> Layer: ...


def rows(network: Structured, x: Any) -> list[dict[str, Any]]:
    """One dict a leaf: path, layer, output (shape without the batch), parameters, operations (of one example, forward),
    bytes (of its output for one example), initial (of its weights)."""
    traced = trace(network.layer, x)
    seen: set[str] = set()
    found = []
    for leaf in traced.leaves:
        found.append(_row(leaf, traced.declared, leaf.path in seen))
        seen.add(leaf.path)
    return found


def _row(leaf: Leaf, declared: dict, again: bool) -> dict[str, Any]:
    """again: the layer was met before, with the same weights, which are counted once."""
    own = {
        n: p for n, p in ((n, declared.get(join(leaf.path, n))) for n in leaf.layer.declare(leaf.x)) if p is not None
    }
    trained = {name: p for name, p in own.items() if p.trained}
    weight = trained.get("w")
    arrays = jax.tree.leaves(leaf.y)
    return {
        "path": leaf.path,
        "layer": str(leaf.layer.name),
        "output": show_shape(leaf.y)[1:],
        "parameters": 0 if again else sum(math.prod(p.shape) for p in trained.values()),
        "operations": leaf.layer.operations(leaf.x, leaf.y),
        "bytes": sum(math.prod(a.shape[1:]) * a.dtype.itemsize for a in arrays),
        "initial": _initial(weight.initial) if weight else "",
    }


def _initial(initial: Any) -> str:
    """The name of what draws a layer's weights; that of its blocks where each is drawn alike."""
    parts = getattr(initial, "parts", ())
    return _initial(parts[0]) if parts and len(set(parts)) == 1 else str(getattr(initial, "name", initial))


def summary(network: Structured, x: Any) -> str:
    """The table, aligned, with the totals below. FLOPs: multiplications and additions of one example's forward pass."""
    table = [("layer", "kind", "output", "parameters", "FLOPs", "memory", "initial weights")]
    found = rows(network, x)
    for row in found:
        output = " x ".join(str(n) for n in row["output"]) or "1"
        counts = f"{row['parameters']:,}", short(row["operations"]), in_bytes(row["bytes"])
        table.append((row["path"], row["layer"], output, *counts, row["initial"]))
    widths = [max(len(line[i]) for line in table) for i in range(7)]
    lines = [
        "  ".join(
            cell.rjust(w) if i in (3, 4, 5) else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    parameters, operations, memory = (sum(row[key] for row in found) for key in ("parameters", "operations", "bytes"))
    total = (
        f"{parameters:,} parameters ({in_bytes(4 * parameters)}); an example forward: {short(operations)} FLOPs, "
        f"{in_bytes(memory)} of layer outputs"
    )
    return "\n".join([line.rstrip() for line in lines] + [total])


def short(n: float) -> str:
    """A count in three digits or so.

    >>> short(950), short(12_345), short(3_456_789)
    ('950', '12.3 k', '3.46 M')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {letter}"
    return f"{n:.0f}"


def in_bytes(n: float) -> str:
    """Memory as a person reads it.

    >>> in_bytes(40), in_bytes(2_560)
    ('40 B', '2.56 kB')
    """
    return f"{short(n)}B" if n >= 1e3 else f"{n:.0f} B"
