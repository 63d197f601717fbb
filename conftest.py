"""Doctests are collected by importing: what needs a library that is not installed is left out, and its tests skip."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
CONNECT = HERE / "src" / "pellucid" / "connect"

collect_ignore = []
if find_spec("torch") is None:
    needing = [
        p for p in CONNECT.glob("torch_*.py") if re.search(r"^(import|from) torch\b", p.read_text("utf-8"), re.M)
    ]
    collect_ignore += [str(path.relative_to(HERE)) for path in needing]
if find_spec("keras") is None:
    collect_ignore += [str(path.relative_to(HERE)) for path in CONNECT.glob("keras*.py")]
os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras's own is TensorFlow, which nothing else here needs
