"""Targets at every step of sequences: which arrays mean them, how they are encoded, and what fills up."""

import json

import numpy as np
import polars as pl
import pytest

from pellucid.data import Dataset, Targets, encode, load, prepare
from pellucid.errors import DataError, SettingError

LENGTHS = [4, 2, 3, 1, 4, 3, 2, 4]


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def ragged(seed=0, width=2):
    return [np.random.default_rng(seed).normal(size=(n, width)) for n in LENGTHS]


def table(target=lambda group, step: f"c{(group + step) % 3}"):
    rows = [(g, t, g + 10.0 * t, target(g, t)) for g, n in enumerate(LENGTHS) for t in range(n)]
    return pl.DataFrame(rows, ["id", "t", "a", "y"], orient="row")[::-1]


CUT = {"group": "id", "time": "t", "sequences": True, "target": "y"}


def test_which_targets_are_those_of_steps():
    x = np.zeros((6, 5, 2))
    assert Dataset(x, np.zeros((6, 5))).each_step and Dataset(x, np.zeros((6, 5, 1))).each_step
    assert not Dataset(x, np.zeros((6, 3))).each_step and not Dataset(x, np.zeros(6)).each_step
    assert not Dataset(x.astype(np.uint8), np.zeros((6, 5))).each_step, "a grey image with five targets"
    assert not Dataset(np.zeros((6, 5)), np.zeros((6, 5))).each_step
    assert "also [rows, steps]" in problem(Dataset, x, np.zeros((6, 5, 3)))


def test_classes_of_steps_are_encoded_and_fillers_are_not():
    x = ragged()
    y = [[int(v > 0) + 5 for v in one[:, 0]] for one in x]
    data = Dataset(x, y)
    assert data.each_step and data.y[1].tolist()[2:] == [None, None]
    p = prepare(data, split=(0.5, 0.25, 0.25))
    assert p.targets.classes == (5, 6) and p.targets.task == "classification" and p.targets.each_step
    assert p.targets.loss == "cross_entropy" and p.targets.metric == "accuracy" and p.targets.width == 2
    for part in (p.train, p.validation, p.test):
        assert part.y.dtype == np.int32
        for code, row in zip(part.y, part.rows, strict=True):
            n = LENGTHS[row]
            assert (code[:n] + 5).tolist() == y[row] and (code[n:] == -1).all()
    assert any("a class (2 values) at every step" in note for note in p.notes)
    again = Targets.from_json(json.loads(json.dumps(p.targets.to_json())))
    assert again == p.targets
    probabilities = np.zeros((1, 4, 2))
    probabilities[0, [0, 2], 1] = 1
    assert again.decode(probabilities).tolist() == [[6, 5, 6, 5]]


def test_whatever_stands_beside_filling_steps_is_no_target():
    """From an .npz file the targets of steps that only fill up hold something, for arrays have no gaps."""
    x = np.full((4, 3, 2), 1.0)
    x[1, 2], x[2, 1:] = np.nan, np.nan
    whole = Dataset(x, np.array([[0, 1, 0], [1, 1, 7], [0, 9, 9], [1, 0, 1]]))
    assert whole.y.tolist() == [[0, 1, 0], [1, 1, None], [0, None, None], [1, 0, 1]]
    floats = Dataset(x, np.arange(12.0).reshape(4, 3)).y
    np.testing.assert_array_equal(np.isnan(floats), np.isnan(x).all(2))


def test_numbers_of_steps_are_standardised_by_those_that_train():
    x = ragged(1)
    y = [50 + 9 * one[:, 0] for one in x]
    y[0][1] = np.nan  # not known: it does not count, the others of the sequence do
    y[3][:] = np.nan  # a sequence without any
    p = prepare(Dataset(x, y), split=(0.6, 0.4, 0))
    assert p.targets.task == "regression" and p.targets.metric == "r2"
    assert any("1 of 8 rows have no target" in note for note in p.notes)
    assert 3 not in p.train.rows and 3 not in p.validation.rows
    known = np.concatenate([y[row][~np.isnan(y[row])] for row in p.train.rows])
    assert p.targets.mean[0] == pytest.approx(known.mean()) and p.targets.scale[0] == pytest.approx(known.std())
    for values, row in zip(p.validation.y, p.validation.rows, strict=True):
        n = LENGTHS[row]
        np.testing.assert_allclose(p.targets.decode(values[:n, None]), y[row], rtol=1e-5)
        assert np.isnan(values[n:]).all()


def test_an_unknown_label_is_named_by_sequence_and_step():
    p = prepare(Dataset(ragged(), [["a", "b", "a", "b"][:n] for n in LENGTHS]), split=(0.5, 0.5, 0))
    other = Dataset(ragged(), [["a", "z" if n == 3 else "b", "a", "b"][:n] for n in LENGTHS])
    said = problem(encode, other, p.features, p.targets, "new.npz")
    assert "label 'z' is not one of the classes" in said and "new.npz, 'target', sequence 3, step 2" in said
    said = problem(encode, Dataset(ragged(), ["a"] * 8), p.features, p.targets, "new.npz")
    assert "the network answers at every step" in said and "[rows, steps]" in said and "(8,)" in said
    assert "a class at every step" in problem(
        prepare, Dataset(ragged(), [[0, 1, 0, 1][:n] for n in LENGTHS]), class_weights="balanced"
    )


def test_a_table_has_a_target_for_each_row():
    data = load(table(), each_step=True, **CUT)
    assert data.each_step and not any("last value" in note for note in data.notes)
    p = prepare(data, split=(0.5, 0.5, 0))
    order = table()["id"].unique(maintain_order=True).to_list()
    for x, y, row in zip(p.train.x, p.train.y, p.train.rows, strict=True):
        group = order[row]
        assert [p.targets.classes[c] for c in y if c >= 0] == [f"c{(group + t) % 3}" for t in range(LENGTHS[group])]
        np.testing.assert_array_equal(y >= 0, ~np.isnan(x).all(1))
    last = load(table(), **CUT)
    assert any("the last value of each is taken (--each-step: each step has its own)" in n for n in last.notes)


def test_of_sequences_that_are_too_long_the_last_steps_and_their_targets_are_kept():
    p = prepare(load(table(lambda g, t: g + 10.0 * t), each_step=True, **CUT), split=(0.5, 0.5, 0), context=2)
    assert p.train.x.shape[1:] == (2, 1) and p.train.y.shape[1:] == (2,)
    values = p.targets.decode(p.train.y[..., None])
    np.testing.assert_allclose(values, p.train.x[..., 0], rtol=1e-5)  # y was made equal to x


def test_a_gap_in_the_target_of_a_table_is_no_target():
    gaps = table(lambda g, t: None if (g, t) == (0, 1) else float(g + t))
    y = load(gaps, each_step=True, **CUT).y
    order = gaps["id"].unique(maintain_order=True).to_list()
    np.testing.assert_array_equal(np.isnan(y[order.index(0)]), [False, True, False, False])


def test_what_each_step_needs():
    said = problem(load, table(), each_step=True, target="y")
    assert "each_step is for the sequences of a table" in said and "--sequences --group COLUMN" in said
    said = problem(load, table(), each_step=True, target="y", group="id", window=2)
    assert "sequences, and no window" in said
    two = table().with_columns(z=pl.col("y"))
    said = problem(load, two, each_step=True, sequences=True, group="id", target=["y", "z"])
    assert "each step has one target" in said and "y, z" in said
    assert "each_step says how a table is read" in problem(load, "iris", each_step=True)
