"""Preflight: what can be known before the first step, in a second or two. Facts are gathered here; `doctor` concludes.

    findings = preflight(network, prepared, settings)        # an initialised network, the data as they are fed to it

Data are looked at in samples, the network on one batch (`glance.py`). A check that fails is a warning, never an error.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from pellucid.data import Dataset, Part, Prepared
from pellucid.data.parts import runs
from pellucid.doctor import column_checks, data_checks, loss_checks, network_checks, row_checks, target_checks
from pellucid.doctor.checks import explained, guarded, run
from pellucid.doctor.data_checks import DataFacts, Sample, Target
from pellucid.doctor.finding import Finding, ranked
from pellucid.doctor.network_checks import NetworkFacts
from pellucid.doctor.remedies import possible
from pellucid.doctor.row_checks import row_keys
from pellucid.glance import Glance
from pellucid.network.adapt import find_input
from pellucid.network.layer import flatten, join
from pellucid.network.network import Network
from pellucid.network_facts import batch_of, heart_facts, loss_facts, network_facts, standing_before
from pellucid.train.loop import Settings

MOST_ROWS = 20_000  # of a part that are looked at, and fewer of wide ones:
MOST_NUMBERS = 4_000_000
MOST_HASHED = 256 << 20  # bytes of a part whose rows are all compared with each other
DATA_CHECKS = (
    *data_checks.CHECKS, *column_checks.CHECKS, *row_checks.CHECKS, *target_checks.CHECKS,
)  # fmt: skip


def preflight(
    network: Network,
    prepared: Prepared,
    settings: Settings,
    raw: Dataset | None = None,
    *,
    thorough: bool = False,
    settable: Collection[str] = ("activation", "initial", "output"),
) -> list[Finding]:
    """What is wrong, or odd, with data, loss and network before any training; alarms first, the deepest causes first.

    network: initialised.   prepared, settings: what the loop will get.   raw: the set as it came, which tells how it
    was divided.   settable: what a recipe can change of this network.   thorough: also try to learn a few rows by heart
    (seconds more); otherwise that is tried only where something else looks wrong with the network.
    """
    found: list[Finding] = []
    facts = guarded(lambda: data_facts(network, prepared, settings, raw), "the data", None)
    if facts is not None:
        found += run(DATA_CHECKS, facts)
    found += guarded(lambda: _of_network(network, prepared, settings, thorough), "the network", [])
    return ranked(explained(possible(found, settable)))


def _of_network(network: Network, prepared: Prepared, settings: Settings, thorough: bool) -> list[Finding]:
    x, y = batch_of(network.layer, prepared, settings.seed)
    glance = Glance(network, settings, x, y)
    told = loss_facts(glance, prepared)
    found = run(loss_checks.CHECKS, told)
    if not glance.trained:
        return found + run(network_checks.CHECKS, NetworkFacts(weights=0, unknown=True))
    first = guarded(glance.look, "the first loss", None)
    if first is None:
        return found
    told = dataclasses.replace(told, largest=float(first.largest))
    facts = network_facts(glance, first)
    found = run(loss_checks.CHECKS, told) + run(network_checks.CHECKS, facts)
    if thorough or any(f.severity == "warning" for f in found):
        heart = guarded(lambda: heart_facts(glance), "learning by heart", None)
        found += network_checks.cannot_overfit(dataclasses.replace(facts, heart=heart))
    return found


# -- data ---------------------------------------------------------------------------------------------------------


def data_facts(network: Network, prepared: Prepared, settings: Settings, raw: Dataset | None) -> DataFacts:
    """The parts as the first layer with weights gets them, and what is known of them."""
    features = prepared.features
    kind: Any = "columns"
    if features.vocabulary is not None:
        kind = "tokens"
    elif len(features.shape) == 2 and features.dtype != "uint8":
        kind = "sequences"
    elif len(features.shape) != 1 or features.dtype == "uint8":
        kind = "images"
    before = standing_before(network, prepared.train.x)
    parts = {"training": prepared.train, "validation": prepared.validation, "test": prepared.test}
    targets = tuple(
        Target(c.name, c.kind, tuple(map(str, c.classes)), c.mean, c.scale) for c in prepared.targets.columns
    )
    return DataFacts(
        parts={name: _sample(network, part) for name, part in parts.items() if part is not None and len(part)},
        kind=kind, task=prepared.targets.task, targets=targets, columns=features.names,
        padded=features.padded and features.dtype == "float32", normalised="norm" in before,
        input_layer=find_input(network.layer) is not None, opaque="opaque" in before, split=_split(raw),
        weighted=prepared.train.weight is not None, grouped=_grouped(features.encoder),
    )  # fmt: skip


def _split(raw: Dataset | None) -> Any:
    if raw is None:
        return "shuffled"
    if raw.time is not None:
        return "time"
    if raw.group is not None:
        return "group"
    return "own" if raw.validation is not None or raw.test is not None else "shuffled"


def _grouped(encoder: Any) -> tuple[int, ...]:
    """For each column of numbers, the number of the table's column that it came from."""
    columns = getattr(encoder, "columns", ())
    return tuple(i for i, c in enumerate(columns) for _ in getattr(c, "outputs", ()))


def _sample(network: Network, part: Part) -> Sample:
    """Rows spread evenly over the part; in runs of neighbours, where it stays on disk."""
    n = len(part)
    size = max(int(np.prod(part.x.shape[1:])), 1)
    few = min(n, MOST_ROWS, max(MOST_NUMBERS // size, 64))
    in_memory = isinstance(part.x, np.ndarray)
    rows = (np.arange(few) * n) // few if in_memory else runs(n, few)
    x = np.asarray(part.x[rows] if few < n or not in_memory else part.x)
    whole = in_memory and part.x.nbytes <= MOST_HASHED
    keys = row_keys(part.x if whole else x)
    labels = part.y if whole else part.y[rows]
    places = part.rows[rows] if len(part.rows) == n else rows
    return Sample(arriving(network, x), part.y[rows], places, keys, labels)


def arriving(network: Network, x: np.ndarray) -> np.ndarray:
    """The rows as they leave the input layer, or as they are where there is none."""
    found = find_input(network.layer)
    if found is None or network.state is None or x.dtype.kind not in "fu":
        return x
    path, _ = found
    state = flatten(network.state)
    mean, scale = (np.asarray(state[join(path, name)], np.float32) for name in ("mean", "scale"))
    return (x.astype(np.float32) - mean) / scale
