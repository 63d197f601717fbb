"""Doctests are collected by importing: what needs a library that is not installed is left out, and its tests skip."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("torch") is None:
    collect_ignore += [f"src/pellucid/connect/torch_{part}.py" for part in ("around", "kinds", "probes", "watch")]
if find_spec("keras") is None:
    collect_ignore += ["src/pellucid/connect/keras.py", "src/pellucid/connect/keras_probes.py"]
