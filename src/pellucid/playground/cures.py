"""From what the doctor would change to what a learner can choose: a remedy as a button."""

from typing import Any

from pellucid.errors import SettingError
from pellucid.playground.choices import (
    ACTIVATIONS,
    INITIALS,
    MOST_LAYERS,
    MOST_UNITS,
    NORMS,
    OPTIMIZERS,
    Choices,
    made,
)  # fmt: skip

NAMES = {value: name for name, value in INITIALS.items() if isinstance(value, str) and name != "negative"}


def cured(choices: Choices, settings: dict[str, Any]) -> Choices | None:
    """The choices with a remedy's settings (in the recipe's words) taken over; None where one of them is no choice
    here, or nothing would change.

    >>> cured(Choices(learning_rate=10.0), {"learning_rate": 1.0}).learning_rate
    1.0
    >>> cured(Choices(), {"steps": 1000}) is None
    True
    """
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        change = _change(key, value, choices)
        if change is None:
            return None
        changes |= change
    if not changes:
        return None
    try:
        new = made({**{n: getattr(choices, n) for n in Choices.__struct_fields__}, **changes})
    except SettingError:
        return None
    return None if new == choices else new


def _change(key: str, value: Any, choices: Choices) -> dict[str, Any] | None:
    if key == "learning_rate" and isinstance(value, int | float):
        return {"learning_rate": float(value)}
    if key == "activation" and value in ACTIVATIONS:
        return {"activations": (value,), "initials": ("suited",)}
    if key == "initial" and value == "auto":
        return {"initials": ("suited",)}
    if key == "initial" and value in NAMES:
        return {"initials": (NAMES[value],)}
    if key == "network" and isinstance(value, dict) and value.get("type") == "mlp":
        return _network(value, choices)
    if key == "batch_size" and (value == "all" or isinstance(value, int)):
        return {"batch": 0 if value == "all" else value}
    if key == "optimizer":
        spec: dict[str, Any] = value if isinstance(value, dict) else {"type": value, "weight_decay": choices.l2}
        if spec.get("type") in OPTIMIZERS:
            return {"optimizer": spec["type"], "l2": float(spec.get("weight_decay") or 0.0)}
    return None


def _network(spec: dict[str, Any], choices: Choices) -> dict[str, Any] | None:
    widths = spec.get("widths", choices.widths)
    found: dict[str, Any] = {"widths": tuple(min(int(n), MOST_UNITS) for n in widths)[:MOST_LAYERS]}
    found["activations"] = (_name(spec.get("activation", {"type": "relu"})),)
    found["norm"] = spec.get("norm") or "none"
    found["dropout"] = float(spec.get("dropout", 0.0))
    initial = spec.get("initial")
    found["initials"] = ("suited",) if initial is None else (NAMES.get(_name(initial), choices.initial(0)),)
    return found if found["activations"][0] in ACTIVATIONS and found["norm"] in NORMS else None


def _name(spec: Any) -> str:
    return str(spec.get("type")) if isinstance(spec, dict) else str(spec)
