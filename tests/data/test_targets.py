import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data import Dataset, Targets
from pellucid.errors import DataError


def fit(y, task=None, train=None, **more):
    rows = len(y)
    return Targets.fit(Dataset(np.zeros((rows, 1)), y, task=task, **more), train)


def problem(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (["a", "b", "a"], "class"),
        ([True, False, True], "class"),
        (list(range(10)) * 2, "class"),  # ten whole numbers or fewer
        (list(range(11)) * 2, "number"),  # more, and 5 % of the rows or more
        (list(range(20)) * 21, "class"),  # at most twenty, and under 5 %
        (list(range(21)) * 30, "number"),
        ([0.0, 1.0, 0.0], "number"),
        ([1.0, 0.0, np.nan], "number"),
        ([1, 0, None], "class"),
    ],
)
def test_what_a_target_is_taken_as(y, kind):
    assert fit(y).columns[0].kind == kind


def test_task_overrides():
    assert fit([0.0, 1.0, 0.0], "classification").classes == (0, 1)
    assert fit([0, 1, 0], "regression").loss == "mean_squared_error"
    text = problem(fit, ["a", "b", "a"], "regression")
    assert "a regression needs numbers as its target" in text
    assert "such as 'a'" in text


@pytest.mark.parametrize(
    ("y", "classes"),
    [(["b", "a", "b"], ("a", "b")), ([3, 1, 3], (1, 3)), ([True, False, True], (False, True))],
)
def test_one_column_of_classes_goes_there_and_back_in_its_own_type(y, classes):
    t = fit(y)
    assert (t.classes, [type(c) for c in t.classes]) == (classes, [type(c) for c in classes])
    assert (t.task, t.loss, t.metric, t.width) == ("classification", "cross_entropy", "accuracy", 2)
    encoded = t.encode(np.array(y))
    assert encoded.dtype == np.int32
    assert encoded.tolist() == [1, 0, 1]
    assert t.decode(np.eye(2)[encoded]).tolist() == y
    assert t.decode(np.array([0.9, 0.2, 0.6])).tolist() == y  # a single sigmoid output


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(max_size=3) | st.sampled_from(["a", "b"]), min_size=2, max_size=20).filter(
        lambda v: len(set(v)) > 1
    )
)
def test_any_text_labels_round_trip_through_json(labels):
    t = fit(labels)
    again = Targets.from_json(json.loads(json.dumps(t.to_json())))
    assert again == t
    np.testing.assert_array_equal(again.encode(labels), t.encode(labels))
    assert t.decode(np.eye(t.width)[t.encode(labels)]).tolist() == labels


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=20).filter(
        lambda v: np.ptp(v) > 1e-3 * (1 + np.max(np.abs(v)))
    )
)
def test_numbers_are_standardised_and_come_back(values):
    t = fit(values)
    encoded = t.encode(values)
    assert (encoded.dtype, encoded.shape) == (np.float32, (len(values), 1))
    np.testing.assert_allclose(encoded[:, 0], (np.array(values) - np.mean(values)) / np.std(values), atol=1e-4)
    np.testing.assert_allclose(t.decode(encoded), values, atol=1e-5 * t.scale[0] + 1e-6 * abs(t.mean[0]))


def test_standardisation_is_of_the_training_rows_alone():
    t = fit([0.0, 2.0, 100.0, 1000.0], train=np.array([0, 1]))
    assert (t.mean.tolist(), t.scale.tolist()) == ([1.0], [1.0])


def test_several_numbers():
    y = np.array([[0.0, 10.5], [2.0, 30.5], [4.0, 50.5]])
    t = fit(y)
    assert (t.task, t.loss, t.metric, t.width) == ("regression", "mean_squared_error", "r2", 2)
    assert t.encode(y).std(axis=0).tolist() == pytest.approx([1, 1])
    back = t.decode(t.encode(y))
    assert list(back) == ["target 1", "target 2"]
    np.testing.assert_allclose(back["target 2"], y[:, 1], rtol=1e-6)


def test_several_two_valued_columns_are_multi_label():
    y = pl.DataFrame({"rain": [True, False, True], "wind": ["no", "yes", "no"]})
    t = fit(y)
    assert (t.loss, t.metric, t.width, t.classes) == ("binary_cross_entropy", "accuracy", 2, ())
    assert t.encode(y).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert t.encode(y.select("wind", "rain")).tolist() == t.encode(y).tolist()  # by name, not by place
    assert t.decode(np.array([[0.9, 0.2]])) == {"rain": np.array([True]), "wind": np.array(["no"], object)}


def test_a_mixture_gives_each_column_its_slice():
    y = pl.DataFrame({"kind": ["a", "b", "c"], "size": [1.5, 2.5, 3.5], "ok": [True, False, True]})
    t = fit(y)
    assert [(c.kind, c.start, c.stop) for c in t.columns] == [("class", 0, 3), ("number", 3, 4), ("binary", 4, 5)]
    assert (t.task, t.loss, t.metric, t.width) == ("mixed", "joint", "loss", 5)
    encoded = t.encode(y)
    assert encoded.dtype == np.float32
    assert encoded[:, 0].tolist() == [0, 1, 2]
    back = t.decode(np.array([[0.1, 0.8, 0.1, 0.0, 0.3]]))
    assert (back["kind"].tolist(), back["size"].tolist(), back["ok"].tolist()) == (["b"], [2.5], [False])
    assert Targets.from_json(json.loads(json.dumps(t.to_json()))) == t


def test_whole_number_labels_with_class_names():
    t = fit([0, 2, 1, 2], class_names=("no", "maybe", "yes"))
    assert t.classes == ("no", "maybe", "yes")
    assert t.encode([2, 0]).tolist() == t.encode(["yes", "no"]).tolist() == [2, 0]
    text = problem(fit, [0, 1, 3], class_names=("no", "maybe", "yes"))
    assert "a label is out of range" in text
    assert "row 3" in text
    assert "0 to 2, for the 3 class names" in text
    assert "a label is out of range" in problem(t.encode, [-1])


def test_an_unknown_label_is_named():
    text = problem(fit(["a", "b", "a"]).encode, ["a", "c", "b"], "new.csv")
    assert "label 'c' is not one of the classes that were trained" in text
    assert "new.csv, 'target', row 2" in text
    assert "one of 'a', 'b'" in text
    assert "label 'a'" in problem(fit([1, 2, 1]).encode, ["a", 1])


@pytest.mark.parametrize("y", [["a", "a"], [1, 1], [True, True]])
def test_one_class_only(y):
    assert "the target has one class only" in problem(fit, y)


def test_one_value_only():
    assert "the target has one value only" in problem(fit, [2.5, 2.5])


def test_targets_that_are_infinite_missing_or_of_the_wrong_kind():
    assert "a target is infinite" in problem(fit, [1.0, np.inf, 2.0])
    assert "a target is missing" in problem(fit([1.0, 2.0]).encode, [1.0, np.nan])
    assert "the target holds text where numbers were trained" in problem(fit([1.0, 2.0]).encode, ["x", "y"])
    assert "this cannot be a target" in problem(fit, np.array(["2020-01-01", "2020-01-02"], "M8[D]"))
    assert "this cannot be a target" in problem(fit, ["a", 1, "b"])
    assert "the number of targets differs" in problem(fit(np.eye(3)).encode, [1.0, 2.0, 3.0])
