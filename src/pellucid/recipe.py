"""A whole run as data: settings <-> TOML. The words are those of the command line and of `fit`.

    [data]                       [network]                  [train]
    source = "iris.csv"          spec = "mlp:64,32"         optimizer = "adamw"
    target = "species"                                      epochs = 50

Everything has a default but the source. A run writes its recipe with the defaults resolved, the data's fingerprint and
the versions used, so that `pellucid train recipe.toml` runs it again and `pellucid verify RUN` proves it.
"""

import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomli_w

from pellucid import __version__, files
from pellucid.doctor.problems import PROBLEMS
from pellucid.errors import RunError, SettingError, nearest
from pellucid.native import cores, native

FORMAT = 1


class DataRecipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the examples come from and how they are divided."""

    source: str | None = None
    target: str | list[str] | None = None
    task: Literal["classification", "regression", "mixed", "language", "pairs"] | None = None
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    validation: str | None = None
    test: str | None = None
    split: tuple[float, float, float] | None = None  # None: 0.7, 0.15, 0.15; of a text 0.9, 0.05, 0.05
    fold: tuple[int, int] | None = None
    class_weights: str | dict[str, float] | None = None
    standardize: bool = True
    text: str | None = None
    tokens: str | None = None
    context: int | None = None
    sequences: bool = False
    window: int | None = None
    each_step: bool = False
    image_size: int | tuple[int, int] | None = None
    skip_bad: bool = False
    stream: bool | None = None  # examples stay on disk; None: where they are too many for the memory
    fingerprint: str | None = None

    def loading(self) -> dict[str, Any]:
        """What `data.load` is told beside the source."""
        names = (
            "target", "task", "group", "time", "weight", "validation", "test", "text", "sequences", "window",
            "each_step", "image_size", "skip_bad", "stream",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def preparing(self) -> dict[str, Any]:
        """What `data.prepare` is told beside the set and the seed."""
        names = ("split", "fold", "class_weights", "standardize", "context", "tokens")
        return {name: getattr(self, name) for name in names}


class NetworkRecipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is trained. `spec`: an architecture and its settings, `FILE.py:NAME`, or the `network.json` beside it."""

    spec: str | dict[str, Any] | None = None
    activation: str | None = None
    initial: str | None = None  # "auto": what suits the activation, whatever the network says
    output: Literal["auto"] | None = None  # "auto": the network ends in an output that fits the targets
    start: str | None = None  # a run whose weights it starts from (--from)


class TrainRecipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How it learns."""

    loss: str | dict[str, Any] | None = None
    metric: str | dict[str, Any] | None = None
    optimizer: str | dict[str, Any] | None = None
    learning_rate: float | Literal["auto"] | None = None
    schedule: str | dict[str, Any] | None = None
    batch_size: int | Literal["all", "auto"] | None = None
    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None
    monitor: Literal["loss", "metric"] | None = None
    keep: Literal["best", "last"] | None = None
    seed: int = 0
    freeze: list[str] = []
    rates: dict[str, float] = {}
    augment: str | list[str | dict[str, Any]] = []
    shuffle: Literal["rows", "blocks"] | None = None  # None: rows, but blocks of what the memory cannot hold
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    accumulate: int | None = None
    remat: Literal["none", "blocks"] | None = None
    mesh: str | None = None  # of several devices: "data=4", "data=2,shard=4"
    shards: int | None = None  # into which the rows are dealt; None: one for each device
    plain: bool = False
    signals: bool = True
    history: float = 64.0
    baselines: bool = True
    inspect: bool = True  # what the network has learned, for the report
    doctor: Literal["off", "hint", "full"] = "full"
    silence: list[str] = []


class Recipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """All of it."""

    format: int = FORMAT
    name: str | None = None
    data: DataRecipe = msgspec.field(default_factory=DataRecipe)
    network: NetworkRecipe = msgspec.field(default_factory=NetworkRecipe)
    train: TrainRecipe = msgspec.field(default_factory=TrainRecipe)
    versions: dict[str, str] = {}
    reproducible: bool = True


SECTIONS: dict[str, type[msgspec.Struct]] = {"data": DataRecipe, "network": NetworkRecipe, "train": TrainRecipe}


def make(settings: dict[str, Any]) -> Recipe:
    """A recipe from flat words, as `fit`, the command line and `--set` give them: `{"epochs": 5, "target": "species"}`.

    A word may name its section (`train.epochs`). None means: not given.

    >>> make({"source": "iris", "train.epochs": 5, "network": "mlp:8"}).train.epochs
    5
    """
    return override(Recipe(), settings)


def override(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """`recipe` with these flat words in place of its own. Epochs take the place of steps, and steps of epochs; the
    network seq2seq says that the task is pairs.

    >>> override(make({"source": "iris", "steps": 100}), {"epochs": 5}).train.steps is None
    True
    """
    data = to_dict(recipe)
    given = {key: value for key, value in settings.items() if value is not None}
    placed = {("", key) if key == "name" else _place(key): value for key, value in given.items()}
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if ("train", one) in placed and ("train", other) not in placed:
            data.get("train", {}).pop(other, None)
    for (section, name), value in placed.items():
        (data.setdefault(section, {}) if section else data)[name] = value
    if _writes_from_pairs(placed.get(("network", "spec"))):
        data.setdefault("data", {}).setdefault("task", "pairs")
    return from_dict(data)


def _writes_from_pairs(spec: Any) -> bool:
    """Whether a network is asked for that can do nothing else."""
    name = spec.get("type") if isinstance(spec, dict) else str(spec).partition(":")[0]
    return name == "seq2seq"


def _place(key: str) -> tuple[str, str]:
    section, _, name = key.rpartition(".")
    name = {"network": "spec", "from": "start"}.get(name, name)
    owners = [s for s, struct in SECTIONS.items() if name in struct.__struct_fields__ and section in ("", s)]
    if not owners:
        known = [n for struct in SECTIONS.values() for n in struct.__struct_fields__]
        raise SettingError(f"there is no setting {key!r}", fix=nearest(name, known))
    return owners[0], name


def from_dict(data: dict[str, Any], where: str = "settings") -> Recipe:
    """A recipe from plain values; unknown keys and wrong types are errors that say where and what was expected."""
    _check_keys(data, Recipe, where)
    for section, struct in SECTIONS.items():
        part = data.get(section, {})
        if not isinstance(part, dict):
            raise SettingError(
                "a setting has the wrong type", where=f"{where}: {section}", expected=f"a table [{section}]"
            )
        _check_keys(part, struct, f"{where}: [{section}]")
    if data.get("format", FORMAT) != FORMAT:
        raise RunError(
            "the recipe was written by another version of Pellucid", where=where, expected=f"format {FORMAT}",
            got=f"format {data['format']}", fix="use the version that [versions] names",
        )  # fmt: skip
    try:
        recipe = msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at ")
        place = place.strip("`").removeprefix("$.") or "the recipe"
        names = _choices(place)
        if names and said.startswith("Invalid enum value"):
            value = said.removeprefix("Invalid enum value ").strip("'")
            raise SettingError(
                "a setting has none of the values that it may have", where=f"{where}: {place}",
                expected=" | ".join(names), got=value, fix=nearest(value, names),
            ) from error  # fmt: skip
        raise SettingError("a setting has the wrong type", where=f"{where}: {place}", got=said) from error
    _check_ranges(recipe, where)
    return recipe


def _choices(place: str) -> list[str]:
    """The texts that a setting may be, where it is one of a few.

    >>> _choices("train.precision")
    ['float32', 'bfloat16', 'float16']
    """
    section, _, name = place.partition(".")
    kind = get_type_hints(SECTIONS[section]).get(name) if section in SECTIONS else None
    options = [kind, *get_args(kind)]  # `Literal[...] | None` too
    return [str(word) for option in options if get_origin(option) is Literal for word in get_args(option)]


def _check_keys(data: dict[str, Any], struct: type[msgspec.Struct], where: str) -> None:
    for key in data:
        if key not in struct.__struct_fields__:
            raise SettingError(f"there is no setting {key!r}", where=where, fix=nearest(key, struct.__struct_fields__))


def _check_ranges(recipe: Recipe, where: str) -> None:
    t, d = recipe.train, recipe.data
    rules = [
        ("train.epochs", t.epochs, t.epochs is None or t.epochs >= 1, "a whole number >= 1"),
        ("train.steps", t.steps, t.steps is None or t.steps >= 1, "a whole number >= 1"),
        ("train.batch_size", t.batch_size, not isinstance(t.batch_size, int) or t.batch_size >= 1, ">= 1, all, auto"),
        ("train.accumulate", t.accumulate, t.accumulate is None or t.accumulate >= 1, "a whole number >= 1"),
        ("train.patience", t.patience, t.patience is None or t.patience >= 1, "a whole number of epochs >= 1"),
        ("train.seed", t.seed, 0 <= t.seed < 2**63, "a whole number from 0 to 2^63 - 1"),
        (
            "train.learning_rate", t.learning_rate,
            not isinstance(t.learning_rate, float) or 0 <= t.learning_rate < float("inf"), "a number >= 0, or auto",
        ),
        ("data.split", d.split, all(0 <= part <= 1 for part in d.split or ()), "three shares from 0 to 1"),
        ("train.shards", t.shards, t.shards is None or t.shards >= 1, "a whole number of shards >= 1"),
        ("data.context", d.context, d.context is None or d.context >= 1, "a whole number of tokens >= 1"),
        ("data.window", d.window, d.window is None or d.window >= 1, "a whole number of rows >= 1"),
        ("data.split", d.split, not d.split or _whole(d.split), "shares that add up to 1, the first above 0"),
    ]  # fmt: skip
    for name, got, fine, expected in rules:
        if not fine:
            raise SettingError("a setting is out of range", where=f"{where}: {name}", expected=expected, got=got)
    for name in t.silence:
        if name not in PROBLEMS:
            raise SettingError(
                f"there is no problem {name!r}", where=f"{where}: train.silence", fix=nearest(name, PROBLEMS)
            )
    if t.epochs is not None and t.steps is not None:
        raise SettingError("both epochs and steps are given", where=where, expected="one of them", fix="leave one out")


def _whole(split: tuple[float, float, float]) -> bool:
    return abs(sum(split) - 1) < 1e-6 and split[0] > 0


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values, without what is not set."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if v is not None and v not in ({}, [])}
        return [clean(v) for v in value] if isinstance(value, list | tuple) else value

    return clean(msgspec.to_builtins(recipe))


def read(path: Path) -> Recipe:
    """A recipe file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingError("there is no such recipe", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError("the recipe cannot be read", where=path, got=error) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError("the recipe is not valid TOML", where=path, got=error) from error
    return from_dict(data, str(path))


def write(recipe: Recipe, path: Path) -> None:
    files.write_text(path, tomli_w.dumps(to_dict(recipe)))


def versions() -> dict[str, str]:
    """What a result may depend on: packages, Python, processor and the number of threads."""
    found = {name: metadata.version(name) for name in ("jax", "jaxlib", "optax", "numpy", "polars", "scikit-learn")}
    return {
        "pellucid": __version__, "python": platform.python_version(), **found,
        "platform": f"{sys.platform}-{platform.machine()}", "processor": _processor(), "threads": str(cores()),
        "kernels": native().isa or "plain",
    }  # fmt: skip


def _processor() -> str:
    """The CPU's model: XLA compiles for it, so bytes are comparable between equal models only."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Hardware", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
