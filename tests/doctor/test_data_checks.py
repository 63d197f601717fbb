"""Each check of data: a case that has the problem and is named, and one that only looks like it."""

import dataclasses

import numpy as np
import pytest

from pellucid.doctor import column_checks, data_checks, row_checks, target_checks
from pellucid.doctor.checks import explained, run
from pellucid.doctor.data_checks import DataFacts, Sample, Target
from pellucid.doctor.finding import Finding
from pellucid.doctor.row_checks import row_keys
from pellucid.errors import PellucidWarning

CHECKS = (*data_checks.CHECKS, *column_checks.CHECKS, *row_checks.CHECKS, *target_checks.CHECKS)
CLASS = (Target("kind", "class", ("a", "b")),)
NUMBER = (Target("price", "number"),)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def sample(x: np.ndarray, y: np.ndarray, rows: np.ndarray | None = None) -> Sample:
    return Sample(x, y, np.arange(len(x)) if rows is None else rows, row_keys(x), y)


def facts(x: np.ndarray, y: np.ndarray, **words) -> DataFacts:
    """Training data; other parts as validation=(x, y), test=(x, y)."""
    parts = {"training": sample(x, y, words.pop("rows", None))}
    parts |= {name: sample(*words.pop(name)) for name in ("validation", "test") if name in words}
    targets = words.pop("targets", CLASS if y.dtype.kind == "i" else NUMBER)
    task = "classification" if targets[0].kind == "class" else "regression"
    return DataFacts(**{"parts": parts, "kind": "columns", "task": task, "targets": targets, **words})


def found(d: DataFacts) -> list[Finding]:
    return run(CHECKS, d)


def named(d: DataFacts) -> dict[str, str]:
    return {f.problem: f.severity for f in found(d)}


def healthy(n: int = 200, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    g = generator(seed)
    x = g.normal(size=(n, columns)).astype(np.float32)
    return x, (x[:, 0] + g.normal(size=n) > 0).astype(np.int32)


def regression(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, _ = healthy(n, seed=seed)
    return x, (x[:, :1] + generator(seed + 1).normal(size=(n, 1))).astype(np.float32)


def test_healthy_data_are_not_mentioned():
    assert named(facts(*healthy(), validation=healthy(50, seed=1), test=healthy(50, seed=2))) == {}
    assert named(facts(*regression(), validation=regression(50, 1), test=regression(50, 2))) == {}


# -- values and scales --------------------------------------------------------------------------------------------


def test_values_that_are_not_finite():
    x, y = healthy()
    x[7, 2] = np.nan
    (f,) = [f for f in found(facts(x, y)) if f.problem == "nonfinite_data"]
    assert f.severity == "error" and "1 value of the training inputs is not finite" in f.summary and "'x3'" in f.summary
    assert f.evidence["row"] == 7
    x, y = regression()
    y[3] = np.inf
    assert named(facts(x, y))["nonfinite_data"] == "error"
    good, bad = healthy(), healthy(50, seed=1)
    bad[0][0, 0] = np.inf
    assert named(facts(*good, test=bad)) == {"nonfinite_data": "warning"}


def test_steps_that_only_fill_up_sequences_are_no_gaps():
    x = generator().normal(size=(60, 9, 3)).astype(np.float32)
    x[:20, 5:] = np.nan
    y = healthy(60)[1]
    assert named(facts(x, y, kind="sequences", padded=True)) == {}
    assert "nonfinite_data" in named(facts(x, y, kind="sequences"))


def test_inputs_on_unlike_scales():
    x, y = healthy()
    (f,) = found(facts(x * [1, 1, 5000, 0.1], y, columns=("a", "b", "income", "rate")))
    assert (f.problem, f.severity) == ("unscaled_inputs", "warning")
    assert "'income'" in f.summary and f.evidence["ratio_of_scales"] > 1e3
    assert f.remedies[0].settings == {"standardize": True}
    assert named(facts(x * 79, y)) == {"unscaled_inputs": "warning"}


def test_a_column_that_is_hardly_heard():
    x, y = healthy()
    (f,) = found(facts(x * [1, 1, 1, 1e-4], y, columns=("a", "b", "c", "rate")))
    assert (f.problem, f.severity) == ("unscaled_inputs", "note") and "'rate' is hardly heard" in f.summary
    assert named(facts(x[:, :2] * [1, 1e-4], y)) == {"unscaled_inputs": "warning"}  # the typical one is not heard
    margin = (np.abs(x[:, 3]) > 2) * 1e-4 * x[:, 3]  # as at the margin of a picture
    assert named(facts(np.c_[x[:, :3], margin].astype(np.float32), y)) == {}


def test_scales_that_the_network_sees_to_are_fine():
    x, y = healthy()
    assert named(facts(x * [1, 1, 5000, 0.1], y, normalised=True)) == {}
    assert named(facts(x * [1, 1, 5, 0.2], y)) == {}  # unlike, but within two decades
    assert named(facts(x * [1, 1, 5000, 0.1], y, opaque=True)) == {"unscaled_inputs": "note"}
    flags = np.c_[x, (generator().random(200) < 0.02).astype(np.float32)]  # a rare flag is not on another scale
    assert named(facts(flags, y)) == {}
    assert named(facts(x + np.float32(6), y)) == {"unscaled_inputs": "note"}  # iris is such: a bias makes up for it


def test_pixels_that_reach_the_first_layer_as_they_are():
    x = generator().integers(0, 256, (100, 8, 8)).astype(np.float32)
    y = healthy(100)[1]
    assert named(facts(x, y, kind="images")) == {"unscaled_inputs": "warning"}
    assert named(facts(x / 255, y, kind="images")) == {}


def test_pixels_that_were_divided_by_255_twice():
    x = generator().integers(0, 256, (100, 8, 8)).astype(np.float32)
    y = healthy(100)[1]
    (f,) = found(facts(x / 255 / 255, y, kind="images"))
    assert (f.problem, f.severity) == ("scaled_twice", "warning") and "0.00392" in f.summary
    assert named(facts(x / 255 / 255, y, kind="images", normalised=True)) == {}
    assert "scaled_twice" not in named(facts(healthy()[0] / 1000, healthy()[1]))  # measurements may be small


# -- columns ------------------------------------------------------------------------------------------------------


def test_constant_columns():
    x, y = healthy()
    x[:, 1] = 3
    (f,) = found(facts(x, y))
    assert (f.problem, f.severity) == ("constant_columns", "note")
    assert "1 column never changes in training: 'x2'" in f.summary
    assert named(facts(x * 0, y))["constant_columns"] == "warning"  # nothing is left
    x[::2, 1] = 0
    assert named(facts(x, y)) == {}
    assert named(facts(np.zeros((50, 4, 4), np.float32), y[:50], kind="images")).get("constant_columns") is None


def test_columns_that_say_the_same():
    x, y = healthy()
    x[:, 3] = 5 - 2 * x[:, 0]
    (f,) = found(facts(x, y))
    assert (f.problem, f.severity) == ("duplicate_columns", "note") and "'x1' and 'x4'" in f.summary
    x[:, 3] += 0.01 * x[:, 1]
    assert named(facts(x, y)) == {}  # nearly


def test_the_two_levels_of_one_column_are_not_duplicates():
    x, y = healthy()
    level = (x[:, 0] > 0.5).astype(np.float32)
    x = np.c_[x, level, 1 - level]
    assert named(facts(x, y, grouped=(0, 1, 2, 3, 4, 4))) == {}
    assert "duplicate_columns" in named(facts(x, y, grouped=(0, 1, 2, 3, 4, 5)))


def test_a_column_that_numbers_the_rows():
    x, y = healthy()
    rows = generator().permutation(1000)[:200]
    x[:, 2] = (rows - 500) / 290  # as standardising leaves it
    assert named(facts(x, y, rows=rows)) == {"id_columns": "note"}
    y = (rows > 500).astype(np.int32)  # the file is sorted by class, so that the number gives it away
    (f,) = [f for f in found(facts(x, y, rows=rows)) if f.problem == "id_columns"]
    assert f.severity == "warning" and "'x3' numbers the rows; it foretells the target" in f.summary
    x[:, 2] += generator(3).normal(size=200) * 0.1
    assert "id_columns" not in named(facts(x, healthy()[1], rows=rows))
    assert named(facts(x, healthy()[1], columns=("a", "b", "customer_id", "d"))) == {"id_columns": "note"}


def test_the_target_among_the_inputs():
    x, y = regression()
    x[:, 1] = 3 * y[:, 0] + 1e-3 * x[:, 2]
    (f,) = [f for f in found(facts(x, y)) if f.problem == "target_in_inputs"]
    assert f.severity == "warning" and "'x2' is a copy of the target 'price'" in f.summary
    x[:, 1] += 0.3 * x[:, 2]
    assert "target_in_inputs" not in named(facts(x, y))
    assert named(facts(y * 2, y)) == {}  # a single column is the task itself


def test_the_class_among_the_inputs():
    x, y = healthy()
    x[:, 3] = np.where(y == 1, 7, -2)
    assert named(facts(x, y))["target_in_inputs"] == "warning"
    x[:, 3] = np.where(y == 1, 3, -3) + generator().normal(size=200) * 0.5  # well parted, as a good feature may be
    assert named(facts(x, y)) == {"target_in_inputs": "note"}
    three = Target("kind", "class", ("a", "b", "c"))
    y = np.arange(200, dtype=np.int32) % 3
    coded = np.c_[healthy()[0], np.eye(3, dtype=np.float32)[y]]
    assert named(facts(coded, y, targets=(three,)))["target_in_inputs"] == "warning"
    assert "target_in_inputs" not in named(facts(coded[:, :5], y, targets=(three,)))  # a flag for one class alone


# -- rows and parts -----------------------------------------------------------------------------------------------


def test_copies_of_rows():
    x, y = healthy()
    x[150:], y[150:] = x[:50], y[:50]
    (f,) = found(facts(x, y))
    assert (f.problem, f.severity, f.evidence["copies"]) == ("duplicate_rows", "note", 50)


def test_a_truth_table_repeats_itself():
    """XOR, its four rows five times."""
    x = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), (5, 1))
    y = (x[:, 0] != x[:, 1]).astype(np.int32)
    assert not [f for f in found(facts(x[:16], y[:16], test=(x[16:], y[16:]))) if f.alarm]
    assert "duplicate_rows" not in named(facts(x, y))


def test_rows_that_training_and_test_share():
    x, y = healthy()
    (f,) = found(facts(x, y, test=(x[:30], y[:30])))
    assert (f.problem, f.severity) == ("leakage", "warning") and "30 of 30 test rows (100.0%)" in f.summary
    other, labels = healthy(100, seed=1)
    other[0] = x[0]  # iris has such a pair
    assert named(facts(x, y, test=(other, labels))) == {"leakage": "note"}


def test_equal_inputs_with_different_labels():
    x, y = healthy()
    x[100:] = x[:100]
    y[100:] = 1 - y[:100]
    assert named(facts(x, y)) == {"contradictory_labels": "warning", "duplicate_rows": "note"}
    y[100:] = y[:100]
    assert named(facts(x, y)) == {"duplicate_rows": "note"}
    y[100:105] = 1 - y[:5]
    assert named(facts(x, y))["contradictory_labels"] == "note"
    table = generator().integers(0, 3, (200, 2)).astype(np.float32)  # nine possible rows: noise, and no fault
    assert named(facts(table, y)) == {"contradictory_labels": "note"}
    (f,) = [f for f in found(facts(x * 0, y)) if f.problem == "contradictory_labels"]
    assert f.severity == "warning" and "all 200 training rows are the same, with 2 different labels" in f.summary


def test_validation_taken_from_the_end_of_a_sorted_file():
    x, y = healthy(300)
    y = np.sort(np.arange(300, dtype=np.int32) % 3)
    three = (Target("kind", "class", ("a", "b", "c")),)
    (f,) = found(facts(x[:200], y[:200], validation=(x[200:], y[200:]), targets=three, split="own"))
    assert (f.problem, f.severity) == ("sorted_data", "warning")
    assert "100% of its rows are of a class that training does not have ('c')" in f.summary and "sorted" in f.summary
    shuffled = generator().permutation(300)
    a, b = shuffled[:200], shuffled[200:]
    assert named(facts(x[a], y[a], rows=a, validation=(x[b], y[b]), targets=three)) == {}  # sorted, and then shuffled
    assert named(facts(x[:200], y[:200], validation=(x[200:], y[200:]), targets=three, split="time")) == {
        "sorted_data": "note"
    }  # as the user asked for


def test_a_sorted_regression_target():
    x, y = regression(300)
    y = np.sort(y, axis=0)
    assert named(facts(x[:200], y[:200], validation=(x[200:], y[200:]), split="own")) == {"sorted_data": "warning"}


def test_sorted_batches():
    x, y = healthy()
    y = np.sort(y)
    assert named(facts(x, y)) == {}
    assert named(facts(x, y, shuffled=False)) == {"sorted_data": "warning"}
    assert named(facts(x, healthy()[1], shuffled=False)) == {}


def test_a_test_part_that_is_scaled_otherwise():
    x, y = healthy()
    other = healthy(80, seed=1)
    (f,) = found(facts(x, y, test=(other[0] * 255, other[1])))
    assert (f.problem, f.severity) == ("scaled_twice", "warning") and "255" in f.summary
    (f,) = found(facts(x, y, test=(other[0] / 20, other[1])))
    assert (f.problem, f.severity) == ("distribution_shift", "warning") and "smaller" in f.summary


def test_a_column_that_has_moved():
    x, y = healthy()
    other = healthy(80, seed=1)
    other[0][:, 1] += 3
    (f,) = found(facts(x, y, test=other, columns=("a", "age", "c", "d")))
    assert (f.problem, f.severity) == ("distribution_shift", "note") and "'age'" in f.summary
    small = healthy(20, seed=1)
    assert named(facts(x, y, test=small)) == {}


# -- targets ------------------------------------------------------------------------------------------------------


def test_one_class_only():
    x, y = healthy()
    (f,) = [f for f in found(facts(x, y * 0)) if f.problem == "single_class"]
    assert f.severity == "error" and "class 'a'" in f.summary
    x, y = regression()
    y = np.zeros_like(y)  # a constant target, as standardising leaves it
    d = facts(x, y, targets=(Target("price", "number", mean=7.0),))
    (f,) = found(d)
    assert f.severity == "error" and "value 7" in f.summary
    both = np.c_[regression()[1], y]
    assert named(facts(x, both, targets=(*NUMBER, Target("tax", "number")))) == {"single_class": "note"}


def test_a_rare_class():
    x, _ = healthy(400)
    y = (np.arange(400) % 40 == 0).astype(np.int32)
    (f,) = found(facts(x, y))
    assert (f.problem, f.severity) == ("class_imbalance", "note") and "right in 97.5%" in f.summary
    assert f.remedies[0].settings == {"class_weights": "balanced"}
    assert named(facts(x, y, weighted=True)) == {}
    assert named(facts(x, (np.arange(400) % 5 == 0).astype(np.int32))) == {}


def test_targets_on_a_large_scale():
    x, y = regression()
    (f,) = found(facts(x, 200_000 + 50_000 * y))
    assert (f.problem, f.severity) == ("unscaled_targets", "warning")
    assert named(facts(x, y, targets=(Target("price", "number", mean=2e5, scale=5e4),))) == {}  # standardised


def test_class_numbers_that_were_divided_by_255():
    x, _ = healthy(300)
    digits = (np.arange(300) % 10)[:, None].astype(np.float32)
    (f,) = found(facts(x, digits / 255))
    assert (f.problem, f.severity) == ("label_coding", "warning") and "9/255" in f.summary
    assert f.remedies[0].settings == {"task": "classification"}
    assert named(facts(x, digits / 10)) == {}  # tenths are a quantity
    assert "label_coding" not in named(facts(x, digits[:, :1] % 2))


# -- the runner ---------------------------------------------------------------------------------------------------


def test_a_check_that_fails_is_a_warning():
    def constant_columns(_):
        raise ValueError("no luck\nat all")

    with pytest.warns(PellucidWarning, match="the check of constant columns failed: no luck"):
        assert run([constant_columns], None) == []


def test_a_cause_takes_its_symptoms_along():
    causes = [Finding("symmetric_units", "warning", "alike"), Finding("ignores_input", "warning", "the same")]
    (f,) = explained(causes)
    assert f.problem == "symmetric_units" and f.symptoms == ("ignores_input",)
    notes = [dataclasses.replace(f, severity="note") for f in causes]
    assert explained(notes) == notes


def test_findings_are_their_own_json():
    import json

    x, y = healthy()
    x[:, 1], x[3, 2] = 3, np.nan
    for f in found(facts(x * [1, 1, 5000, 0.1], y, test=(x[:30], y[:30]))):
        json.dumps(f.to_json())
