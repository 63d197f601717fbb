"""Rows that stay on disk, beside the same rows of the array in memory."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data import lazy
from pellucid.data.lazy import Rows
from pellucid.data.mapped import open_npy, open_stored
from pellucid.data.medians import medians
from pellucid.errors import DataError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    array = np.random.default_rng(0).normal(size=(500, 3, 2)).astype(np.float32)
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, array)
    return path, array


@given(st.lists(st.integers(-400, 399), max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_array(saved, asked, small):
    path, array = saved
    before, lazy.STRETCH = lazy.STRETCH, 64 if small else lazy.STRETCH  # bytes: several threads share the work
    try:
        index = np.random.default_rng(1).permutation(500)[:400]
        rows = Rows(np.load(path, mmap_mode="r")).take(index)
        wanted = np.array(asked, int)
        np.testing.assert_array_equal(rows[wanted], array[index][wanted])
        np.testing.assert_array_equal(rows.take(wanted)[:], array[index][wanted])
    finally:
        lazy.STRETCH = before


def test_slices_single_rows_parts_of_a_map_and_other_layouts(saved, tmp_path):
    path, array = saved
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(Rows(mapped)[7:90:3], array[7:90:3])
    np.testing.assert_array_equal(Rows(mapped)[-2], array[-2])
    np.testing.assert_array_equal(Rows(mapped[100:])[[5, 3]], array[[105, 103]])
    np.testing.assert_array_equal(Rows(mapped[:, :, 0])[[5, 3]], array[[5, 3], :, 0])  # rows with holes between
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    np.testing.assert_array_equal(Rows(np.load(tmp_path / "f.npy", mmap_mode="r"))[[9, 1]], array[[9, 1]])
    changed = np.load(path, mmap_mode="c")
    changed[3] = 1.0  # in memory alone
    assert (Rows(changed)[[3]] == 1.0).all()


def test_rows_are_encoded_as_they_are_read(saved):
    path, array = saved
    rows = Rows(np.load(path, mmap_mode="r")).through(
        lambda raw: raw.reshape(-1, 6).astype(np.float64) * 2, (6,), float
    )
    assert rows.shape == (500, 6) and rows.dtype == np.float64 and rows.nbytes == 500 * 6 * 8
    np.testing.assert_array_equal(rows.take([4, 2])[:], array[[4, 2]].reshape(-1, 6).astype(np.float64) * 2)


def test_a_file_that_became_shorter_is_told_and_kills_nothing(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1000, 100), np.float32))
    rows = Rows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    os.truncate(tmp_path / "x.npy", 10_000)
    with pytest.raises(DataError, match="became shorter") as caught:
        rows[[5, 999]]
    assert "x.npy" in str(caught.value) and "400,000 bytes" in str(caught.value) and "resume" in str(caught.value)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(DataError, match="can no longer be read"):
        rows[[5]]


def test_npy_files_that_cannot_be_opened(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((10, 4)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut off[\s\S]*448 bytes[\s\S]*200 bytes"):
        open_npy(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"no \.npy file"):
        open_npy(path)
    np.save(path, np.array([{}, None], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        open_npy(path)


def test_arrays_within_an_npz_are_mapped_where_they_are_not_packed(tmp_path):
    array = np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "a.npz", y=np.zeros(3), x=array)
    np.testing.assert_array_equal(open_stored(tmp_path / "a.npz", "x"), array)
    np.savez_compressed(tmp_path / "b.npz", x=array)
    assert open_stored(tmp_path / "b.npz", "x") is None


@given(st.integers(1, 60), st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_medians_are_numpys(rows, dtype, seed):
    g = np.random.default_rng(seed)
    x = (g.normal(size=(rows, 4)) * 10.0 ** g.integers(-3, 4)).astype(dtype)
    x[:, 1] = np.round(x[:, 1])
    x[g.random(x.shape) < 0.2] = np.nan
    x[g.random(x.shape) < 0.1] = -np.inf
    pieces = np.array_split(x, min(3, rows))
    with np.errstate(over="ignore"):
        expected = [float(np.median(c[np.isfinite(c)])) if np.isfinite(c).any() else 0.0 for c in x.T]
        assert medians(lambda: iter(pieces), 4) == expected
