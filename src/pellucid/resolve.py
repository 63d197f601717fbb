"""From a recipe, which may leave almost everything open, to settings that leave nothing open.

Where the defaults come from (measured: docs/results.md): AdamW at 1e-3 with a cosine schedule over the whole budget
takes dense networks past constant-rate Adam without a knob turned. Its weight decay shrinks weights by the same share
in all, exp(-rate * decay * updates / 2) under a cosine, however long the run: the decay is DECAY / (rate * updates)
(Wang & Aitchison 2024 argue for this scale). Budgets count updates, so that small sets get enough epochs and large ones
not too many.
"""

import dataclasses
import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import msgspec

import pellucid.network.catalogue  # noqa: F401  (a recipe may name any architecture)
from pellucid.data import Features, Prepared, Targets
from pellucid.data.lazy import OnDisk
from pellucid.data.split import DEFAULT
from pellucid.data.stream import available
from pellucid.data.token_encoder import CONTEXT, TokenEncoder
from pellucid.errors import NetworkError, SettingError, nearest
from pellucid.network.adapt import adapt, arriving, introduced
from pellucid.network.architecture import Architecture, Blueprint, find
from pellucid.network.change import changeable, changed
from pellucid.network.composite import replace_layers, walk
from pellucid.network.dense import Dropout, Output, resolve_output
from pellucid.network.layer import Layer, flatten, nest
from pellucid.network.network import Network, as_network
from pellucid.recipe import DataRecipe, Recipe
from pellucid.train import mesh as meshes
from pellucid.train.augment import parse_augmentations
from pellucid.train.fitting import MOST
from pellucid.train.loop import Settings, batches
from pellucid.train.loss import Loss
from pellucid.train.losses import CrossEntropy, Joint
from pellucid.train.metrics import Metric
from pellucid.train.optimizers import Optimizer
from pellucid.train.program import under
from pellucid.train.schedules import Schedule

UPDATES = 2_500  # the least budget of a small set
EPOCHS = (10, 500)  # bounds on the default budget in epochs
PATIENCE = (10, 1_000)  # epochs, and updates, without a better validation score: the longer of both
SMOOTHING = 0.05  # of the labels of a single column of classes, while training; scores are told without it
DECAY = 3.0
MOST_DECAY = 0.01  # of a weight in one update, for budgets so short that the rule would overshoot
# where the multi-layer perceptron, the default, cannot read what arrives, or loses its order
DEFAULT_NETWORKS = {"text": "lstm:256", "pairs": "seq2seq", "sequence": "gru", "image": "cnn"}
SMALL_IMAGE = 16  # below it, and for grey images of bytes on two axes, the perceptron is good enough and far faster
LIVE = ("network", "loss", "metric", "optimizer")  # settings that may be objects without a written form


def split_live(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings in their written form, objects that have none). A spec has one: its JSON."""
    written, live = {}, {}
    for key, value in settings.items():
        if isinstance(value, Layer | Network):
            live[key] = value
        elif isinstance(value, Loss | Metric | Optimizer | Schedule | Architecture):
            (written if value.name in type(value).registry else live)[key] = (
                value.to_json() if value.name in type(value).registry else value
            )
        elif isinstance(value, type) or callable(value) or (isinstance(value, tuple) and hasattr(value, "update")):
            live[key] = value
        else:
            written[key] = str(value) if isinstance(value, Path) else value
    for key in live:
        if key not in LIVE:
            raise SettingError(f"{key!r} cannot be an object", expected="its name or its settings", got=repr(live[key]))
    return written, live


def suggested(recipe: Recipe, features: Features, targets: Targets) -> Recipe:
    """The recipe with a network that can read such data, and what that suggests, where the user said nothing."""
    network = recipe.network
    if network.spec is None and network.start is None:
        kind = "text" if targets.task == "language" else arriving(features, targets).kind
        plain = kind == "image" and min(features.shape[:2]) < SMALL_IMAGE
        plain |= kind == "sequence" and features.dtype == "uint8"
        spec = "mlp" if plain else DEFAULT_NETWORKS.get(kind, "mlp")
        recipe = msgspec.structs.replace(recipe, network=msgspec.structs.replace(network, spec=spec))
    architecture = _architecture(recipe)
    if architecture is None:
        return recipe
    train = recipe.train
    for key, value in architecture.suggests().items():
        if getattr(train, key) is None:
            train = msgspec.structs.replace(train, **{key: value})
    return msgspec.structs.replace(recipe, train=train)


def _architecture(recipe: Recipe) -> Architecture | None:
    spec = recipe.network.spec
    if spec is None:
        spec = "mlp"
    if isinstance(spec, str) and (".py:" in spec or spec.endswith(".json")):
        return None
    if isinstance(spec, Mapping) and spec.get("type") not in Architecture.registry:
        return None
    architecture = find(spec) if isinstance(spec, str) else Architecture.from_json(spec)
    made = changed(Blueprint(architecture), 0, recipe.network.activation, recipe.network.initial)
    assert isinstance(made, Blueprint)
    return made.architecture


def of_network(recipe: Recipe, given: Any, network: Network) -> dict[str, Any]:
    """What the doctor has to know of a network to say how it could be changed: its architecture's JSON, where it is one
    with a name, the names of what can be set of it, and the largest share that dropout takes away."""
    layer = given.layer if isinstance(given, Network) else given
    if isinstance(layer, Blueprint):
        layer = changed(layer, 0, recipe.network.activation, recipe.network.initial)
    architecture = layer.architecture if isinstance(layer, Blueprint) else None
    architecture = _architecture(recipe) if given is None else architecture
    rates = [part.rate for _, part in walk(network.layer) if isinstance(part, Dropout)]
    told: dict[str, Any] = {"dropout": max(rates, default=0.0)}
    if architecture is not None and architecture.name in Architecture.registry:
        told["architecture"] = architecture.to_json()
        told["settings"] = [f.name for f in dataclasses.fields(architecture)]  # pyright: ignore[reportArgumentType]
    elif changeable(network.layer):
        told["settings"] = ["activation", "initial", "output"]
    return told


def network_of(recipe: Recipe, live: Any, features: Features, targets: Targets, folder: Path | None) -> Network:
    """The network that the recipe or a live object names, its open ends filled in by the data; not yet initialised
    unless the live one was."""
    if live is not None:
        network = _changed(as_network(live), recipe, targets)
    elif (architecture := _architecture(recipe)) is not None:
        network = Network(Blueprint(architecture))
    else:
        network = _changed(as_network(_written_network(recipe.network.spec, folder)), recipe, targets)
    if network.params is not None and network.features is None:
        return introduced(network, features, targets)
    if network.params is not None:
        return network.replace(targets=network.targets or targets)
    return network.replace(layer=adapt(network.layer, features, targets), features=features, targets=targets)


def _changed(network: Network, recipe: Recipe, targets: Targets) -> Network:
    """The network with what the recipe asks of its activation, initial weights and output. It begins anew where that is
    another network; what a run goes on from (`start`) stays as it is."""
    n = recipe.network
    words = {k: v for k in ("activation", "initial", "output") if (v := getattr(n, k)) is not None}
    if not words or n.start is not None:
        return network
    layer = changed(network.layer, targets.width, **words)
    return network if layer == network.layer else network.replace(layer=layer, params=None, state=None)


def carried_over(start: Network, targets: Targets, seed: int) -> Network:
    """A trained network, ready to be trained on; for other targets than its own, with a fresh output layer."""
    if start.targets == targets:
        return start
    opened = replace_layers(
        start.layer, lambda part: dataclasses.replace(part, width=None) if isinstance(part, Output) else part
    )
    network = start.replace(layer=resolve_output(opened, targets.width), targets=targets)
    fresh = network.initialised(jax.random.key(seed), network.example())

    outputs = [path for path, part in walk(network.layer) if isinstance(part, Output)]

    def keep(old: Any, new: Any) -> Any:
        old, new = flatten(old or {}), flatten(new or {})
        return nest({k: v if any(under(k, o) for o in outputs) else old[k] for k, v in new.items()})

    return fresh.replace(params=keep(start.params, fresh.params), state=keep(start.state, fresh.state))


def _written_network(spec: Any, folder: Path | None) -> Any:
    if isinstance(spec, str) and ".py:" in spec:
        return load_python(spec)
    if isinstance(spec, str) and folder is not None:
        from pellucid.network.storage import read_structure

        return read_structure(folder / spec)[0].layer
    if isinstance(spec, str):
        raise SettingError("this network file needs the run folder it lies in", got=spec)
    return Layer.of(spec)


def load_python(spec: str) -> Any:
    """The object NAME of `FILE.py:NAME`: a Layer, a Network, or a function that gives one. Runs that file's code."""
    file, _, name = spec.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise SettingError("there is no such Python file", where=path, expected="FILE.py:NAME")
    module_spec = importlib.util.spec_from_file_location(f"pellucid_user_{path.stem}", path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise NetworkError("the Python file fails", where=path, got=f"{type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        names = [n for n, v in vars(module).items() if isinstance(v, Layer | Network) or callable(v)]
        raise SettingError(f"the Python file has no {name!r}", where=path, fix=nearest(name, names))
    found = getattr(module, name)
    found = found() if callable(found) and not isinstance(found, Layer | Network) else found
    if not isinstance(found, Layer | Network):
        raise NetworkError("this is no network", where=spec, expected="a Layer or a Network", got=type(found).__name__)
    return found


def settings_of(recipe: Recipe, live: Mapping[str, Any], targets: Targets, rows: int) -> tuple[Settings, list[str]]:
    """All settings of the loop, and what a person should be told of how they came about."""
    t, notes = recipe.train, []
    text = targets.task == "language"
    loss = _loss(live.get("loss", t.loss), targets, 0.0 if t.plain or targets.each_step else SMOOTHING)
    metric = _metric(live.get("metric", t.metric), targets)
    given = live.get("optimizer") or t.optimizer
    optimizer = Optimizer.of(given or ("adam" if t.plain else "adamw"))
    if isinstance(t.learning_rate, float):
        optimizer = dataclasses.replace(optimizer, learning_rate=t.learning_rate)
    batch = t.batch_size if t.batch_size is not None else optimizer.default_batch
    if isinstance(batch, int) and batch > rows and t.batch_size is not None:
        notes.append(f"the batch of {batch} is clipped to the {rows} training rows")
    batch = MOST if batch == "auto" else batch  # bounds the search for what fits into memory
    batch, used = batches(rows, rows if batch == "all" else int(batch), text)
    mesh = meshes.build(t.mesh)
    shards = meshes.shards_of(mesh, t.shards)
    meshes.check_batch(batch, used, shards)
    per_epoch = -(-used // batch)
    updates = _budget(recipe, optimizer, per_epoch)
    fresh = recipe.network.start is None  # what was learned before is not to be shrunk away
    if given is None and fresh and not t.plain and optimizer.learning_rate:
        decay = float(f"{min(DECAY / updates, MOST_DECAY) / optimizer.learning_rate:.4g}")
        optimizer = dataclasses.replace(optimizer, weight_decay=decay)
    patience = t.patience
    if patience is None and not t.plain:
        patience = max(PATIENCE[0], math.ceil(PATIENCE[1] / per_epoch))
    keep = t.keep or ("last" if t.plain else "best")
    settings = Settings(
        loss=loss, metric=metric, optimizer=optimizer,
        schedule=Schedule.of(t.schedule or ("constant" if t.plain else "cosine")), batch_size=batch, updates=updates,
        patience=patience, monitor=t.monitor or "loss", keep=keep, seed=t.seed, frozen=tuple(t.freeze),
        rates=tuple(sorted(t.rates.items())), signals=t.signals, text=text,
        augment=parse_augmentations(t.augment), shuffle=t.shuffle or "rows", mesh=mesh, shards=shards,
        precision=t.precision or "float32", accumulate=t.accumulate or 1, remat=t.remat or "none",
    )  # fmt: skip
    return settings, notes


def _budget(recipe: Recipe, optimizer: Optimizer, per_epoch: int) -> int:
    if recipe.train.steps is not None:
        return recipe.train.steps
    if recipe.train.epochs is not None:
        return recipe.train.epochs * per_epoch
    if recipe.train.batch_size == "all" or (recipe.train.batch_size is None and optimizer.default_batch == "all"):
        return optimizer.default_updates  # one update an epoch: a budget in epochs would make it look broken
    low, high = EPOCHS
    return min(max(math.ceil(UPDATES / per_epoch), low), high) * per_epoch


def yardsticks(recipe: Recipe, targets: Targets) -> tuple[Loss, Metric | None]:
    """What a run is scored by; where its own loss or metric was a Python function, what is usual for its targets."""

    def written(value: Any) -> Any:
        return None if isinstance(value, str) and value.startswith("(a Python object") else value

    smoothing = 0.0 if recipe.train.plain or targets.each_step else SMOOTHING
    return _loss(written(recipe.train.loss), targets, smoothing), _metric(written(recipe.train.metric), targets)


def _loss(given: Any, targets: Targets, smoothing: float) -> Loss:
    if given is not None and given != "joint":
        return Loss.of(given)
    if targets.loss == "cross_entropy":
        return CrossEntropy(label_smoothing=smoothing)
    if targets.loss != "joint":
        return Loss.of(targets.loss)
    names = {"class": "cross_entropy", "number": "mean_squared_error", "binary": "binary_cross_entropy"}
    return Joint(tuple((Loss.of(names[c.kind]), c.start, c.stop) for c in targets.columns))


def _metric(given: Any, targets: Targets) -> Metric | None:
    name = given if given is not None else targets.metric
    return None if name == "loss" else Metric.of(name)


def written(recipe: Recipe, settings: Settings, network: Network, fingerprint: str, rows: int) -> Recipe:
    """The recipe with its defaults resolved. What has no written form marks it as not reproducible from it alone."""
    from pellucid.recipe import versions

    whole = all(part.reproducible for _, part in walk(network.layer))

    def form(value: Any) -> Any:
        nonlocal whole
        if value is None:
            return "loss"
        if value.name not in type(value).registry:
            whole = False
            return f"(a Python object: {value.name})"
        return value.to_json(full=True)

    spec = recipe.network.spec
    if spec is None or (isinstance(spec, str) and spec.endswith(".json")):
        spec = "network.json"
    per_epoch = -(-batches(rows, settings.batch_size, settings.text)[1] // settings.batch_size)
    epochs, rest = divmod(settings.updates, per_epoch)
    train = msgspec.structs.replace(
        recipe.train, loss=form(settings.loss), metric=form(settings.metric), optimizer=form(settings.optimizer),
        learning_rate=None, schedule=form(settings.schedule), batch_size=settings.batch_size,
        epochs=None if rest else epochs, steps=settings.updates if rest else None, patience=settings.patience,
        monitor=settings.monitor, keep=settings.keep, mesh=settings.mesh and meshes.written(settings.mesh),
        shards=settings.shards if settings.shards > 1 else None,
    )  # fmt: skip
    return msgspec.structs.replace(
        recipe,
        data=msgspec.structs.replace(recipe.data, fingerprint=fingerprint),
        network=msgspec.structs.replace(recipe.network, spec=spec),
        train=train,
        versions=versions(),
        reproducible=whole and recipe.reproducible,
    )


def compared(recipe: Recipe, network: Network, fingerprint: str) -> dict[str, Any]:
    """What processes that train together must have alike; where a file lies may differ from host to host."""
    from pellucid.recipe import versions

    told, known = msgspec.to_builtins(recipe), versions()
    places = ("source", "validation", "test")
    data = {key: value for key, value in told["data"].items() if key not in places}
    return {
        "data": {**data, "fingerprint": fingerprint}, "network": str(network.layer.to_json()), "train": told["train"],
        "versions": {key: known[key] for key in ("pellucid", "jax", "jaxlib", "optax", "numpy")},
    }  # fmt: skip


def data_words(data: DataRecipe, features: Features) -> dict[str, Any]:
    """What of the data's settings was left open, as it was filled in. The shares of a text that is split by default
    depend on its length, and stay open."""
    if not isinstance(encoder := features.encoder, TokenEncoder):
        return {"split": data.split or DEFAULT}
    text = encoder.layout == "windows"
    context = data.context or (encoder.steps if text else CONTEXT)
    kind = encoder.tokenizer.kind  # byte pairs are no default, but may come from the run that this one started from
    tokens = data.tokens or (kind if kind in ("characters", "words") else None)
    return {"split": data.split or (None if text else DEFAULT), "context": context, "tokens": tokens}


def ordered(recipe: Recipe, prepared: Prepared) -> Recipe:
    """The recipe with what streaming leaves to be said: that examples stay on disk, and how their rows are shuffled:
    by blocks where the system has no memory left to keep the file in, for then each row is a request to the disk."""
    x = prepared.train.x
    if not isinstance(x, OnDisk):
        return recipe
    how = recipe.train.shuffle or ("blocks" if x.nbytes > available() else "rows")
    return msgspec.structs.replace(
        recipe, data=msgspec.structs.replace(recipe.data, stream=True),
        train=msgspec.structs.replace(recipe.train, shuffle=how),
    )  # fmt: skip


def check_paths(network: Network, settings: Settings) -> None:
    """Frozen paths and groups must name weights that are there, and something must be left to train."""
    paths = list(flatten(network.params or {}))
    for prefix in (*settings.frozen, *(group for group, _ in settings.rates)):
        if not any(under(path, prefix) for path in paths):
            raise SettingError(f"the network has no weights under {prefix!r}", fix=nearest(prefix, _prefixes(paths)))
    if paths and all(any(under(path, prefix) for prefix in settings.frozen) for path in paths):
        raise SettingError("every weight is frozen, so nothing can be learned", got=", ".join(settings.frozen))


def _prefixes(paths: list[str]) -> list[str]:
    return list(dict.fromkeys("/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 2)))
