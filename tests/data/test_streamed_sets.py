"""A set that stays on disk is split, fitted and encoded to the very numbers that it has in memory."""

import os
import shutil
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pellucid.data import Dataset, encode, lazy, load, prepare, stream, table_cache
from pellucid.data.lazy import Rows
from pellucid.errors import DataError, ResourceError, SettingError

N = 900


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def generator():
    return np.random.default_rng(3)


def same(one, other):
    """Equal splits, numbers, fitted preprocessing, notes and fingerprints."""
    for part in ("train", "validation", "test"):
        a, b = getattr(one, part), getattr(other, part)
        assert isinstance(b.x, Rows) and not isinstance(a.x, Rows)
        assert b.x.shape == a.x.shape and b.x.dtype == a.x.dtype
        np.testing.assert_array_equal(a.x, b.x[:])
        np.testing.assert_array_equal(a.y, b.y)
        np.testing.assert_array_equal(a.rows, b.rows)
        assert (a.weight is None) == (b.weight is None)
        if a.weight is not None:
            np.testing.assert_array_equal(a.weight, b.weight)
    assert one.features.to_json() == other.features.to_json()
    assert one.targets == other.targets
    assert one.fingerprint == other.fingerprint
    told = [note for note in other.notes if "stay on disk" in note]
    assert len(told) == 1 and one.notes == [note for note in other.notes if note not in told]


def gaps(x, share=0.03):
    x[:, :3][generator().random((len(x), 3)) < share] = np.nan
    return x


def far(x):
    return x * np.array([1.0, 1e-40, 1e33, 1.0]) + np.array([1e9, 0, 0, 0])


def padded():
    x = generator().normal(size=(N, 5, 2)).astype(np.float32)
    for row, length in enumerate(generator().integers(1, 6, N)):
        x[row, length:] = np.nan
    return x


ARRAYS = {
    "float32": lambda: generator().normal(size=(N, 4)).astype(np.float32),
    "float64": lambda: generator().normal(size=(N, 4)) * [1, 2, 3, 0] + 5,
    "gaps": lambda: gaps(generator().normal(size=(N, 6))),
    "float32 gaps": lambda: gaps(generator().normal(size=(N, 6)).astype(np.float32)),
    "whole numbers": lambda: generator().integers(-5, 900, (N, 4)),
    "bytes": lambda: generator().integers(0, 256, (N, 6, 5, 3)).astype(np.uint8),
    "sequences": padded,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind, tmp_path):
    x, y = ARRAYS[kind](), generator().choice(["a", "b", "c"], N)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "weight.npy", generator().random(N))
    one, other = (prepare(load(tmp_path, stream=asked), seed=4) for asked in (False, True))
    same(one, other)
    np.testing.assert_array_equal(prepare(load((x, y)), seed=4).train.x, other.train.x[:])


def test_numbers_that_float32_cannot_hold_agree_within_rounding(tmp_path):
    """Offsets are sums in another order, so the last bit may differ."""
    np.savez(tmp_path / "d.npz", x=far(generator().normal(size=(N, 4))), y=generator().integers(0, 2, N))
    one, other = (prepare(load(tmp_path / "d.npz", stream=asked)) for asked in (False, True))
    np.testing.assert_allclose(one.train.x, other.train.x[:], rtol=1e-6, atol=1e-6)
    assert one.fingerprint == other.fingerprint


def test_own_parts_of_a_folder_of_arrays(tmp_path):
    for part, rows in (("train", 300), ("val", 100), ("test", 80)):
        np.save(tmp_path / f"x_{part}.npy", generator().normal(size=(rows, 3)))
        np.save(tmp_path / f"y_{part}.npy", np.arange(rows) % 2)
    one, other = (prepare(load(tmp_path, stream=asked)) for asked in (False, True))
    same(one, other)
    assert [len(part) for part in (other.train, other.validation, other.test)] == [300, 100, 80]


def test_missing_targets_and_gaps_outside_the_training_rows(tmp_path):
    x, y = generator().normal(size=(N, 2)), generator().normal(size=N)
    y[::7] = np.nan
    data = Dataset(x, y)
    held = prepare(data).test.rows[0]
    x[held, 0] = np.nan
    np.savez(tmp_path / "d.npz", x=x, y=y)
    one, other = (prepare(load(tmp_path / "d.npz", stream=asked)) for asked in (False, True))
    np.testing.assert_array_equal(one.test.x, other.test.x[:])
    assert any("1 values of the held-out parts" in note for note in other.notes)


def table(rows=N):
    g = generator()
    frame = pl.DataFrame({
        "id": np.arange(rows), "a": gaps(g.normal(size=(rows, 3)))[:, 0], "b": g.normal(size=rows).astype(np.float32),
        "kind": g.choice(["u", "v", "w"], rows), "flag": g.random(rows) < 0.3, "big": 1e9 + g.normal(size=rows),
        "day": [date(2020, 1, 1) + timedelta(days=int(k)) for k in g.integers(0, 900, rows)], "one": np.ones(rows),
        "many": g.choice([f"k{i}" for i in range(80)], rows), "price": g.normal(size=rows),
        "label": g.choice(["yes", "no", None], rows, p=[0.6, 0.35, 0.05]),
    })  # fmt: skip
    return frame.with_columns(pl.when(pl.col("b") > 1.5).then(None).otherwise(pl.col("kind")).alias("kind"))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    for i in range(3):
        table()[i * 300 : (i + 1) * 300].write_parquet(place / f"part{i}.parquet", row_group_size=90)
    (place / "_SUCCESS").touch()
    return place


@pytest.mark.parametrize(
    "words",
    [
        {"target": "label"}, {"target": "price"}, {"target": ["price", "label"]},
        {"target": "label", "group": "many"}, {"target": "price", "time": "day", "weight": "big"},
    ],
    ids=str,
)  # fmt: skip
def test_parquet(words, folder, tmp_path):
    one, other = (prepare(load(folder, stream=asked, **words), seed=2) for asked in (False, True))
    same(one, other)
    table().write_parquet(tmp_path / "one.parquet")
    assert prepare(load(tmp_path / "one.parquet", **words)).fingerprint == other.fingerprint


def test_row_groups_too_large_to_unpack_at_once_are_read_by_columns(folder, monkeypatch):
    one = prepare(load(folder, target="price"))
    monkeypatch.setattr(table_cache, "GROUP", 2000)
    monkeypatch.setattr(table_cache, "BLOCK", 512)
    same(one, prepare(load(folder, target="price", stream=True)))


def test_own_parts_of_parquet(folder, tmp_path):
    table(200).write_parquet(tmp_path / "test.parquet")
    words = {"target": "label", "test": str(tmp_path / "test.parquet")}
    same(*(prepare(load(folder, stream=asked, **words)) for asked in (False, True)))


def cached():
    return sorted(p for p in (table_cache.files.cache_folder() / "tables").glob("[!.]*.npy"))


def test_the_encoded_rows_are_written_once_and_found_again(folder, monkeypatch):
    said = []
    words = {"target": "price", "stream": True, "say": said.append}
    frame = load(folder, **words)
    frame = frame.x.drop(["a", "big", "many"])  # their medians, means and commonest levels are those of a split
    prepare(Dataset(frame, table()["price"].to_numpy(), source="set"), seed=0)
    assert len(said) == 1 and "written once" in said[0] and "kB" in said[0]
    (path,) = cached()
    written = path.stat().st_ino
    stale = path.parent / ".999999999.1.npy"
    stale.touch()
    prepare(Dataset(frame, table()["price"].to_numpy(), source="set"), seed=1)  # another split, the same numbers
    assert cached() == [path] and path.stat().st_ino == written and len(said) == 1
    path.write_bytes(path.read_bytes()[:-50])  # damaged: written anew
    again = prepare(Dataset(frame, table()["price"].to_numpy(), source="set"), seed=1)
    assert path.stat().st_ino != written and len(said) == 2 and np.isfinite(again.train.x[:]).all()
    assert not stale.exists()
    os.utime(folder / "part1.parquet", (1, 1))  # another file of the same name
    prepare(load(folder, **words))
    assert len(cached()) == 2
    monkeypatch.setenv("PELLUCID_CACHE_GB", "1e-7")
    os.utime(folder / "part1.parquet", (2, 2))
    prepare(load(folder, **words))
    assert len(cached()) == 1


def test_a_few_rows_are_encoded_without_the_rest(folder):
    words = {"target": "price", "stream": True}
    data = load(folder, **words)
    fitted = prepare(data, seed=0)
    written = cached()
    few = encode(data.take(np.array([899, 4])), fitted.features, fitted.targets)
    whole = encode(load(folder, target="price"), fitted.features, fitted.targets)
    np.testing.assert_array_equal(few.x, whole.x[[899, 4]])
    np.testing.assert_array_equal(few.y, whole.y[[899, 4]])
    assert cached() == written


def test_no_room_on_the_disk(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(ResourceError, match=r"too little room[\s\S]*1 kB[\s\S]*XDG_CACHE_HOME"):
        prepare(load(folder, target="price", stream=True))


# -- what is damaged, or no set at all ----------------------------------------------------------------------------


def problem(*source, **words):
    with pytest.raises((DataError, SettingError)) as caught:
        prepare(load(*source, **{"target": "price", "stream": True, **words}))
    return str(caught.value)


def test_a_file_that_is_cut_off(folder):
    path = folder / "part1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut off" in (said := problem(folder)) and "part1.parquet" in said and "again" in said
    path.write_bytes(b"PAR1")
    assert "cut off" in problem(folder)
    path.write_bytes(b"hello world, hello world")
    assert "no Parquet file" in problem(folder)


def test_a_damaged_footer(folder):
    path = folder / "part1.parquet"
    data = bytearray(path.read_bytes())
    data[-60:-10] = b"\xff" * 50
    path.write_bytes(data)
    assert "part1.parquet" in (said := problem(folder)) and ("damaged at its end" in said or "cannot be read" in said)


def test_a_damaged_row_group_is_named_with_its_column(folder):
    import pyarrow.parquet as pq

    path = folder / "part1.parquet"
    column = pq.read_metadata(path).row_group(2).column(2)
    assert column.path_in_schema == "b"
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    said = problem(folder)
    assert "part1.parquet, row group 3 of 4 (rows 181 to 270), column 'b'" in said and "write the file again" in said


def test_files_that_differ_in_their_columns(folder):
    path = folder / "part2.parquet"
    table(50).with_columns(pl.col("b").cast(pl.Int64)).write_parquet(path)
    said = problem(folder)
    assert "differ in their columns" in said and "part2.parquet, column 'b'" in said
    assert "Float32, as in part0.parquet" in said and "Int64" in said
    table(50).drop("b").write_parquet(path)
    assert "no such column" in problem(folder)
    table(50).with_columns(new=pl.lit(1)).write_parquet(path)
    assert "column 'new'" in problem(folder)


def test_what_cannot_be_streamed_says_so(folder, tmp_path):
    assert "cannot be streamed" in problem("iris", target=None)
    assert "cannot be streamed" in problem((np.zeros((9, 2)), np.arange(9) % 2), target=None)
    assert "sink_parquet" in problem("iris", target=None)
    assert "the steps of sequences cannot be streamed" in problem(folder, sequences=True, group="kind")
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((9, 2)), y=np.arange(9) % 2)
    assert "an .npz of np.savez" in problem(tmp_path / "d.npz", target=None)
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "y.npy", np.zeros(3))
    assert "x.npy and y.npy" in problem(tmp_path / "arrays", target=None)


# -- when -----------------------------------------------------------------------------------------------------------


def test_it_streams_by_itself_where_memory_is_too_small(folder, tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x=np.ones((90, 2)), y=np.arange(90) % 2)
    assert isinstance(load(tmp_path / "d.npz").x, np.ndarray) and isinstance(load(folder).x, pl.DataFrame)
    monkeypatch.setattr(stream, "available", lambda: 1000.0)
    assert isinstance(load(tmp_path / "d.npz").x, Rows) and isinstance(load(folder).x, lazy.OnDisk)
    assert isinstance(load(tmp_path / "d.npz", stream=False).x, np.ndarray)
    assert isinstance(load((np.ones((90, 2)), np.arange(90))).x, np.ndarray)  # what is in memory already stays there


def test_a_memory_map_from_python(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(90, 2)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(load((mapped, np.arange(90) % 3), stream=True).x, Rows)
    assert isinstance(load(Dataset(mapped, np.arange(90) % 3), stream=True).x, Rows)
    assert isinstance(load((mapped, np.arange(90) % 3)).x, np.ndarray)


def test_memory_that_is_left():
    assert 0 < stream.available() < 1e14
