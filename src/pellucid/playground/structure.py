"""From choices to a network's and an optimizer's written form, as a recipe holds them."""

from typing import Any

from pellucid.network.activations import Activation, suited_initial
from pellucid.playground.choices import INITIALS, Choices

Words = dict[str, Any]
OFF = 1e-12  # in place of a decay of 0: the program has a place for it, and a slider moves it without compiling
WHOLE = ("zeros", "equal", "negative")  # initial weights that are meant for the output layer, or the biases, as well
DEEP = -10.0  # a bias from which ReLU does not come back


def network_spec(choices: Choices) -> Words | str:
    """An `mlp` where all layers are alike, for the doctor knows how to change it; else a chain of layers."""
    if not choices.widths:
        return {"type": "perceptron"} if choices.initial(0) not in WHOLE else _chain(choices)
    if len({*choices.activations}) > 1 or len({*choices.initials}) > 1 or choices.initial(0) in WHOLE:
        return _chain(choices)
    return {
        "type": "mlp", "widths": list(choices.widths), "activation": choices.activation(0), "dropout": choices.dropout,
        "norm": None if choices.norm == "none" else choices.norm, "initial": INITIALS[choices.initial(0)],
    }  # fmt: skip


def _chain(choices: Choices) -> Words:
    parts: list[Any] = [["input", {"type": "input"}], ["flatten", {"type": "flatten"}]]
    for i, width in enumerate(choices.widths):
        bend, chosen = choices.activation(i), choices.initial(i)
        initial = INITIALS[chosen] or suited_initial(Activation.of(bend))
        bias = {"bias_initial": {"type": "constant", "value": DEEP}} if chosen == "negative" else {}
        parts.append([f"hidden{i + 1}", {"type": "dense", "width": width, "initial": initial, **bias}])
        if choices.norm != "none":
            parts.append([f"norm{i + 1}", {"type": f"{choices.norm}_norm"}])
        parts.append([f"{bend}{i + 1}", {"type": bend}])
        if choices.dropout:
            parts.append([f"dropout{i + 1}", {"type": "dropout", "rate": choices.dropout}])
    last = choices.initial(len(choices.widths) - 1) if choices.widths else choices.initial(0)
    output: Any = INITIALS[last] if last in ("zeros", "equal") else {"type": "lecun_normal", "gain": 0.1}
    return {"type": "sequential", "layers": [*parts, ["output", {"type": "output", "initial": output}]]}


def optimizer_spec(choices: Choices, name: str | None = None, rate: float | None = None) -> Words:
    """With a place for both decays, whether or not they are used."""
    return {
        "type": name or choices.optimizer, "learning_rate": choices.learning_rate if rate is None else rate,
        "weight_decay": choices.l2 or OFF, "l1": choices.l1 or OFF,
    }  # fmt: skip


def recipe_words(choices: Choices, updates: int) -> Words:
    """All that a `Session` is told."""
    return {
        "network": network_spec(choices), "optimizer": optimizer_spec(choices), "plain": True, "steps": updates,
        "batch_size": choices.batch or "all", "loss": None if choices.loss == "suited" else choices.loss,
        "seed": choices.seed, "split": (1.0, 0.0, 0.0), "baselines": False,
    }  # fmt: skip
