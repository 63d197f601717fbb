"""Specs in a few words, as a person would write them on the command line."""

from typing import Any


def named(spec: Any, default: str) -> str:
    """A spec from a recipe in short.

    >>> named("mlp:64", ""), named({"type": "adamw", "learning_rate": 0.001}, ""), named(None, "network")
    ('mlp:64', 'adamw', 'network')
    """
    if spec is None or spec == "network.json":
        return default
    return str(spec.get("type", default)) if isinstance(spec, dict) else str(spec)
