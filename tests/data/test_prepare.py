import numpy as np
import polars as pl
import pytest

from pellucid.data import Dataset, load, prepare
from pellucid.data.prepare import encode
from pellucid.errors import DataError, SettingError


def made(rows=100, classes=2, **more):
    g = np.random.default_rng(0)
    return Dataset(g.normal(size=(rows, 3)), np.arange(rows) % classes, **more)


def sizes(p):
    return tuple(0 if part is None else len(part) for part in (p.train, p.validation, p.test))


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_rows_say_where_each_part_came_from():
    data = made(200)
    p = prepare(data)
    assert sizes(p) == (140, 30, 30)
    assert p.test is not None
    np.testing.assert_array_equal(p.test.x, data.x[p.test.rows].astype(np.float32))
    np.testing.assert_array_equal(p.test.y, data.y[p.test.rows])
    np.testing.assert_allclose(p.features.mean, data.x[p.train.rows].mean(0), atol=1e-6)
    assert p.fingerprint == data.fingerprint()
    np.testing.assert_array_equal(prepare(data, seed=0).train.rows, p.train.rows)
    assert prepare(data, seed=1).train.rows.tolist() != p.train.rows.tolist()


def test_fractions_of_zero_leave_a_part_out():
    assert sizes(prepare(made(), split=(0.85, 0.15, 0))) == (85, 15, 0)
    p = prepare(made(), split=(1, 0, 0))
    assert (p.validation, p.test, len(p.train)) == (None, None, 100)


def test_own_parts_are_kept_and_the_rest_is_in_proportion():
    own = made(50)
    p = prepare(made(850, test=own))
    assert sizes(p) == (700, 150, 50)
    assert p.test is not None
    assert p.test.rows.tolist() == list(range(50))
    assert sizes(prepare(made(850, validation=own))) == (700, 50, 150)
    assert sizes(prepare(made(90, validation=own, test=own))) == (90, 50, 50)


def test_parts_that_are_drawn_hold_10000_rows_at_most_unless_a_split_was_asked_for():
    assert sizes(prepare(made(100_000))) == (80_000, 10_000, 10_000)
    assert sizes(prepare(made(100_000), split=(0.6, 0.2, 0.2))) == (60_000, 20_000, 20_000)


def test_folds():
    data = made(60)
    tested = []
    for k in range(3):
        p = prepare(data, fold=(k, 3))
        assert p.test is not None
        assert p.validation is not None
        assert not set(p.train.rows) & set(p.validation.rows)
        assert sizes(p)[2] == 20
        tested += p.test.rows.tolist()
    assert sorted(tested) == list(range(60))


def test_groups_and_time():
    p = prepare(made(group=np.arange(100) // 5))
    assert p.test is not None
    assert not set(p.train.rows // 5) & set(p.test.rows // 5)
    p = prepare(made(time=np.arange(100)[::-1]))
    assert p.test is not None
    assert p.test.rows.max() < p.train.rows.min()
    assert "by group or in time order, not both" in problem(prepare, made(group=np.arange(100), time=np.arange(100)))


def test_rows_without_a_target_are_left_out_and_said():
    y = [None if i % 10 == 0 else "ab"[i % 2] for i in range(100)]
    p = prepare(Dataset(np.arange(100.0)[:, None], y))
    assert "10 of 100 rows have no target and are left out" in p.notes
    rows = np.concatenate([part.rows for part in (p.train, p.validation, p.test) if part is not None])
    assert sorted(rows.tolist()) == [i for i in range(100) if i % 10]
    assert p.train.x[:, 0].tolist() == p.train.rows.tolist()


def test_a_target_that_is_missing_everywhere():
    assert "the target is missing in every row" in problem(prepare, Dataset(np.eye(3), [None] * 3))
    assert "the set has no targets" in problem(prepare, Dataset(np.eye(3)))


def test_class_weights_multiply_into_those_of_the_training_rows():
    y = np.array([0] * 80 + [1] * 20)
    p = prepare(
        Dataset(np.random.default_rng(0).normal(size=(100, 2)), y, weight=np.full(100, 2.0)), class_weights="balanced"
    )
    assert p.train.weight is not None
    assert p.test is not None
    share = np.array([(p.train.y == c).mean() for c in (0, 1)])
    np.testing.assert_allclose(p.train.weight, 2 / (2 * share[p.train.y]), rtol=1e-6)
    np.testing.assert_array_equal(p.test.weight, 2)  # scores are not class-weighted
    mapped = prepare(Dataset(np.eye(100), y), class_weights={"1": 3.0})
    np.testing.assert_array_equal(mapped.train.weight, np.where(mapped.train.y == 1, 3.0, 1.0))
    assert prepare(made()).train.weight is None
    assert "which is no class" in problem(prepare, made(), class_weights={7: 1.0})
    assert "finite and not negative" in problem(prepare, made(), class_weights={0: -1.0})
    assert "unknown class weights" in problem(prepare, made(), class_weights="equal")
    numbers = Dataset(np.eye(30), np.random.default_rng(0).normal(size=30))
    assert "class weights need one target of classes" in problem(prepare, numbers, class_weights="balanced")


def test_too_few_rows():
    assert "n_samples = 2" in problem(prepare, made(2))
    assert "there is one row only" in problem(prepare, made(1), split=(1, 0, 0))
    every = Dataset(np.eye(9), [f"c{i}" for i in range(9)])
    text = problem(prepare, every)
    assert "there are too few rows for so many classes" in text
    assert "9 rows of 9 classes" in text
    named = Dataset(np.eye(4), [0, 1, 0, 1], class_names=tuple("abcde"))
    assert "there are fewer rows than classes" in problem(prepare, named)
    assert "one class only" in problem(prepare, made(30, classes=1))


def test_a_split_that_does_not_add_up():
    for split in ((0.5, 0.2, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5)):
        assert "add up to 1" in problem(prepare, made(), split=split)


def test_an_unknown_label_in_the_own_test_file_is_named(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("x,kind\n" + "\n".join(f"{i},{'ab'[i % 2]}" for i in range(30)))
    test.write_text("x,kind\n1,a\n2,c\n")
    text = problem(prepare, load(train, test=test))
    assert "label 'c' is not one of the classes that were trained" in text
    assert f"{test} (test), 'kind', row 2" in text


def test_what_the_held_out_parts_have_anew_becomes_a_note():
    rows = 100
    table = pl.DataFrame({"c": ["a", "b"] * 50, "v": np.arange(rows) % 9, "y": [0, 1] * 50})
    new = pl.DataFrame({"c": ["z"], "v": [None], "y": [1]})
    p = prepare(load(table, target="y", test=new))
    said = [note for note in p.notes if "(test)" in note]
    assert any("'z' did not occur in training" in note for note in said)
    assert any("column 'v'" in note and "missing" in note for note in said)


def test_encoding_a_later_set():
    data = load(
        pl.DataFrame({"c": ["a", "b"] * 20, "v": [i % 7 for i in range(40)], "kind": ["u", "w"] * 20}), target="kind"
    )
    p = prepare(data)
    part = encode(
        load({"v": [1, 2, 3], "c": ["a", "b", "a"], "kind": ["w", None, "u"]}, target="kind"), p.features, p.targets
    )
    assert (part.y.tolist(), part.rows.tolist(), part.x.shape) == ([1, 0], [0, 2], (2, 4))


def test_what_was_inferred_is_said_unless_the_task_was_given():
    assert "target 'target' is taken as a class (2 values)" in prepare(made()).notes
    assert prepare(made(task="classification")).notes == []


def test_several_targets_are_split_and_encoded_together():
    table = pl.DataFrame({"x": np.arange(60) % 11, "p": np.arange(60) * 1.5, "q": ["a", "b", "c"] * 20})
    p = prepare(load(table, target=["p", "q"]))
    assert (p.targets.loss, p.train.y.shape, p.targets.width) == ("joint", (42, 2), 4)
