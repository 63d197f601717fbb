"""Where examples come from: tables, arrays, texts, built-in sets; how they are split and encoded.

`load` -> `Dataset` (raw) -> `prepare` -> `Prepared` (split and encoded, with the fitted `Features` and `Targets`).
No JAX here; polars and scikit-learn are imported when a table or a built-in set needs them.
"""

from pellucid.data.baselines import baselines
from pellucid.data.builtin import datasets
from pellucid.data.dataset import Dataset
from pellucid.data.features import Features
from pellucid.data.load import load
from pellucid.data.parts import Part, Prepared
from pellucid.data.prepare import encode, prepare
from pellucid.data.targets import TargetColumn, Targets

__all__ = [
    "Dataset",
    "Features",
    "Part",
    "Prepared",
    "TargetColumn",
    "Targets",
    "baselines",
    "datasets",
    "encode",
    "load",
    "prepare",
]
