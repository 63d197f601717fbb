"""A record is read as far as it goes."""

import numpy as np
import pytest
from made import record

from pellucid.doctor.case import Case
from pellucid.signals.record import Record


def test_a_whole_record_is_read():
    case = Case(record(epochs=4))
    assert case.last_step == 200 and case.told("rows") == 1600 and case.trivial == pytest.approx(0.6931, abs=1e-4)
    assert case.kinds == ["input", "dense", "relu", "dense", "relu", "dense", "relu", "output"]
    assert case.layers("dense", "output") == [1, 3, 5, 7]
    assert case.training.steps.tolist() == case.validation.steps.tolist() == [50, 100, 150, 200]
    assert case.signal("gradient", "rms").values.shape == (len(case.batch_losses), 8)
    assert case.signal("weight", "rms").values.shape == (len(case.batch_losses), 8)
    assert case.update_ratios.values[1].tolist() == pytest.approx([1e-3] * 8, rel=1e-4)
    assert case.chunk_loss("turns").values.tolist() == [0.6] * 4


def test_nothing_is_known_of_nothing():
    case = Case(Record())
    assert case.last_step == 0 and case.trivial is None and case.kinds == [] and not len(case.training)
    assert not len(case.validation) and not len(case.batch_losses) and not len(case.units("dead"))
    assert case.signal("gradient", "rms").values.shape == (0, 0)


def test_order_and_repetition_do_not_matter():
    made = record(epochs=4)
    steps = Case(made).batch_losses
    made.epochs.reverse()
    made.steps.reverse()
    assert Case(made).training.steps.tolist() == [50, 100, 150, 200]
    assert Case(made).batch_losses.values.tolist() == steps.values.tolist()
    made.epochs.append({**made.epochs[0], "sample": {"loss": 9.0}})  # the same step once more: the later line counts
    assert Case(made).training.values[-1] == 9.0 and len(Case(made).training) == 4


def test_strings_stand_for_what_is_not_finite_and_what_is_no_number_is_not_known():
    made = Record()
    for step, loss in enumerate([0.5, "nan", "inf", "-inf", None, "abc", [1.0], True]):
        made.add({"kind": "step", "step": step, "loss": loss})
    losses = Case(made).batch_losses
    assert losses.steps.tolist()[:4] == [0, 1, 2, 3] and 4 not in losses.steps and 5 not in losses.steps
    assert np.isnan(losses.values[1]) and losses.values[2:4].tolist() == [np.inf, -np.inf]
    assert losses.finite.values[0] == 0.5


def test_a_line_whose_width_is_not_the_headers_is_left_out():
    made = record(epochs=4)
    whole = len(Case(made).signal("gradient", "rms"))
    made.steps[2]["gradient"]["rms"] = [1.0, 2.0]
    made.steps[3]["gradient"] = None
    made.steps[4]["gradient"] = {"rms": "nan"}
    assert len(Case(made).signal("gradient", "rms")) == whole - 3
    assert len(Case(made).batch_losses) == whole


def test_lines_without_a_step_are_left_out():
    made = record(epochs=4)
    del made.steps[0]["step"]
    made.steps[1]["step"] = None
    made.epochs[0]["step"] = "soon"
    made.epochs[1]["validation"] = "?"
    case = Case(made)
    assert case.batch_losses.steps[0] == 2 and case.validation.steps.tolist() == [150, 200]


def test_more_kinds_than_layers_are_cut_and_fewer_are_unknown():
    made = record(epochs=2)
    made.kinds.append("relu")
    assert len(Case(made).kinds) == len(made.layers)
    made.kinds = ["dense"]
    assert Case(made).kinds == ["dense", *[""] * 7]


def test_the_training_loss_is_the_mean_while_learning_where_nothing_was_scored():
    made = record(epochs=3, learning=lambda e: 7.0 + e)
    for line in made.epochs:
        del line["sample"]
    assert Case(made).training.values.tolist() == [8.0, 9.0, 10.0]
