"""`load`: whatever a person has, a name, a file, a folder, a table or arrays, becomes a `Dataset`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pellucid.data.builtin import BUILTIN, builtin
from pellucid.data.dataset import Dataset, frame_like, is_texts
from pellucid.data.idx import find_idx, read_idx, read_idx_folder
from pellucid.data.image_cache import Progress
from pellucid.data.image_files import is_image
from pellucid.data.images import image_folder, load_images, unlabelled
from pellucid.data.mapped import open_npy
from pellucid.data.npy_folders import npy_folder
from pellucid.data.reading import Reading
from pellucid.data.sequences import Sequences
from pellucid.data.stream import streamed
from pellucid.data.text import is_text_file, read_text, text_folder
from pellucid.errors import DataError, SettingError

TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
KINDS = (
    "a built-in set, a table (.csv, .tsv, .parquet, .jsonl), a text (.txt), an .npz file, a folder of IDX files, of "
    "Parquet files, of x.npy and y.npy, or of class folders with images"
)


def load(
    source: Any,
    *,
    target: str | list[str] | tuple[str, ...] | Literal[False] | None = None,
    task: str | None = None,
    group: Any = None,
    time: Any = None,
    weight: Any = None,
    validation: Any = None,
    test: Any = None,
    text: str | None = None,
    sequences: bool = False,
    window: int | None = None,
    each_step: bool = False,
    image_size: int | tuple[int, int] | list[int] | None = None,
    skip_bad: bool = False,
    image_shape: tuple[int, ...] | None = None,
    stream: bool | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Any source of examples as a `Dataset`: raw, nothing fitted, nothing split.

    `source` is a built-in set's name (`datasets` lists them), a path (CSV, TSV, Parquet, JSON-lines, `.npz`, a folder
    of IDX files), a pandas, polars or Arrow table, or the pair `(x, y)`. `target` names the column to predict, or
    several; without it a column called target, label, class, y or species, or else the last one, is taken and said.
    `target=False` reads rows to predict: all columns are features. `group`, `time` and `weight` name a column (or a
    key of the `.npz`), or give one value for each row. `validation` and `test` are sources of the same kind.

    A text file, or a folder of them, is for a language model. `text` names the column of a table that is read as text;
    `task="pairs"` takes a table of two columns of text, the second to be written from the first. With `sequences` the
    rows of a `group` are the steps of one example, in order of `time` (with `each_step` each of them has a target of
    its own, otherwise the last one known is the sequence's); with `window` so many rows of one long series
    are, and the target of the row behind them is to be foretold.

    A folder of class folders holds images; `image_size` (one number, or height and width) is what they are brought to,
    `skip_bad` leaves out those that cannot be read, and `progress(done, total)` is called while they are decoded. With
    `target=False`, an image or a folder of them is brought to `image_shape`, that of the network.

    With `stream` examples stay on disk and are read as they are needed: of Parquet files, memory maps (`x.npy` and
    `y.npy` in a folder, an `.npz` of `np.savez`, `np.load(path, mmap_mode="r")`) and folders of images. None: where
    they would take more than half of the available memory. `say` is told what is about to be written for it.

    Raises `DataError` where something is missing or unreadable.

    >>> load("iris").y[0]
    'setosa'
    >>> load({"a": [1, 2, 3], "kind": ["x", "y", "x"]}, target="kind").feature_names
    ('a',)
    """
    columns = {"group": group, "time": time, "weight": weight}
    reading = Reading(
        text, sequences, window, each_step, task, image_size, skip_bad, image_shape, progress, stream, say
    )
    data = _load(source, target, columns, reading)
    _check_reading(data, reading)
    if task is not None:
        data = replace(data, task=task)
    own = {}
    if is_texts(data.x) and data.feature_names and task != "pairs":
        reading = replace(reading, text=data.feature_names[0])
    for part, given in (("validation", validation), ("test", test)):
        if given is not None:
            names = data.target if target is None and data.target and task != "pairs" else target
            roles = {"group": group, "time": time} if isinstance(data.x, Sequences) else {"group": None, "time": None}
            own[part] = _load(given, names, {**roles, "weight": _if_column(weight)}, reading, part)
    return streamed(replace(data, **own) if own else data, stream)


def _if_column(weight: Any) -> Any:
    return weight if isinstance(weight, str) else None


def _check_reading(data: Dataset, reading: Reading) -> None:
    """What says how to read a table must not be lost on something else."""
    named = is_texts(data.x) and data.feature_names == (reading.text,)
    cut = isinstance(data.x, Sequences)
    windowed = reading.window is not None
    for name, given, fine in (
        ("text", reading.text, named), ("sequences", reading.sequences, cut), ("window", windowed, cut),
        ("each_step", reading.each_step, cut),
    ):  # fmt: skip
        if given and not fine:
            raise SettingError(
                f"{name} says how a table is read, but {data.name!r} is none", where=name, fix=f"leave {name} out"
            )


def _load(source: Any, target: Any, columns: dict[str, Any], reading: Reading, part: str | None = None) -> Dataset:
    if isinstance(source, Dataset):
        return _with_columns(source, columns)
    if isinstance(source, str | os.PathLike):
        if isinstance(source, str) and source in BUILTIN:
            data = builtin(source)
            _refuse_target(target if part is None else None, data)
            return _with_columns(data, columns)
        return _from_path(Path(source).expanduser(), target, columns, reading)
    if isinstance(source, tuple) and len(source) == 2:
        return _with_columns(_from_pair(*source, name=part or "data"), columns)
    if isinstance(source, dict) or frame_like(source):
        from pellucid.data.frames import as_table
        from pellucid.data.from_table import from_table

        return from_table(as_table(source), target, columns, name=part or "table", reading=reading)
    if target is False or hasattr(source, "shape"):
        return _with_columns(Dataset(source, name=part or "data"), columns)
    raise DataError(
        "this is no source of data", where="source", expected=f"{KINDS}, a table object, or (x, y)", got=type(source)
    )


def _from_pair(x: Any, y: Any, name: str) -> Dataset:
    columns = None
    if frame_like(y) and hasattr(y, "columns"):
        columns = tuple(str(c) for c in (getattr(y, "column_names", None) or y.columns))
    elif frame_like(y) and isinstance(getattr(y, "name", None), str) and y.name:
        columns = (y.name,)
    return Dataset(x, y, name=name, target=columns)


def _from_path(path: Path, target: Any, columns: dict[str, Any], reading: Reading) -> Dataset:
    if not path.exists():
        raise _no_such_file(path)
    suffix = next((s for s in reversed([s.lower() for s in path.suffixes]) if s != ".gz"), "")
    name = path.name.split(".")[0] or path.name
    if path.is_dir():
        return _from_folder(path, suffix, target, columns, reading)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=path, expected="data", got="0 bytes")
    if is_image(path.name) and target is False:
        return unlabelled(path, reading.image_shape)
    if reading.task == "pairs" and (is_text_file(path) or suffix in TABLES[:3]):
        from pellucid.data.pairs import load_pairs

        if (found := load_pairs(path, name, target, reading.text)) is not None:
            return _with_columns(found, columns)
    if is_text_file(path):
        return _from_text([read_text(path)], name, path, target, columns)
    if suffix in PARQUET:
        return _from_parquet(path, (path,), name, target, columns, reading)
    if suffix in TABLES:
        from pellucid.data.from_table import from_table
        from pellucid.data.tables import read_table

        table, notes = read_table(path)
        return from_table(table, target, columns, name=name, source=str(path), notes=notes, reading=reading)
    if suffix == ".npz":
        from pellucid.data.arrays import read_npz

        return _from_parts(read_npz(path, whole=reading.stream is False), name, path, target, columns)
    if suffix == ".npy" and target is False:
        return Dataset(open_npy(path), name=name, source=str(path))
    if "ubyte" in path.name or suffix == ".idx":
        if target is False:
            return Dataset(read_idx(path), name=name, source=str(path))
        raise DataError(
            "one IDX file holds images or labels, not both", where=path, fix=f"give its folder: {path.parent}"
        )
    raise DataError(
        "the kind of file is not known",
        where=path,
        expected=KINDS,
        got=f"the suffix {suffix!r}" if suffix else "no suffix",
        fix="export the sheet as CSV" if suffix in (".xls", ".xlsx", ".ods") else "rename or convert it",
    )


def _from_parquet(
    path: Path, files: tuple[Path, ...], name: str, target: Any, columns: dict[str, Any], reading: Reading
) -> Dataset:
    from pellucid.data.from_table import from_table
    from pellucid.data.parquet_sets import read_parquet

    table, notes = read_parquet(path, files, target, reading)
    return from_table(table, target, columns, name=name, source=str(path), notes=notes, reading=reading)


def _parquet_files(folder: Path) -> tuple[Path, ...]:
    """The Parquet files of a folder, by name, if it holds no other (hidden ones and marks such as _SUCCESS aside)."""
    found = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
    return tuple(found) if all(p.is_file() and p.suffix.lower() in PARQUET for p in found) else ()


def _from_folder(path: Path, suffix: str, target: Any, columns: dict[str, Any], reading: Reading) -> Dataset:
    if files := _parquet_files(path):
        return _from_parquet(path, files, path.resolve().name, target, columns, reading)
    if suffix in (*TABLES, ".npz"):
        raise DataError("this is a folder, not a file", where=path, expected=f"a {suffix} file", got="a folder")
    if texts := text_folder(path):
        return _from_text([read_text(file) for file in texts], path.resolve().name, path, target, columns)
    if arrays := npy_folder(path):
        return _from_parts(arrays, path.resolve().name, path, target, columns)
    if not find_idx(path) and image_folder(path):
        if target is False:
            return unlabelled(path, reading.image_shape)
        if target is not None:
            raise SettingError("the classes of images are their folders' names", where="target", got=repr(target))
        data = load_images(path, size=reading.image_size, skip_bad=reading.skip_bad, progress=reading.progress)
        return _with_columns(data, columns)
    if not find_idx(path):
        inside = sorted(p.name for p in path.iterdir())
        raise DataError(
            "the folder holds no data that can be read",
            where=path,
            expected="a folder for each class, with images in it; or texts; or IDX files (train-images-idx3-ubyte.gz, "
            "train-labels-idx1-ubyte.gz)",
            got=", ".join(inside[:6]) + (f", ... ({len(inside)} in all)" if len(inside) > 6 else "")
            or "an empty folder",
            fix="to read a table, give the file itself",
        )
    return _from_parts(read_idx_folder(path), path.resolve().name, path, target, columns)


def _from_text(texts: list[str], name: str, path: Path, target: Any, columns: dict[str, Any]) -> Dataset:
    """Texts for a language model, one behind the other."""
    if target not in (None, False):
        raise SettingError(
            "a text has no target column", where="target", got=repr(target),
            fix="leave target out: what is learned is the next token",
        )  # fmt: skip
    return _with_columns(Dataset(texts, name=name, source=str(path), task="language"), columns)


def _from_parts(parts: dict[str, dict[str, np.ndarray]], name: str, path: Path, target: Any, columns: dict) -> Dataset:
    """A set whose file brings its parts: {"": {"x", "y"}, "test": {"x", "y"}}."""
    made = {}
    names = ("label",) if path.is_dir() and find_idx(path) else ("y",)
    for part, fields in parts.items():
        if "y" not in fields and target is not False:
            raise DataError(
                "the features have no targets", where=path, expected="y beside x", got=", ".join(fields),
                fix="to predict, give the features to `pellucid predict`",
            )  # fmt: skip
        fields: dict[str, Any] = {k: v for k, v in fields.items() if k in ("x", "y")} | {
            k: fields[v if isinstance(v, str) else k]
            for k, v in columns.items()
            if (v if isinstance(v, str) else k) in fields and (v is not None or k == "weight")
        }
        x, y = fields.pop("x"), fields.pop("y", None)
        if isinstance(x, np.memmap) and x.ndim == 1:
            x = np.array(x)  # texts, or what is no set of features
        made[part] = Dataset(x, y, name=part or name, source=str(path), target=names, **fields)
    data = replace(made[""], validation=made.get("validation"), test=made.get("test"))
    if target not in (None, False):
        _refuse_target(target, data)
    return _with_columns(data, {k: v for k, v in columns.items() if not isinstance(v, str) or v not in parts[""]})


def _with_columns(data: Dataset, columns: dict[str, Any]) -> Dataset:
    """Attach group, time and weight given as values; a column's name makes sense for tables only."""
    for role, given in columns.items():
        if isinstance(given, str):
            raise SettingError(
                f"{role} names a column, but {data.name!r} is no table",
                where=role,
                expected="one value for each row",
                got=repr(given),
            )
    given = {role: values for role, values in columns.items() if values is not None}
    return replace(data, **given) if given else data


def _refuse_target(target: Any, data: Dataset) -> None:
    names = data.target or ()
    if target not in (None, False) and tuple(target if isinstance(target, tuple | list) else (target,)) != tuple(names):
        raise SettingError(
            f"{data.name!r} brings its own target",
            where="target",
            got=repr(target),
            fix="leave target out",
        )


def _no_such_file(path: Path) -> DataError:
    near: list[str] = []
    folder = path.parent
    if folder.is_dir():
        near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], n=3, cutoff=0.6)
    builtins = difflib.get_close_matches(str(path), list(BUILTIN), n=1, cutoff=0.6)
    fixes = [f"did you mean {' or '.join(repr(str(folder / n)) for n in near)}?"] if near else []
    if builtins:
        fixes.append(f"the built-in set {builtins[0]!r} has a similar name")
    if not folder.is_dir():
        fixes.append(f"the folder {str(folder)!r} does not exist either")
    return DataError(
        "no such file or built-in set",
        where=path,
        expected=KINDS,
        got="nothing under this name",
        fix="; ".join(fixes) or "check the path, or list the built-in sets with `pellucid datasets`",
    )
