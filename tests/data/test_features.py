import json
import warnings
from datetime import date, datetime, time, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data import Features
from pellucid.errors import DataError, PellucidWarning

TABLE = pl.DataFrame(
    {
        "age": [10.0, None, 30.0, 40.0, 20.0, float("inf")],
        "colour": ["red", "blue", "red", None, "red", "blue"],
        "member": [True, False, True, True, None, False],
        "day": [date(2020, m, 1) for m in (1, 2, 3, 4, 5, 6)],
        "size": [1, 2, 2, 3, 4, 7],
    }
)


def again(features):
    return Features.from_json(json.loads(json.dumps(features.to_json())))


def problem(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_of_mixed_types_by_hand():
    f, notes = Features.fit(TABLE)
    assert f.names == (
        "age", "age missing", "colour = blue", "colour = red", "colour missing", "colour unknown",
        "member", "member missing", "day month", "day weekday", "size",
    )  # fmt: skip
    assert (f.shape, f.dtype, f.per) == ((11,), "float32", "feature")
    x = f.transform(TABLE)
    assert x.dtype == np.float32
    assert x[:, 0].tolist() == [10, 25, 30, 40, 20, 25]  # the median of 10, 20, 30, 40
    assert x[:, 1].tolist() == [0, 1, 0, 0, 0, 1]
    assert x[3, 2:6].tolist() == [0, 0, 1, 0]
    assert x[:, 6].tolist() == [1, 0, 1, 1, 1, 0]
    assert x[:, 8].tolist() == [1, 2, 3, 4, 5, 6]
    plain = [i for i, name in enumerate(f.names) if name not in ("age", "day month", "day weekday", "size")]
    assert set(f.mean[plain]) == {0.0}
    assert set(f.scale[plain]) == {1.0}
    np.testing.assert_allclose(f.mean[[0, 10]], x[:, [0, 10]].mean(0))
    np.testing.assert_allclose(f.scale[[0, 10]], x[:, [0, 10]].std(0))
    assert "column 'age': 1 infinite values are taken as missing" in notes
    assert "column 'age': 2 of 6 values are missing, filled with the median and flagged" in notes
    assert "column 'colour': 1 of 6 values are missing, a level of their own and flagged" in notes


def test_statistics_are_those_of_the_training_rows():
    f, _ = Features.fit(TABLE, np.array([0, 2, 3]))
    assert f.transform(TABLE[[0]])[0, 0] == 10
    assert f.mean[0] == pytest.approx(80 / 3)
    assert "colour = blue" not in f.names


def test_column_order_and_further_columns_do_not_matter():
    f, _ = Features.fit(TABLE)
    other = TABLE.select(reversed(TABLE.columns)).with_columns(new=pl.lit("x"))
    np.testing.assert_array_equal(f.transform(other), f.transform(TABLE))
    np.testing.assert_array_equal(f.transform(TABLE.to_pandas()), f.transform(TABLE))


def test_columns_that_say_nothing_are_left_out_and_said():
    rows = 40
    table = pl.DataFrame(
        {
            "id": range(100, 100 + rows),
            "order_id": [i * i for i in range(rows)],
            "name": [f"person {i}" for i in range(rows)],
            "review": [f"I liked the part number {i} very much" for i in range(rows)],
            "same": ["x"] * rows,
            "empty": [None] * rows,
            "list": [[i] for i in range(rows)],
            "nan": [float("nan")] * rows,
            "x": [i % 7 for i in range(rows)],
        }
    )
    f, notes = Features.fit(table)
    assert f.names == ("x",)
    left = {note.split("'")[1]: note.split(": ", 1)[1] for note in notes}
    assert left == {
        "id": "whole numbers that count the rows, like an index",
        "order_id": "whole numbers that only rise or fall, with the name of an identifier",
        "name": "text that is different in each row, like a name or an identifier",
        "review": "free text",
        "same": "the same value, 'x', in each training row",
        "empty": "all values are missing",
        "list": "values of type List(Int64) are no features",
        "nan": "no finite value in the training rows",
    }


def test_a_counter_is_the_feature_where_there_is_no_other():
    assert Features.fit(pl.DataFrame({"x": range(20)}))[0].names == ("x",)


def test_no_usable_column():
    text = problem(Features.fit, pl.DataFrame({"same": [1, 1, 1], "name": ["a", "b", "c"]}))
    assert "no column can be used as a feature" in text
    assert "'same': the same value, 1, in each training row" in text


def test_lists_in_cells_are_told_how_to_become_sequences():
    text = problem(Features.fit, pl.DataFrame({"a": [[1, 2, 3], [1, 2]]}))
    assert "'a': values of type List(Int64) are no features" in text
    assert "a row for each step (--sequences --group COLUMN), or an array to an .npz" in text


def test_rare_levels_beyond_64_share_the_unknown_slot():
    levels = [f"level{i % 70}" for i in range(700)] + ["level0"]
    f, notes = Features.fit(pl.DataFrame({"c": levels, "x": np.arange(701) % 5}))
    assert sum(name.startswith("c = ") for name in f.names) == 64
    assert notes == ["column 'c': 6 rare levels beyond 64 share the unknown slot"]
    hot = f.transform(pl.DataFrame({"c": levels[:70], "x": [0] * 70}))[:, :65]
    assert hot.sum(axis=1).tolist() == [1.0] * 70
    assert hot[:, 64].sum() == 6


def test_an_unseen_category_takes_the_unknown_slot_with_a_warning():
    f, _ = Features.fit(TABLE)
    new = TABLE[:2].with_columns(colour=pl.Series(["green", "red"]))
    with pytest.warns(PellucidWarning, match=r"column 'colour' of new\.csv: 'green' did not occur in training; 1 rows"):
        x = f.transform(new, "new.csv")
    assert x[0, 2:6].tolist() == [0, 0, 0, 1]
    assert x[1, 2:6].tolist() == [0, 1, 0, 0]


def test_a_gap_that_training_did_not_have_is_filled_with_a_warning():
    f, _ = Features.fit(TABLE)
    with pytest.warns(PellucidWarning, match="column 'size': 1 values are missing, as none were in training; .* 2.5"):
        x = f.transform(TABLE[:1].with_columns(size=pl.lit(None, pl.Int64)), "")
    assert x[0, -1] == 2.5


def test_a_missing_column_is_named():
    f, _ = Features.fit(TABLE)
    text = problem(f.transform, TABLE.drop("size").with_columns(sise=1), "new.csv")
    assert "column 'size' is missing" in text
    assert "new.csv" in text
    assert "did you mean 'sise'?" in text
    assert "column 'age' is missing (and 1 more)" in problem(f.transform, TABLE.drop("size", "age"))


def test_a_column_of_another_type_is_named_with_its_first_bad_value():
    f, _ = Features.fit(TABLE)
    text = problem(f.transform, TABLE.with_columns(age=pl.Series(["1", "2", "old", "4", "5", "6"])), "new.csv")
    assert "column 'age' holds text where training had numbers" in text
    assert "new.csv, column 'age', row 3" in text
    assert "got:      'old'" in text
    for column, expected in (("member", "true or false"), ("day", "dates or times")):
        text = problem(f.transform, TABLE.with_columns(pl.lit("x").alias(column)))
        assert f"column {column!r} holds text where training had {expected}" in text
    assert "where training had text" in problem(f.transform, TABLE.with_columns(colour=pl.col("day")))
    assert "numbers" in problem(f.transform, TABLE.with_columns(age=pl.col("day")))


def test_values_that_a_new_file_types_otherwise_are_understood():
    codes = pl.DataFrame({"code": ["1", "2", "x", "1"], "on": [True, False, True, False], "v": [1, 2, 3, 5]})
    f, _ = Features.fit(codes)
    new = pl.DataFrame({"code": [1, 2], "on": [1, 0], "v": [1.5, 2.5]})
    np.testing.assert_array_equal(f.transform(new), [[1, 0, 0, 0, 1, 1.5], [0, 1, 0, 0, 0, 2.5]])
    empty = pl.DataFrame({"code": ["1"], "on": [None], "v": [None]})
    with pytest.warns(PellucidWarning):
        assert f.transform(empty)[0, -1] == 2.5


def test_an_array_where_a_table_belongs():
    f, _ = Features.fit(TABLE)
    assert "the network was trained on a table" in problem(f.transform, np.zeros((2, 5)))


def test_dates_give_the_parts_that_differ():
    start = datetime(2020, 1, 1, 6)
    table = pl.DataFrame({"t": [start + timedelta(hours=37 * i) for i in range(50)]})
    f, _ = Features.fit(table)
    assert f.names == ("t month", "t day", "t weekday", "t hour")
    x = f.transform(table)
    expected = [[t.month, t.day, t.isoweekday(), t.hour] for t in table["t"]]
    np.testing.assert_array_equal(x, expected)
    clock, _ = Features.fit(pl.DataFrame({"t": [time(1, 2), time(3, 4), None]}))
    assert clock.names == ("t hour", "t minute", "t missing")
    assert clock.transform(pl.DataFrame({"t": [time(5, 6), None]})).tolist() == [[5, 6, 0], [2, 3, 1]]


def test_a_huge_offset_keeps_its_spread():
    rng = np.random.default_rng(0)
    seconds = 1.7e9 + rng.normal(0, 1, 500)
    for x in (pl.DataFrame({"t": seconds}), seconds[:, None]):
        f, notes = Features.fit(x)
        z = (f.transform(x)[:, 0] - f.mean[0]) / f.scale[0]
        np.testing.assert_allclose(z, (seconds - seconds.mean()) / seconds.std(), atol=1e-5)
        assert any("float32" in note for note in notes)
        np.testing.assert_array_equal(again(f).transform(x), f.transform(x))


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_values_beyond_float32_are_scaled_before(factor):
    values = np.arange(10.0) * factor
    for x in (pl.DataFrame({"v": values, "w": np.arange(10) % 3}), np.stack([values, np.arange(10.0)], axis=1)):
        f, _ = Features.fit(x)
        z = (f.transform(x)[:, 0] - f.mean[0]) / f.scale[0]
        np.testing.assert_allclose(z, (np.arange(10) - 4.5) / np.arange(10).std(), rtol=1e-5)


COLUMN = st.one_of(
    st.lists(st.none() | st.floats(width=64), min_size=6, max_size=6),
    st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=6, max_size=6),
    st.lists(st.none() | st.sampled_from(["a", "b", "", "a b", "é"]), min_size=6, max_size=6),
    st.lists(st.none() | st.booleans(), min_size=6, max_size=6),
    st.lists(st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=6, max_size=6),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("pqrst"), COLUMN, min_size=1, max_size=4))
def test_any_table_becomes_finite_numbers_and_survives_json(columns):
    table = pl.DataFrame({"x": [1.0, 2, 3, 4, 5, 7], **columns}, strict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PellucidWarning)
        f, _ = Features.fit(table, np.arange(4))
        x = f.transform(table)
        same = again(f).transform(table)
    assert x.shape == (6, *f.shape) == (6, len(f.names))
    assert np.isfinite(x).all()
    assert np.isfinite(f.mean).all()
    assert (f.scale > 0).all()
    np.testing.assert_array_equal(same, x)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(width=64), min_size=2, max_size=2), min_size=4, max_size=8))
def test_any_array_becomes_finite_numbers_and_survives_json(rows):
    x = np.array(rows)
    f, _ = Features.fit(x, np.arange(3))
    encoded = f.transform_own(x, "x", lambda said: None)
    assert encoded.shape == (len(x), *f.shape)
    assert np.isfinite(encoded).all()
    assert np.isfinite(f.mean).all()
    assert (f.scale > 0).all()
    np.testing.assert_array_equal(again(f).transform_own(x, "x", lambda said: None), encoded)


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_an_array_has_its_columns_standardised():
    x = np.random.default_rng(0).normal(5, 3, (200, 4))
    x[:, 2] = 7.0
    f, notes = Features.fit(x, np.arange(100), names=("a", "b", "c", "d"))
    np.testing.assert_allclose(f.mean, x[:100].astype(np.float32).mean(0, dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(f.scale, [*x[:100, :2].std(0), 1.0, x[:100, 3].std()], rtol=1e-6)
    assert (f.names, f.per, f.dtype, notes) == (("a", "b", "c", "d"), "feature", "float32", [])
    np.testing.assert_array_equal(again(f).transform(x), x.astype(np.float32))
    assert f.transform([[1, 2, 3, 4]]).tolist() == [[1, 2, 3, 4]]


def test_gaps_in_an_array_are_filled_flagged_and_said():
    x = np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0], [np.inf, 8.0], [11.0, np.nan]])
    f, notes = Features.fit(x, np.arange(4), names=("a", "b"))
    assert f.names == ("a", "b", "a missing")
    assert f.transform(x[:4]).tolist() == [[1, 5, 0], [2, 6, 1], [3, 7, 0], [2, 8, 1]]
    assert notes == ["feature 'a': 2 of 4 values are missing (1 of them infinite), filled with the median and flagged"]
    assert (f.mean[2], f.scale[2]) == (0, 1)
    text = problem(f.transform, x, "new")
    assert "values that are not finite, in a column that had none in training" in text
    assert "new, row 5, 'b'" in text
    said = []
    assert f.transform_own(x, "the test part", said.append)[4].tolist() == [11, 6.5, 0]
    assert said == ["1 values of the test part are missing in features that had no gap in training"]
    np.testing.assert_array_equal(again(f).transform(x[:4]), f.transform(x[:4]))


def test_images_stay_bytes_and_share_one_mean():
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)
    f, _ = Features.fit(images, np.arange(20))
    assert (f.shape, f.dtype, f.per, f.names) == ((5, 4), "uint8", "all", ())
    np.testing.assert_allclose(f.mean, images[:20].mean())
    np.testing.assert_allclose(f.scale, images[:20].std())
    assert f.transform(images) is images
    assert f.transform(images.astype(int)).dtype == np.uint8
    flat, _ = Features.fit(np.tile(images.reshape(30, 20), 4))
    assert (flat.per, flat.dtype, flat.mean.shape) == ("all", "uint8", ())


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_colour_images_have_a_mean_for_each_channel(dtype):
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3)).astype(dtype)
    f, _ = Features.fit(images)
    assert f.per == "channel"
    np.testing.assert_allclose(f.mean, images.mean((0, 1, 2)))
    np.testing.assert_allclose(f.scale, images.std((0, 1, 2)))
    assert Features.fit(images[..., :1])[0].per == "all"


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_sequences_have_a_mean_and_a_scale_for_each_feature(dtype):
    x = (np.random.default_rng(0).normal(size=(20, 7, 3)) * [1, 40, 1000] + [0, 500, -9000]).astype(dtype)
    f, _ = Features.fit(x, np.arange(15))
    assert (f.per, f.dtype) == ("channel", "float32")
    flat = x[:15].astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(f.mean, flat.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(f.scale, flat.std(0), rtol=1e-6)
    grey, _ = Features.fit(np.zeros((4, 7, 3), np.uint8) + np.arange(3, dtype=np.uint8))
    assert (grey.per, grey.mean.shape) == ("all", ())


def test_no_standardisation_on_request():
    f, _ = Features.fit(np.arange(6.0).reshape(3, 2), standardize=False)
    assert (f.mean.tolist(), f.scale.tolist()) == ([0, 0], [1, 1])


def test_arrays_that_do_not_fit_what_was_trained():
    f, _ = Features.fit(np.random.default_rng(0).normal(size=(9, 3)))
    text = problem(f.transform, np.zeros((2, 4)))
    assert "expected: shape (rows, 3)" in text
    assert "got:      shape (2, 4)" in text
    assert "x.reshape(1, -1)" in problem(f.transform, np.zeros(3))
    assert "not finite" in problem(f.transform, np.array([[1, np.nan, 2]]))
    assert "not finite" in problem(f.transform, np.array([[1, 1e39, 2]]))
    images, _ = Features.fit(np.zeros((3, 4, 4), np.uint8) + np.arange(4, dtype=np.uint8))
    assert "add the batch axis: x[None]" in problem(images.transform, np.zeros((4, 4), np.uint8))
    text = problem(images.transform, np.full((1, 4, 4), 0.5))
    assert "expected: uint8, 0 to 255" in text
    assert "got:      float64, 0.5 to 0.5" in text
    pictures = np.random.default_rng(0).normal(size=(3, 4, 4))
    fine, _ = Features.fit(pictures)
    pictures[1, 2, 3] = np.nan
    assert "at (1, 2, 3)" in problem(fine.transform, pictures, "new")
    assert "cannot be imputed" in problem(Features.fit, pictures)


def test_a_table_may_stand_in_for_an_array_by_its_names():
    x = np.random.default_rng(0).normal(size=(9, 2))
    f, _ = Features.fit(x, names=("a", "b"))
    swapped = pd.DataFrame({"b": x[:, 1], "note": ["n"] * 9, "a": x[:, 0]})
    np.testing.assert_array_equal(f.transform(swapped), x.astype(np.float32))
    assert "column 'b' is missing" in problem(f.transform, pd.DataFrame({"a": [1.0]}))
    assert f.transform(pl.DataFrame({"p": [1.0], "q": [2.0]})).tolist() == [[1, 2]]


def test_saved_features_that_are_damaged():
    assert "the saved features cannot be read" in problem(Features.from_json, {"encoder": {"kind": "array"}})


def test_a_warning_points_at_the_line_that_asked():
    f, _ = Features.fit(TABLE)
    with pytest.warns(PellucidWarning) as caught:
        f.transform(TABLE[:1].with_columns(colour=pl.lit("green")))
    assert caught[0].filename == __file__
