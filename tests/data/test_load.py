import numpy as np
import polars as pl
import pytest

from pellucid.data import Dataset, load
from pellucid.errors import DataError, SettingError

CSV = "size,colour,species,weight,who\n" + "\n".join(
    f"{i % 7},{'rg'[i % 2]},{'ab'[i % 2]},{i + 1},{i // 3}" for i in range(12)
)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "plants.csv"
    path.write_text(CSV)
    return path


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_the_target_and_other_roles_leave_the_features(csv):
    data = load(csv, target="species", group="who", weight="weight")
    assert data.x.columns == ["size", "colour"]
    assert data.y.tolist() == ["a", "b"] * 6
    assert data.group.tolist() == [i // 3 for i in range(12)]
    assert data.weight.tolist() == list(range(1, 13))
    assert (data.name, data.source, data.target) == ("plants", str(csv), ("species",))
    assert "column 'who' is the group and no feature" in data.notes


def test_a_target_that_was_not_named_is_guessed_and_said(csv):
    data = load(csv)
    assert data.target == ("species",)
    assert "no target was named: column 'species' was taken" in data.notes
    last = load(pl.DataFrame({"a": [1, 2], "b": [3, 4]}))
    assert last.target == ("b",)
    assert load({"y": [0, 1], "a": [1, 2]}).target == ("y",)


def test_several_targets(csv):
    data = load(csv, target=["species", "size"])
    assert data.y.columns == ["species", "size"]


def test_rows_to_predict_keep_every_column(csv):
    data = load(csv, target=False)
    assert data.y is None
    assert data.x.width == 5


def test_own_validation_and_test_parts(csv):
    data = load(csv, target="species", validation=csv, test=load(csv, target="species"))
    assert isinstance(data.validation, Dataset)
    assert data.validation.target == ("species",)
    assert data.test is not None
    assert len(data.test) == 12
    guessed = load(csv, validation=pl.read_csv(csv))
    assert guessed.validation is not None
    assert guessed.validation.target == ("species",)


def test_roles_as_values(csv):
    data = load(csv, target="species", group=np.arange(12), time=range(12))
    assert data.group.tolist() == data.time.tolist() == list(range(12))
    assert load("iris", weight=np.ones(150)).weight.sum() == 150


def test_a_time_column_of_dates_orders_by_day():
    data = load({"day": np.array(["2020-02-01", "2020-01-01"], "M8[us]"), "x": [1, 2], "y": [0, 1]}, time="day")
    assert data.time[0] > data.time[1]


def test_no_such_target_names_the_nearest(csv):
    text = problem(load, csv, target="speces")
    assert "there is no column 'speces'" in text
    assert "did you mean 'species'?" in text


def test_a_missing_file_names_files_nearby(csv):
    text = problem(load, csv.parent / "plant.csv")
    assert "no such file or built-in set" in text
    assert "plants.csv" in text
    assert "the built-in set 'iris' has a similar name" in problem(load, "irs")
    assert "does not exist either" in problem(load, csv.parent / "nowhere" / "x.csv")


def test_a_folder_where_a_file_belongs(tmp_path):
    (tmp_path / "data.csv").mkdir()
    assert "this is a folder, not a file" in problem(load, tmp_path / "data.csv")
    said = problem(load, tmp_path)
    assert "the folder holds no data that can be read" in said and "a folder for each class, with images in it" in said
    assert "data.csv" in problem(load, tmp_path)


def test_an_unknown_kind_of_file(tmp_path):
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    text = problem(load, tmp_path / "sheet.xlsx")
    assert "the suffix '.xlsx'" in text
    assert "export the sheet as CSV" in text
    (tmp_path / "empty.npz").write_bytes(b"")
    assert "the file is empty" in problem(load, tmp_path / "empty.npz")


def test_a_gap_in_a_role_is_named_by_row():
    text = problem(load, {"g": ["a", None], "x": [1, 2], "y": [0, 1]}, group="g")
    assert "the group column has gaps" in text
    assert "row 2" in text


def test_a_weight_of_text():
    assert "the weight column holds no numbers" in problem(
        load, {"w": ["a", "b"], "x": [1, 2], "y": [0, 1]}, weight="w"
    )


def test_a_column_name_for_a_set_that_is_no_table():
    assert "is no table" in problem(load, "iris", group="who")
    assert "'iris' brings its own target" in problem(load, "iris", target="petal")


def test_a_column_with_two_roles(csv):
    assert "the target and the group at once" in problem(load, csv, target="who", group="who")


def test_no_feature_is_left():
    assert "no feature is left" in problem(load, {"y": [1, 2]})


def test_what_is_no_source():
    assert "this is no source of data" in problem(load, 3)
