import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pellucid.data import Dataset, load
from pellucid.data.frames import as_table, series_values
from pellucid.errors import DataError


def problem(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_npz_with_x_and_y(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.eye(3), Y=np.array(["a", "b", "a"]))
    data = load(tmp_path / "d.npz")
    assert data.x.tolist() == np.eye(3).tolist()
    assert data.y.tolist() == ["a", "b", "a"]


def test_npz_with_parts_and_weights(tmp_path):
    np.savez(
        tmp_path / "d.npz", x_train=np.eye(3), y_train=[0, 1, 0], x_test=np.eye(3)[:1], y_test=[1],
        x_val=np.eye(3)[1:], y_val=[1, 0], weight_train=[1, 2, 3],
    )  # fmt: skip
    data = load(tmp_path / "d.npz")
    assert data.test is not None
    assert data.validation is not None
    assert (len(data), len(data.validation), len(data.test)) == (3, 2, 1)
    assert data.weight.tolist() == [1, 2, 3]


def test_npz_with_objects_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "d.npz", x=np.eye(2), y=np.array([Bomb(), 1], dtype=object))
    text = problem(load, tmp_path / "d.npz")
    assert "the .npz file holds Python objects" in text
    assert "key 'y'" in text
    assert "y.astype(str)" in text
    assert not (tmp_path / "ran").exists()


def test_npz_that_is_none_or_lacks_keys(tmp_path):
    path = tmp_path / "d.npz"
    path.write_bytes(b"not a zip")
    assert "the file is no .npz archive" in problem(load, path)
    np.save(path.with_suffix(".npy"), np.eye(2))
    path.with_suffix(".npy").rename(path)
    assert "the file is no .npz archive" in problem(load, path)
    np.savez(path, images=np.eye(2))
    text = problem(load, path)
    assert "the .npz file has no features" in text
    assert "the keys images" in text
    np.savez(path, x=np.eye(2))
    assert "the features have no targets" in problem(load, path)
    full = path.read_bytes()
    path.write_bytes(full[: len(full) // 2])
    assert "the .npz file cannot be read" in problem(load, path)


def test_one_table_in_pandas_polars_and_arrow_is_the_same_set():
    columns = {"size": [1.5, None, 2.5], "count": [1, 2, 3], "kind": ["a", None, "b"], "y": [True, False, True]}
    expected = load(pl.DataFrame(columns), target="y")
    for frame in (pd.DataFrame(columns), pa.table(columns), columns):
        got = load(frame, target="y")
        assert got.x.equals(expected.x)
        assert got.y.tolist() == [True, False, True]
        assert got.fingerprint() == expected.fingerprint()


def test_pandas_types_of_their_own():
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "category": pd.Categorical(["a", None, "b"]),
            "codes": pd.Categorical([1, 2, 1]),
            "when": pd.to_datetime(["2020-01-31", None, "2020-02-01"]),
            3: [1, 2, 3],
        }
    )
    table = as_table(frame)
    assert table.columns == ["nullable", "category", "codes", "when", "3"]
    assert table["nullable"].to_list() == [1, None, 3]
    assert table["category"].to_list() == ["a", None, "b"]
    assert table["codes"].to_list() == ["1", "2", "1"]
    assert table["when"].null_count() == 1
    assert table["when"].dt.month().to_list() == [1, None, 2]


def test_a_pandas_column_of_mixed_kinds():
    text = problem(as_table, pd.DataFrame({"odd": [1, "x", [2]]}))
    assert "column 'odd' mixes kinds of values" in text
    assert "int, list, str" in text


def test_pandas_columns_of_one_name():
    assert "two columns have the same name" in problem(as_table, pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_columns_and_pairs_keep_their_names():
    x = pd.DataFrame({"a": [1, 2, 3]})
    data = load((x, pd.Series(["u", "v", "u"], name="kind")))
    assert (data.target, data.y.tolist()) == (("kind",), ["u", "v", "u"])
    several = load((x, pd.DataFrame({"p": [1, 2, 3], "q": [3, 2, 1]})))
    assert several.target == ("p", "q")
    assert load((x, pa.array([1, None, 3]))).y.tolist() == [1, None, 3]
    assert load((np.eye(3), pl.Series("s", [1, 2, 3]))).y.tolist() == [1, 2, 3]


def test_values_keep_their_type():
    assert series_values(pl.Series([1, 2])).dtype == np.int64
    assert np.isnan(series_values(pl.Series([1.5, None]))[1])
    assert series_values(pl.Series(["a", None])).tolist() == ["a", None]


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([1.0, 2.0]), "reshape(-1, 1)"),
        (np.array([["a", 1]], dtype=object), "the array holds text or objects"),
        (np.array([["a"]]), "does not hold real numbers"),
        (np.array([[1j]]), "does not hold real numbers"),
        (np.empty((0, 3)), "the data are empty"),
        ([[1, 2], [3]], "the rows do not all have the same length"),
    ],
)
def test_arrays_that_cannot_be_used(x, words):
    assert words in problem(Dataset, x)


def test_sparse_matrices_are_refused_with_the_way_out():
    sparse = pytest.importorskip("scipy.sparse")
    assert "use x.toarray()" in problem(Dataset, sparse.eye(3).tocsr())


def test_x_and_y_of_different_length():
    text = problem(load, (np.eye(3), [1, 2]))
    assert "x and y differ in length" in text
    assert "each of the 3 rows" in text
    assert "2 targets" in text
