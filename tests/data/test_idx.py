import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pellucid.data import load, prepare
from pellucid.data.idx import TYPES, read_idx, read_idx_folder
from pellucid.errors import DataError

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def idx(array):
    code = next(c for c, t in TYPES.items() if np.dtype(t) == array.dtype.newbyteorder(">"))
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.fixture
def folder(tmp_path):
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    labels = np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def problem(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_every_type_is_read_back(tmp_path, dtype):
    array = np.arange(-6, 6).astype(dtype).reshape(2, 3, 2)
    path = tmp_path / "x.idx"
    path.write_bytes(idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_a_folder_with_its_own_test_part(folder):
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 4, 4), np.uint8)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([1, 0], np.uint8)))
    data = load(folder)
    assert (data.x.shape, data.x.dtype, data.y.tolist()) == ((6, 4, 4), np.uint8, [0, 1, 0, 1, 0, 1])
    assert data.test is not None
    assert data.test.y.tolist() == [1, 0]


def test_plain_names_make_one_part(tmp_path):
    (tmp_path / "images.idx").write_bytes(idx(np.zeros((2, 3, 3), np.uint8)))
    (tmp_path / "labels.idx").write_bytes(idx(np.array([1, 0], np.uint8)))
    assert read_idx_folder(tmp_path)[""]["y"].tolist() == [1, 0]


def test_a_file_that_is_cut_short(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-10])
    text = problem(load, folder)
    assert "the IDX file is cut short" in text
    assert "112 bytes for shape (6, 4, 4)" in text
    assert "102 bytes" in text
    path.write_bytes(path.read_bytes()[:7])
    assert "the IDX file is cut short" in problem(read_idx, path)


def test_a_gzip_that_is_cut_short(folder):
    path = folder / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert "the gzipped IDX file is cut short or damaged" in problem(load, folder)


def test_a_wrong_magic_number(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    text = problem(load, folder)
    assert "its magic number is wrong" in text
    assert "89 50 4e 47" in text


def test_labels_that_are_missing_or_too_few(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.zeros(5, np.uint8)))
    text = problem(load, folder)
    assert "images and labels differ in number" in text
    assert "6 labels, one for each image in train-images-idx3-ubyte" in text
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert "the labels are missing" in problem(load, folder)


def test_one_file_is_no_source_for_training_but_rows_to_predict(folder):
    path = folder / "train-images-idx3-ubyte"
    assert "one IDX file holds images or labels, not both" in problem(load, path)
    rows = load(path, target=False)
    assert rows.y is None
    assert rows.x.shape == (6, 4, 4)


@pytest.mark.skipif(not MNIST.exists(), reason=f"MNIST is not at {MNIST}")
def test_mnist_has_its_published_shape_and_split():
    data = load(MNIST)
    assert data.x.shape == (60_000, 28, 28)
    assert np.bincount(data.y).tolist()[:3] == [5923, 6742, 5958]  # published counts of 0, 1, 2
    p = prepare(data)
    assert p.validation is not None
    assert p.test is not None
    assert (len(p.train), len(p.validation), len(p.test)) == (50_000, 10_000, 10_000)
    assert (p.train.x.dtype, p.features.per, p.features.shape) == (np.uint8, "all", (28, 28))
    np.testing.assert_allclose(p.features.mean, p.train.x.mean(dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(p.features.scale, p.train.x.std(dtype=np.float64), rtol=1e-9)
