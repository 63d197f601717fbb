import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from pellucid.data import Dataset, datasets, load
from pellucid.data.builtin import FILES, _from_files, _from_loader
from pellucid.errors import DataError, SettingError

TABLE = pl.DataFrame({"a": [1, 2, None], "s": ["x", None, "z"], "d": [True, False, None]})


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, pellucid.data; print([m for m in ('jax', 'sklearn', 'polars', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("row", datasets(), ids=lambda row: row[0])
def test_built_in_sets_are_what_the_list_says(row):
    name, rows, features, task, about = row
    data = load(name)
    assert (len(data), data.x.shape[1], data.task) == (rows, features, task)
    assert data.source == f"builtin:{name}"
    assert len(data.feature_names or ()) == features
    assert about
    assert data.fingerprint() == load(name).fingerprint()


def test_labels_have_the_type_a_person_expects():
    assert load("digits").y.dtype.kind == "i"
    assert set(load("iris").y) == {"setosa", "versicolor", "virginica"}


@pytest.mark.parametrize("name", FILES)
def test_a_set_read_from_its_file_is_what_scikit_learn_loads(name):
    ours, theirs = _from_files(name), _from_loader(name)
    assert ours is not None
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def test_made_sets_mean_what_they_say():
    xor, spirals, sine = load("xor"), load("spirals"), load("sine")
    np.testing.assert_array_equal(xor.y, (xor.x[:, 0] > 0) != (xor.x[:, 1] > 0))
    assert np.bincount(spirals.y).tolist() == [300, 300]
    assert abs(np.mean((sine.y - np.sin(sine.x[:, 0])) ** 2) - 0.01) < 0.002


@pytest.mark.parametrize(
    "change",
    [
        {"x": TABLE.with_columns(a=pl.Series([1, 2, 0]))},
        {"x": TABLE.with_columns(s=pl.Series(["x", "", "z"]))},
        {"x": TABLE.with_columns(s=pl.Series(["xz", None, ""]))},
        {"x": TABLE.rename({"a": "b"})},
        {"x": TABLE.with_columns(pl.col("a").cast(pl.Float64))},
        {"y": np.array([0, 1, 1])},
        {"y": np.array(["0", "1", "0"])},
        {"weight": np.ones(3)},
        {"test": Dataset(TABLE, [0, 1, 0])},
    ],
)
def test_the_fingerprint_sees_every_change(change):
    same = {"x": TABLE, "y": np.array([0, 1, 0])}
    assert Dataset(**same).fingerprint() == Dataset(**same).fingerprint()
    assert Dataset(**{**same, **change}).fingerprint() != Dataset(**same).fingerprint()


def test_the_fingerprint_is_of_values_not_of_how_they_lie_in_memory():
    x = np.arange(6.0).reshape(2, 3)
    assert Dataset(x).fingerprint() == Dataset(np.asfortranarray(x)).fingerprint()
    assert Dataset(x).fingerprint() == Dataset(x.astype(">f8")).fingerprint()


def test_weights_must_be_finite_and_not_negative():
    text = problem(Dataset, np.eye(3), [0, 1, 0], weight=[1, -1, 1])
    assert "weights must be finite and not negative" in text
    assert "row 1" in text
    assert "finite" in problem(Dataset, np.eye(3), [0, 1, 0], weight=[1, np.nan, 1])
    assert "every weight is 0" in problem(Dataset, np.eye(3), [0, 1, 0], weight=[0, 0, 0])
    assert "weight needs one value for each row" in problem(Dataset, np.eye(3), [0, 1, 0], weight=[1, 1])


def test_an_unknown_task_names_the_nearest():
    assert "did you mean 'regression'?" in problem(Dataset, np.eye(3), [0, 1, 0], task="regresion")


def test_feature_names_must_fit():
    assert "3 names" in problem(Dataset, np.eye(3), feature_names=("a", "b"))
    assert "two columns have the same name" in problem(Dataset, np.eye(2), feature_names=("a", "a"))


def test_a_set_shows_itself_in_one_line():
    assert repr(load("iris")) == "Dataset(iris: 150 rows, 4 features; target species)"
    assert repr(Dataset(np.zeros((2000, 8, 8), np.uint8))) == "Dataset(data: 2,000 rows, 8 x 8 features)"
    assert repr(Dataset(TABLE, [1, 2, 3], name="t")) == "Dataset(t: 3 rows, 3 features)"
