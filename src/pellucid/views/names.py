"""Specs in a few words, as a person would write them on the command line."""

from typing import Any


def recipe_words(recipe: dict[str, Any]) -> list[str]:
    """Network, optimizer and loss of a recipe; what is not there, or is no table, is left out.

    >>> recipe_words({"network": {"spec": "mlp:16"}, "train": {"loss": "focal"}})
    ['mlp:16', 'focal']
    """
    network, train = (part if isinstance(part := recipe.get(name), dict) else {} for name in ("network", "train"))
    words = [named(network.get("spec"), "network"), named(train.get("optimizer"), ""), named(train.get("loss"), "")]
    return [word for word in words if word]


def named(spec: Any, default: str) -> str:
    """A spec from a recipe in short.

    >>> named("mlp:64", ""), named({"type": "adamw", "learning_rate": 0.001}, ""), named(None, "network")
    ('mlp:64', 'adamw', 'network')
    """
    if spec is None or spec == "network.json":
        return default
    return str(spec.get("type", default)) if isinstance(spec, dict) else str(spec)
