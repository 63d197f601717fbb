"""Networks that learn their sets well: what faults are planted into, and what a repaired run is compared with.

Each base is a `Setup` with constant settings (`plain`), so that none of Pellucid's own defaults repairs a fault.
"""

from dataclasses import replace
from typing import Any

from case import Setup

Words = dict[str, Any]


def mlp(*widths: int, activation: str = "relu", **more: Any) -> Words:
    return {"type": "mlp", "widths": list(widths), "activation": activation, **more}


def _base(set_: str, network: Words, steps: int, rate: float, **more: Any) -> Setup:
    return Setup({"set": set_}, {
        "network": network, "plain": True, "optimizer": {"type": "adam", "learning_rate": rate}, "steps": steps,
        "batch_size": 32, **more,
    })  # fmt: skip


CNN = {"type": "cnn", "widths": [8, 16], "dense": 32, "dropout": 0.0, "norm": None}

BASES: dict[str, Setup] = {
    "iris": _base("iris", mlp(16, 16), 500, 0.005),
    "wine": _base("wine", mlp(16, 16), 300, 0.003),
    "breast-cancer": _base("breast-cancer", mlp(16, 16), 300, 0.003),
    "digits": _base("digits", mlp(32, 32), 800, 0.003),
    "moons": _base("moons", mlp(16, 16), 800, 0.01),
    "circles": _base("circles", mlp(16, 16), 800, 0.01),
    "xor": _base("xor", mlp(16, 16), 800, 0.01),
    "blobs": _base("blobs", mlp(16, 16), 300, 0.005),
    "spirals": _base("spirals", mlp(32, 32), 2000, 0.01),
    "diabetes": _base("diabetes", mlp(16), 300, 0.003),
    "sine": _base("sine", mlp(32, 32), 1500, 0.005),
    "friedman": _base("friedman", mlp(32, 32), 1000, 0.003),
    "mnist": _base("mnist", mlp(64, 32), 500, 0.002),
    "digits-image": _base("digits-image", CNN, 400, 0.005),
    "digits-rows": _base("digits-rows", {"type": "gru", "widths": [24]}, 500, 0.01),
    "adding": _base("adding", {"type": "gru", "widths": [16]}, 800, 0.01),
    "reviews": _base("reviews", {"type": "gru", "widths": [16], "embed": 16}, 400, 0.01, tokens="words"),
    "reviews-attention": _base(
        "reviews", {"type": "transformer", "layers": 1, "heads": 2, "width": 16}, 600, 0.005, tokens="words"
    ),
    "grammar": _base("grammar", {"type": "gru", "widths": [32], "embed": 16}, 500, 0.01, context=24),
    "grammar-attention": _base(
        "grammar", {"type": "transformer", "layers": 1, "heads": 2, "width": 32}, 500, 0.005, context=24
    ),
}
REGRESSION = ("diabetes", "sine", "friedman", "adding")


def changed(base: Setup, network: Words | None = None, data: Words | None = None, **settings: Any) -> Setup:
    """A base with another network (whole, where it names its type; else these fields), data and settings.

    >>> changed(BASES["iris"], {"activation": "tanh"}, steps=5).settings["network"]["activation"]
    'tanh'
    """
    words = {**base.settings, **settings}
    if network is not None:
        words["network"] = network if "type" in network else {**base.settings["network"], **network}
    if "epochs" in settings:
        words.pop("steps", None)
    return replace(base, data={**base.data, **(data or {})}, settings=words)


def normal(std: float) -> Words:
    return {"type": "normal", "std": std}


def constant(value: float) -> Words:
    return {"type": "constant", "value": value}


def chain(*parts: tuple[str, Words]) -> Words:
    """A `Sequential` by hand, in JSON."""
    return {"type": "sequential", "layers": [[name, part] for name, part in parts]}


def dense_chain(
    widths: tuple[int, ...], activation: str, end: tuple[tuple[str, Words], ...] | None = None, **dense: Any
) -> Words:
    """Like `mlp`, by hand: `dense` are settings of every hidden layer, `end` what stands in place of the output."""
    parts: list[tuple[str, Words]] = [("input", {"type": "input"}), ("flatten", {"type": "flatten"})]
    initial = {"initial": "he_normal"} if activation == "relu" else {}
    for number, width in enumerate(widths, 1):
        parts.append((f"hidden{number}", {"type": "dense", "width": width, **initial, **dense}))
        parts.append((f"{activation}{number}", {"type": activation}))
    return chain(*parts, *(end if end is not None else (("output", {"type": "output"}),)))
