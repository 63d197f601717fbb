"""A network's layer table as a tree for a picture: layers that only bend or scale stand with the one before them, and
what repeats is folded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# they keep the shape, and are drawn as small words beside the layer that they follow
SMALL = {
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus", "softmax", "identity",
    "batch_norm", "layer_norm", "rms_norm", "dropout", "flatten",
}  # fmt: skip
LONGEST_CYCLE = 6  # layers that repeat together
FEWEST = 3  # times that layers must repeat to be folded; blocks fold from two


@dataclass
class Leaf:
    """A layer, and the small ones that follow it. rows: as in the layer table."""

    rows: list[dict[str, Any]]
    name: str

    @property
    def kind(self) -> str:
        return self.rows[0]["layer"]

    @property
    def output(self) -> list[int]:
        return list(self.rows[-1]["output"])

    @property
    def parameters(self) -> int:
        return sum(row["parameters"] for row in self.rows)

    def signature(self) -> Any:
        return tuple((row["layer"], tuple(row["output"]), row["parameters"]) for row in self.rows)


@dataclass
class Group:
    """Layers of one composite. kind: the composite's, "" where it is not known."""

    name: str
    kind: str
    parts: list["Node"] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # of the small layers that follow it

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts) + sum(row["parameters"] for row in self.rows)

    def signature(self) -> Any:
        after = tuple((row["layer"], row["parameters"]) for row in self.rows)
        return self.kind, tuple(part.signature() for part in self.parts), after


@dataclass
class Fold:
    """Parts that come so many times, one after the other; the first is shown. last: the name of the last."""

    parts: list["Node"]
    times: int
    last: str

    @property
    def parameters(self) -> int:
        return self.times * sum(part.parameters for part in self.parts)

    def signature(self) -> Any:
        return self.times, tuple(part.signature() for part in self.parts)


Node = Leaf | Group | Fold


def tree(rows: Sequence[dict[str, Any]], kinds: dict[str, str]) -> list[Node]:
    """The layer table as a tree. kinds: of the composites, by path.

    >>> row = lambda path, kind: {"path": path, "layer": kind, "output": [8], "parameters": 9}
    >>> found = tree([row(f"{kind}{i}", kind) for i in range(1, 5) for kind in ("dense", "relu")], {})
    >>> found[0].times, [part.name for part in found[0].parts], [r["layer"] for r in found[0].parts[0].rows]
    (4, ['dense1'], ['dense', 'relu'])
    """
    return _level([(row["path"].split("/"), row) for row in rows], "", kinds)


def _level(rows: list[tuple[list[str], dict[str, Any]]], path: str, kinds: dict[str, str]) -> list[Node]:
    found: list[Node] = []
    at = 0
    while at < len(rows):
        names, row = rows[at]
        if len(names) == 1:
            last = found[-1] if found else None
            if not isinstance(last, Fold | None) and _joins(row, last, kinds.get(path, "")):
                last.rows.append(row)
            else:
                found.append(Leaf([row], names[0]))
            at += 1
            continue
        end = at
        while end < len(rows) and len(rows[end][0]) > 1 and rows[end][0][0] == names[0]:
            end += 1
        inside = f"{path}/{names[0]}" if path else names[0]
        parts = _level([(names[1:], row) for names, row in rows[at:end]], inside, kinds)
        found.append(Group(names[0], kinds.get(inside, ""), parts))
        at = end
    return _folded([_plain(node) for node in found])


def _joins(row: dict[str, Any], last: Leaf | Group, kind: str) -> bool:
    """Whether a small layer stands with the one before it. The norms of a transformer's block begin its halves."""
    if row["layer"] not in SMALL or (kind == "transformer_block" and row["layer"].endswith("_norm")):
        return False
    if isinstance(last, Group):
        return not row["layer"].endswith("_norm")
    return last.kind != "input"


def _plain(node: Node) -> Node:
    """A sequence inside a block says nothing of its own: its parts stand in its place where they are alone."""
    if isinstance(node, Group) and len(node.parts) == 1 and isinstance(node.parts[0], Group):
        inner = node.parts[0]
        if inner.kind in ("", "sequential"):
            return Group(node.name, node.kind, inner.parts, [*inner.rows, *node.rows])
    return node


def _folded(nodes: list[Node]) -> list[Node]:
    """What repeats, shown once: the longest run first, of the shortest cycle."""
    signatures = [node.signature() for node in nodes]
    found: list[Node] = []
    at = 0
    while at < len(nodes):
        length, times = _cycle(signatures, nodes, at)
        if times > 1:
            last = nodes[at + length * times - 1]
            found.append(Fold(nodes[at : at + length], times, getattr(last, "name", "")))
        else:
            found.append(nodes[at])
        at += length * times
    return found


def _cycle(signatures: list[Any], nodes: list[Node], at: int) -> tuple[int, int]:
    """(length of the cycle that begins here, how often it comes); (1, 1) for none."""
    best = (1, 1)
    for length in range(1, LONGEST_CYCLE + 1):
        cycle = signatures[at : at + length]
        times = 1
        while signatures[at + times * length : at + (times + 1) * length] == cycle:
            times += 1
        fewest = 2 if all(isinstance(node, Group) for node in nodes[at : at + length]) else FEWEST
        if times >= fewest and length * times > best[0] * best[1]:
            best = (length, times)
    return best
