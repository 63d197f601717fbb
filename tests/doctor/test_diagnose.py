"""Each cause in a record that has it and in one that looks like it; one finding a cascade; records that are broken."""

import copy
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import PER_EPOCH, TRIVIAL, alarms, falls, named, record, scores, wobbles

from pellucid.doctor.cause import CAUSES
from pellucid.doctor.diagnose import diagnose, merged
from pellucid.doctor.explains import EXPLAINS
from pellucid.doctor.finding import Finding
from pellucid.signals.record import Record, read_record

STUCK = {"train": lambda e: TRIVIAL, "validation": lambda e: TRIVIAL}


def shrinking(factor):
    return lambda step, depth: 1e-2 * factor**depth


def notes(made, result=None):
    return [f.problem for f in diagnose(made, result) if not f.alarm]


def test_a_run_that_is_well_has_no_finding():
    assert diagnose(record()) == []
    assert diagnose(record(), scores(0.97, 0.96)) == []


# -- flow ---------------------------------------------------------------------------------------------------------

DEEP = {"hidden": 8, "activation": "sigmoid", "gradient": shrinking(3.0)}


def test_vanishing_gradients():
    found = named(record(**DEEP, **STUCK), "vanishing_gradients")
    assert found.severity == "warning" and found.layer == "hidden1" and found.step == 0 and found.confidence == 0.9
    assert "9.0 times a layer" in found.summary and "of 8 layers" in found.summary and "0.6931" in found.summary
    assert alarms(record(**DEEP, **STUCK)) == ["vanishing_gradients"]
    assert found.remedies[0].settings == {"activation": "relu"}


def test_vanishing_gradients_of_a_network_that_learns_well_are_a_note():
    assert alarms(record(**DEEP)) == [] and notes(record(**DEEP)) == ["vanishing_gradients"]
    nothing_there = scores(0.5, 0.51)  # no simple model learns anything from these data: the network still cannot
    assert "vanishing_gradients" in alarms(record(**DEEP, **STUCK), nothing_there)


def test_exploding_gradients():
    grows = record(hidden=6, gradient=shrinking(0.4), train=lambda e: falls(e) if e < 8 else 9.0)
    found = named(grows, "learning_rate_too_high")  # the loss left where it began: the step is the deeper cause
    assert "exploding_gradients" in found.symptoms and alarms(grows) == ["learning_rate_too_high"]
    stuck = named(record(hidden=6, gradient=shrinking(0.5), **STUCK), "exploding_gradients")
    assert stuck.layer == "hidden1" and "4.0 times a layer" in stuck.summary
    clip = [r.settings for r in stuck.remedies if "optimizer" in r.settings]
    assert clip == [{"optimizer": {"type": "adam", "learning_rate": 0.001, "clip_norm": 1.0}}]
    assert alarms(record(hidden=6, gradient=shrinking(0.4))) == []


def test_a_burst_of_the_gradient_without_harm_is_nothing():
    burst = {"weight_gradient": lambda step, path: 1e3 if step == 200 else 1e-2}
    assert diagnose(record(**burst)) == []
    assert "exploding_gradients" in alarms(record(**burst, **STUCK))


def test_dead_units():
    dead = {"units": {"dead": {"relu1": lambda step: 0.6, "relu2": lambda step: 1.0 if step >= 300 else 0.2}}}
    found = named(record(**dead, **STUCK), "dead_units")
    assert found.layer == "relu2" and found.step == 300 and found.confidence == 0.95
    assert (
        "100% of the units of relu2" in found.summary and {"relu1": 0.6, "relu2": 1.0}.items() <= found.evidence.items()
    )
    assert "rank_collapse" in found.symptoms
    assert alarms(record(**dead, **STUCK)) == ["dead_units"]


def test_dead_units_of_a_network_that_learns_well_are_a_note():
    half = {"units": {"dead": {"relu1": lambda step: 0.6}}}
    assert alarms(record(**half)) == [] and notes(record(**half)) == ["dead_units"]
    few = {"units": {"dead": {"relu1": lambda step: 0.1}}}
    assert diagnose(record(**few)) == []
    assert "dead_units" in notes(record(**half), scores(0.8, 0.95))  # a simple model does better: for another reason


def test_saturated_units():
    flat = {"activation": "tanh", "units": {"saturated": {"tanh1": lambda step: 0.9}}}
    found = named(record(**flat, **STUCK), "saturated_units")
    assert found.severity == "warning" and found.layer == "tanh1" and found.step == PER_EPOCH
    assert alarms(record(**flat)) == [] and notes(record(**flat)) == ["saturated_units"]


def test_forgetting():
    lost = {"kinds": ["input", "rnn", "output"], "time": (1, [10.0 ** -(9 - t) for t in range(10)])}
    found = named(record(**lost, **STUCK), "forgetting")
    assert found.severity == "warning" and found.layer == "rnn1" and "LSTM" in found.remedies[0].text
    assert alarms(record(**lost)) == []


def test_rank_collapse():
    same = {"activation": "tanh", "units": {"dead": {"tanh2": lambda step: 1.0}}}
    found = named(record(**same, **STUCK), "rank_collapse")
    assert found.severity == "warning" and found.layer == "tanh2"
    assert alarms(record(**same)) == []


def test_batchnorm_gap():
    kinds = ["input", "dense", "batch_norm", "relu", "output"]
    found = named(record(kinds=kinds, train=lambda e: 0.5, learning=lambda e: 0.05), "batchnorm_gap")
    assert "10.0 times the loss" in found.summary
    assert "batchnorm_gap" not in alarms(record(kinds=kinds))


def test_frozen_layer():
    still = {"moves": lambda path: path != "hidden2/w"}
    assert named(record(**still, **STUCK), "frozen_layer").layer == "hidden2/w"
    assert alarms(record(**still)) == [] and notes(record(**still)) == ["frozen_layer"]
    assert diagnose(record(**still, setup={"frozen": ["hidden2/w"]})) == []
    assert diagnose(record(moves=lambda path: path != "hidden2/b")) == []  # a bias may stay where it is


# -- loss, initial weights, step ----------------------------------------------------------------------------------


def test_wrong_update():
    uphill = record(train=lambda e: 0.7 * math.exp(e), validation=None)
    found = named(uphill, "wrong_update")
    assert alarms(uphill) == ["wrong_update"] and found.step == 0 and "0.7" in found.summary
    fast = record(train=lambda e: 0.7 * math.exp(e), validation=None, ratio=lambda step, path: 0.5)
    assert alarms(fast) == ["learning_rate_too_high"]  # large steps rise downhill, too


def test_an_output_that_cannot_change():
    zero = {"gradient": lambda step, depth: 0.0, "moves": lambda path: False}
    assert alarms(record(**zero, **STUCK)) == ["loss_output_mismatch"]
    soft = record(kinds=["input", "dense", "relu", "dense", "softmax"], setup={"outputs": 1}, **zero, **STUCK)
    assert alarms(soft) == ["constant_output"]
    assert "loss_output_mismatch" not in alarms(record(gradient=lambda step, depth: 0.0))


def test_no_nonlinearity():
    straight = {"activation": "identity"}
    found = named(record(**straight, **STUCK), "no_nonlinearity")
    assert found.severity == "warning" and found.layer == "hidden1" and found.evidence == {"pairs": 3}
    mixed = record(kinds=["input", "dense", "relu", "dense", "dense", "relu", "output"])
    assert alarms(mixed) == [] and notes(mixed) == ["no_nonlinearity"]  # two in a row, in a network that learns
    assert "no_nonlinearity" not in alarms(record(kinds=["input", "output"], **STUCK))  # a linear model on purpose
    assert not notes(record(kinds=["input", "dense", "layer_norm", "output"]))  # a normalisation bends


def test_bad_initial_weights():
    small = {"hidden": 8, "rms": lambda step, depth: 0.3**depth, "gradient": shrinking(3.0)}
    found = named(record(**small, **STUCK), "bad_initial_weights")
    assert alarms(record(**small, **STUCK)) == ["bad_initial_weights"] and "vanishing_gradients" in found.symptoms
    assert found.step == 0 and "shrink from" in found.summary and found.layer == "hidden8"
    assert alarms(record(**small)) == []


def test_learning_rate_too_high():
    huge = {"ratio": lambda step, path: 0.8, "train": lambda e: 5 + wobbles(e)}
    found = named(record(**huge), "learning_rate_too_high")
    assert found.confidence == 0.9 and "0.8 times their size" in found.summary and "rate 0.001" in found.summary
    assert found.remedies[0].settings == {"learning_rate": 1e-6}  # three powers of ten toward 0.002
    swings = record(turns=lambda step: 0.97, std=lambda step: 0.8, **STUCK)
    assert "learning_rate_too_high" in alarms(swings)
    assert alarms(record(ratio=lambda step, path: 0.8 if step < 2 else 1e-3)) == []  # and learned well


def test_noise_of_small_batches_is_no_swinging():
    """Losses of independent batches turn at two of three steps."""
    noisy = {"turns": lambda step: 0.67, "std": lambda step: 0.9}
    assert diagnose(record(**noisy)) == []
    assert "learning_rate_too_high" not in alarms(record(**noisy, **STUCK))


def test_learning_rate_too_low():
    short = {"ratio": lambda step, path: 2e-6}
    found = named(record(**short, **STUCK), "learning_rate_too_low")
    assert alarms(record(**short, **STUCK)) == ["learning_rate_too_low"]
    assert found.remedies[0].settings == {"learning_rate": 1.0} and "2e-06" in found.summary
    assert alarms(record(**short)) == [] and notes(record(**short)) == ["learning_rate_too_low"]
    going = record(epochs=10, **short, **STUCK, setup={"updates": 20 * PER_EPOCH})
    assert "learning_rate_too_low" not in alarms(going)  # not before the end


def test_behind_a_dead_layer_no_rate_is_too_low():
    dead = {"units": {"dead": {"relu1": lambda step: 1.0}}, "ratio": lambda step, path: 1e-7}
    assert alarms(record(**dead, **STUCK)) == ["dead_units"]


def test_nonfinite_loss():
    """The loss breaks though every step was small: not the step, but what is computed."""
    broken = {"train": lambda e: falls(e) if e < 8 else math.nan, "validation": lambda e: 0.5,
              "nonfinite": lambda step, depth: 1.0 if step >= 400 and depth >= 3 else 0.0}  # fmt: skip
    found = named(record(**broken), "nonfinite_loss")
    assert alarms(record(**broken)) == ["nonfinite_loss"]
    assert found.step == 400 and found.layer == "hidden2" and "at step 400" in found.summary
    at_once = record(train=lambda e: math.nan, validation=None, ratio=lambda step, path: math.nan)
    assert alarms(at_once) == ["nonfinite_loss"]  # before any step
    validation = record(validation=lambda e: 0.3 if e < 9 else math.inf)
    assert alarms(validation) == ["nonfinite_loss"]


# -- course -------------------------------------------------------------------------------------------------------


def test_over_regularized():
    dropped = {"setup": {"dropout": 0.95}}
    found = named(record(**dropped, **STUCK), "over_regularized")
    assert "95%" in found.summary and alarms(record(**dropped, **STUCK)) == ["over_regularized"]
    assert alarms(record(**dropped)) == []
    assert "over_regularized" not in alarms(record(setup={"dropout": 0.3}, **STUCK))
    decays = {"setup": {"weight_decay": 50.0, "optimizer": "adamw", "optimizer_settings": {"type": "adamw"}},
              "ratio": lambda step, path: 0.1, "weight": lambda step, path: 0.3 * math.exp(-step / 100)}  # fmt: skip
    shrunk = named(record(**decays, **STUCK), "over_regularized")
    assert "weight decay 50" in shrunk.summary
    assert shrunk.remedies[0].settings["optimizer"] == {"type": "adamw", "weight_decay": 0.5}
    # from the first update on the penalty pulls harder (0.3 x 1.0) than the loss (0.01), and much of that is left
    poor = {"train": lambda e: 0.45 + 0.24 * math.exp(-e), "validation": lambda e: 0.47}
    l2 = {"weight_decay": 1.0, "optimizer_settings": {"type": "adam", "weight_decay": 1.0}}
    assert alarms(record(**poor, setup=l2)) == ["over_regularized"] and alarms(record(setup=l2)) == []
    assert alarms(record(**poor, setup={"weight_decay": 0.01})) == []


def test_underfitting():
    poor = {"train": lambda e: 0.62 + 0.07 * math.exp(-e), "validation": lambda e: 0.63}
    found = named(record(**poor), "underfitting", scores(0.62, 0.95))
    assert found.confidence < 0.5 and found.remedies[0].settings["network"]["widths"] == [64, 64, 64]
    assert alarms(record(**poor), scores(0.94, 0.95)) == [] and alarms(record(**poor)) == []
    gap = {"train": falls, "validation": lambda e: 0.6}  # learned the training set: no lack of capacity
    assert "underfitting" not in alarms(record(**gap), scores(0.62, 0.95))


def test_random_labels():
    chance = {"validation": lambda e: TRIVIAL + 0.04 * e}
    found = named(record(**chance), "random_labels")
    assert alarms(record(**chance)) == ["random_labels"]
    assert found.step == 1 * PER_EPOCH
    assert alarms(record(validation=lambda e: 0.5)) == []
    # hardly anything is learned of the training rows either, and no other model hears anything
    little = {"train": lambda e: TRIVIAL - 0.0015 * e, "validation": lambda e: TRIVIAL + 0.002 * e}
    assert alarms(record(**little), scores(0.5, 0.51)) == ["random_labels"]
    assert "random_labels" not in alarms(record(**little), scores(0.5, 0.9))
    assert alarms(record(**chance), scores(0.5, 0.9))[:1] != [
        "random_labels"
    ]  # a linear model hears it: so there is something


RISES = {"validation": lambda e: 0.5 - 0.05 * e if e <= 5 else 0.25 + 0.04 * (e - 5)}


def test_overfitting():
    found = named(record(**RISES), "overfitting")
    assert found.severity == "warning" and found.step == 5 * PER_EPOCH
    assert "from 0.25 to 0.85" in found.summary and found.remedies[0].settings == {"keep": "best", "patience": 10}
    assert alarms(record(**RISES, setup={"keep": "best"})) == []  # its weights are kept
    assert diagnose(record(validation=lambda e: 0.3 + 0.03 * wobbles(e))) == []
    assert diagnose(record(validation=None)) == []
    # half as much again, of little that could be lost: an alarm where rows enough say so
    again = {"validation": lambda e: 0.4 - 0.04 * e if e <= 5 else 0.2 + 0.01 * (e - 5)}
    big = {"trivial_loss": 2.3, "trivial_validation": 2.3}
    assert named(record(**again, setup={**big, "validation_rows": 400}), "overfitting").severity == "warning"
    assert named(record(**again, setup={**big, "validation_rows": 8}), "overfitting").severity == "note"
    assert named(record(**again, setup=big), "overfitting").severity == "note"


def test_bad_epsilon():
    large = {"optimizer_settings": {"type": "adam", "eps": 0.1, "learning_rate": 0.001}}
    found = named(record(**STUCK, setup=large), "bad_epsilon")
    assert alarms(record(**STUCK, setup=large)) == ["bad_epsilon"] and "0.1" in found.summary
    assert found.remedies[0].settings["optimizer"]["eps"] == 1e-8
    small = {"optimizer_settings": {"type": "adam", "eps": 1e-3, "learning_rate": 0.001}}
    assert "bad_epsilon" not in alarms(record(**STUCK, setup=small))  # a tenth of the gradient's size


def test_starved_input():
    times = {"seconds": 100.0, "compile_seconds": 10.0}
    found = named(record(), "starved_input", {**times, "waiting_seconds": 60.0})
    assert "60 of 90 seconds" in found.summary
    assert diagnose(record(), {**times, "waiting_seconds": 20.0}) == []
    assert diagnose(record(), {"seconds": 4.0, "compile_seconds": 0.0, "waiting_seconds": 4.0}) == []


def test_label_noise():
    told = {"validation_rows": 400, "loss_settings": {"type": "cross_entropy", "label_smoothing": 0.05}}
    result = {"doubts": {"suspects": [7, 3]}}
    wrong = record(accuracy=lambda e: (0.75, 0.92), setup=told)
    found = named(wrong, "label_noise", result)
    assert found.severity == "warning" and "92% of validation" in found.summary and "75%" in found.summary
    assert "rows 7, 3" in found.summary and found.step is None
    assert found.remedies[1].settings == {"loss": {"type": "cross_entropy", "label_smoothing": 0.2}}
    # a near miss: as far apart, of too few rows to tell; and equally often right, however seldom
    assert diagnose(record(accuracy=lambda e: (0.75, 0.92), setup={**told, "validation_rows": 20})) == []
    assert diagnose(record(accuracy=lambda e: (0.75, 0.78), setup=told)) == []
    assert diagnose(record(accuracy=lambda e: (0.75, 0.92))) == []  # how many rows were asked is not told
    # learned by heart in the end: it is the best epoch that counts
    heart = record(accuracy=lambda e: (0.75, 0.92) if e <= 5 else (1.0, 0.7), **RISES, setup=told)
    assert alarms(heart) == ["label_noise"] and "overfitting" in named(heart, "label_noise").symptoms


def test_label_noise_that_a_linear_model_shows():
    """It cannot learn labels by heart: it is right less often on those it was fitted to where these are wrong."""
    compared = scores(0.6, 0.95, rows=200)
    compared["rows"]["train"] = 1000
    compared["baselines"][1]["train"] = 0.7
    found = named(record(), "label_noise", compared)
    assert "a linear model answers 95% of validation and test rightly and only 70%" in found.summary
    for near in ({"train": 0.93}, {"train": 1.0}, {"train": None}):  # as good there, or not known
        compared["baselines"][1] |= near
        assert "label_noise" not in alarms(record(), compared)
    compared["baselines"][1]["train"], compared["rows"] = 0.85, {"validation": 10, "test": 10, "train": 40}
    assert "label_noise" not in alarms(record(), compared)  # within the error of so few rows


def test_class_imbalance():
    rare = {"problem": "class_imbalance", "severity": "note", "summary": "", "evidence": {"rarest": "b", "rows": 7}}
    told = {"preflight": [rare]}
    missed = {"details": {"part": "test", "classes": ["a", "b"], "confusion": [[99, 1], [12, 8]]}}
    found = named(record(setup=told), "class_imbalance", missed)
    assert found.severity == "warning" and "40% of the 20 examples of class 'b'" in found.summary
    assert found.remedies[0].settings == {"class_weights": "balanced"}
    assert alarms(record(setup=told, **RISES), missed) == [
        "class_imbalance"
    ]  # which explains that they are learned by heart
    assert alarms(record(), missed) == []  # a class that is missed, and is not rare
    for cells in (
        [[99, 1], [2, 18]],
        [[60, 40], [12, 8]],
        [[99, 1], [3, 1]],
    ):  # found; others missed too; too few to tell
        missed["details"]["confusion"] = cells
        assert alarms(record(setup=told), missed) == []


def test_a_simple_model_wins_only_beyond_the_error_of_so_few_rows():
    poor = {"train": lambda e: 0.62 + 0.07 * math.exp(-e), "validation": lambda e: 0.63}
    assert alarms(record(**poor), scores(0.91, 1.0, rows=1000)) == ["underfitting"]
    assert alarms(record(**poor), scores(0.91, 1.0, rows=22)) == []  # four of 44 rows
    assert alarms(record(**poor), scores(0.97, 1.0, rows=10_000)) == []  # sure, and no matter


def test_stopped_too_early():
    straight = {"train": lambda e: 1.0 - 0.04 * e, "validation": lambda e: 1.05 - 0.04 * e}
    found = named(record(**straight), "stopped_too_early")
    assert found.step == 1000 and "1,000 updates" in found.summary and found.remedies[0].settings == {"steps": 3000}
    cut = {"train": lambda e: 0.4 if e < 17 else 0.2, "validation": lambda e: 0.5 if e < 17 else 0.3}
    assert alarms(record(**cut)) == []  # a schedule's last fall
    low = {"train": lambda e: 1.0 - 0.0499 * e, "validation": lambda e: 1.0 - 0.0499 * e}
    assert "stopped_too_early" not in alarms(record(**low))  # it still falls, from next to nothing
    assert alarms(record(**straight), scores(0.95, 0.95)) == []  # level with what it was compared with: a note
    few = record(epochs=2, ratio=lambda step, path: 2e-3, **STUCK)
    assert "stopped_too_early" in alarms(few)  # usual steps, and too few of them


def test_plateau_is_said_where_nothing_else_is():
    found = diagnose(record(**STUCK, setup={"trivial_loss": None}))  # what it ought to reach is not known
    assert [f.problem for f in found] == ["plateau"] and found[0].confidence < 0.5
    assert alarms(record(**STUCK)) == ["underfitting"]  # below what a constant answer has: that says more


# -- one finding for a cascade ------------------------------------------------------------------------------------


def test_a_huge_step_that_kills_units_and_ends_in_nan_is_one_finding():
    cascade = record(
        train=lambda e: 0.7 if e < 1 else 30.0 if e < 6 else math.nan, validation=lambda e: math.nan,
        ratio=lambda step, path: 3.0 if step < 2 else 1e-3, weight_gradient=lambda step, path: 1e3 * (step > 4) + 1e-2,
        units={"dead": {"relu1": lambda step: 0.9, "relu2": lambda step: 1.0}},
    )  # fmt: skip
    assert alarms(cascade) == ["learning_rate_too_high"]
    found = diagnose(cascade)[0]
    assert found.step == 0 and {"dead_units", "nonfinite_loss", "exploding_gradients"} <= set(found.symptoms)
    assert set(found.evidence["explains"]) >= {"dead_units", "nonfinite_loss"}


def test_weights_so_large_that_only_rows_by_heart_are_learned_are_no_random_labels():
    pair = [Finding("random_labels", "warning", "a", confidence=0.7), Finding("bad_initial_weights", "warning", "b")]
    assert [f.problem for f in merged(pair)] == ["bad_initial_weights"]


def test_the_deeper_cause_speaks_whichever_is_surer():
    """What a cause explains is not told beside it, even where that is as deep and surer."""
    for deep, explained in EXPLAINS.items():
        for other in explained:
            if deep in EXPLAINS.get(other, ()):
                continue  # each may explain the other: the surer one speaks
            pair = [Finding(other, "warning", "b", confidence=0.95), Finding(deep, "warning", "a", confidence=0.7)]
            assert [f.problem for f in merged(pair)] == [deep], (deep, other)
            assert other in merged(pair)[0].symptoms


def test_what_preflight_feared_is_a_note_where_the_run_is_well():
    feared = Finding("unscaled_inputs", "warning", "columns on unlike scales")
    (found,) = diagnose(record(), scores(0.97, 0.96), [feared])
    assert found.severity == "note"
    assert alarms(record(**STUCK), None, [feared]) == ["unscaled_inputs"]
    broken = Finding("nonfinite_data", "error", "NaN")
    assert alarms(record(), None, [broken]) == ["nonfinite_data"]


def test_silence():
    assert "overfitting" not in [f.problem for f in diagnose(record(**RISES), silence=["overfitting"])]


def test_every_cause_names_problems_and_has_a_test_here():
    """A newcomer's cause joins by being registered: a test or a file of them has its name, or it is renamed."""
    renamed = {"output_that_cannot_change": "test_an_output_that_cannot_change", "plateau": "test_plateau_is_said"}
    for cause in CAUSES:
        wanted = renamed.get(cause.__name__, f"test_{cause.__name__}")
        elsewhere = Path(__file__).with_name(f"{wanted}.py")
        assert elsewhere.exists() or any(name.startswith(wanted) for name in globals()), cause.__name__


# -- records that are broken --------------------------------------------------------------------------------------


def test_only_losses_are_enough_for_what_losses_tell():
    made = record(**RISES)
    bare = Record(epochs=made.epochs)
    assert alarms(bare) == ["overfitting"]


def test_without_a_header():
    made = record(ratio=lambda step, path: 0.8, **RISES)
    made.layers, made.weights, made.kinds, made.setup = [], [], [], {}
    assert alarms(made) == ["overfitting"]


def test_in_any_order_and_with_gaps():
    made = record(**RISES)
    made.epochs = made.epochs[::-1]
    made.steps = made.steps[::-3]
    assert alarms(made) == ["overfitting"]


def test_a_single_point():
    made = record()
    made.steps, made.chunks, made.epochs = made.steps[:1], [], []
    assert diagnose(made) == []
    assert diagnose(Record()) == []


def test_a_last_line_that_was_cut_short(tmp_path):
    path = tmp_path / "record.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in every_line(record(**RISES))) + '{"kind": "epoch", "ep')
    assert alarms(read_record(path)) == ["overfitting"]


def test_a_line_that_is_no_object_is_passed_over(tmp_path):
    path = tmp_path / "record.jsonl"
    lines = [*every_line(record(**RISES)), 5, ["a"], None]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert alarms(read_record(path)) == ["overfitting"]


def every_line(made):
    header = {"kind": "header", "schema": 1, "layers": made.layers, "weights": made.weights, "kinds": made.kinds,
              "setup": made.setup}  # fmt: skip
    return [header, *made.steps, *made.chunks, *made.units, *made.epochs]


WHOLE = every_line(
    record(
        epochs=12, hidden=4, activation="tanh", units={"saturated": {"tanh1": lambda step: 0.7}, "dead": {}},
        setup={"weight_decay": 0.01, "optimizer": "adamw", "frozen": ["hidden1"]}, **RISES,
    )
)  # fmt: skip
STRANGE = ("nan", "inf", "-inf", None, "", "abc", [], {}, [1, 2], {"loss": 1}, 0, -1, 1e300, 1e-300, 2**70, True)


def mutilated(seed):
    """A whole record with lines left out, repeated and moved, and values at any depth replaced or left out."""
    dice = random.Random(seed)
    lines = copy.deepcopy(WHOLE)
    if dice.random() < 0.3:
        dice.shuffle(lines)
    if dice.random() < 0.3:
        lines = dice.choices(lines, k=dice.randint(1, len(lines)))
    for _ in range(dice.choice((1, 3, 30))):
        owner = dice.choice(lines)
        while True:
            key = dice.choice(sorted(owner) if isinstance(owner, dict) else range(len(owner)))
            if not isinstance(owner[key], dict | list) or not len(owner[key]) or dice.random() < 0.3:
                break
            owner = owner[key]
        if dice.random() < 0.3:
            del owner[key]
        else:
            owner[key] = dice.choice(STRANGE)
        lines = [line for line in lines if line] or [{"kind": "header"}]
    return lines


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_mutilation_raises(seed):
    made = Record()
    for line in mutilated(seed):
        made.add(line)
    for found in diagnose(made, scores(0.6, 0.9)):
        json.dumps(found.to_json())


@pytest.mark.parametrize("kept", ["epoch", "step", "chunk", "units"])
def test_one_kind_of_line_alone(kept):
    made = Record()
    for line in WHOLE:
        if line["kind"] in ("header", kept):
            made.add(line)
    diagnose(made)


def test_gradients_that_grow_in_time_are_exploding():
    kinds = ["input", "rnn", "output"]
    grows = {"kinds": kinds, "time": (1, [10.0 * 0.5**k for k in range(12)]), **STUCK}
    found = named(record(**grows), "exploding_gradients")
    assert found.layer == "rnn1" and "2 times a step on the way back in time" in found.summary
    assert alarms(record(**{**grows, "train": falls, "validation": falls})) == []  # it learns
    assert "exploding_gradients" not in alarms(record(**{**grows, "time": (1, [0.1] * 12)}))


def test_a_step_too_small_shows_in_a_loss_that_is_still_on_its_way():
    creeps = {"train": lambda e: TRIVIAL - 0.005 * e, "validation": lambda e: TRIVIAL - 0.004 * e}
    assert alarms(record(**creeps, ratio=lambda step, path: 1e-4), scores(0.8, 0.8)) == ["learning_rate_too_low"]
    assert "learning_rate_too_low" not in alarms(record(**creeps), scores(0.8, 0.8))  # at usual steps
    settled = {"train": lambda e: 0.6, "validation": lambda e: 0.6}  # as far as it goes
    assert alarms(record(**settled, ratio=lambda step, path: 1e-4), scores(0.8, 0.8)) == []


def test_units_that_died_are_the_likeliest_cause_where_nothing_else_is_known_and_little_is_learned():
    half = {"units": {"dead": {"relu1": lambda step: 0.6}}}
    poor = {"train": lambda e: 0.5, "validation": lambda e: 0.66}
    assert alarms(record(**half, **poor), scores(0.6, 0.95)) == ["dead_units"]
    assert "dead_units" not in alarms(record(**half), scores(0.6, 0.95))  # what it learns from is learned


def test_batches_that_differ_are_no_step_too_large_where_the_training_loss_comes_down():
    swings = {"turns": lambda step: 1.0, "std": lambda step: 0.4}
    assert "learning_rate_too_high" in alarms(record(**swings, **STUCK))
    assert "learning_rate_too_high" not in alarms(record(**swings), scores(0.7, 0.95))


def test_a_softmax_between_layers_is_a_collapse_where_little_is_learned():
    kinds = ["input", "dense", "softmax", "dense", "relu", "output"]
    poor = {"train": lambda e: 0.5, "validation": lambda e: 0.52}
    found = named(record(kinds=kinds, **poor), "rank_collapse")
    assert found.severity == "warning" and found.layer == "softmax2" and "sum to 1" in found.summary
    assert found.remedies[0].settings == {"activation": "relu"}
    assert alarms(record(kinds=kinds)) == []  # it learns all the same
    last = ["input", "dense", "relu", "output", "softmax"]
    assert "rank_collapse" not in [f.problem for f in diagnose(record(kinds=last, **poor))]  # the output's own
