"""Other tools' logs. The event files in `logs` were written by `tensorboard` 2.21, as PyTorch and Keras do."""

import contextlib
import csv
import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from pellucid.doctor.diagnose import diagnose
from pellucid.errors import DataError
from pellucid.signals.events import scalars
from pellucid.signals.logs import is_log, read_log, words_of
from pellucid.signals.record import RecordWriter

EVENTS = Path(__file__).parent / "logs"
TORCH = EVENTS / "torch" / "events.out.tfevents.1700000000.host"


def train(e):
    return 1 / (1 + e)


def validation(e):
    return 0.6 - 0.05 * e if e <= 6 else 0.3 + 0.06 * (e - 6)


def alarms(log):
    return [(f.problem, f.step) for f in diagnose(log.record) if f.alarm]


def write_csv(path, rows):
    names = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# -- what each tool writes ------------------------------------------------------------------------------------------


def keras(folder):
    rows = [{"epoch": e, "accuracy": 0.5, "loss": train(e), "val_accuracy": 0.4, "val_loss": validation(e)}
            for e in range(16)]  # fmt: skip
    return write_csv(folder / "log.csv", rows), 7


def keras_history(folder):
    path = folder / "history.json"
    path.write_text(json.dumps({"loss": [train(e) for e in range(16)], "val_loss": [validation(e) for e in range(16)]}))
    return path, 7


def lightning(folder):
    rows = []
    for e in range(16):
        rows += [{"epoch": e, "step": 100 * e + s, "train_loss_step": train(e) + 0.3 * (s % 40 > 0)}
                 for s in range(10, 100, 20)]  # fmt: skip
        rows.append({"epoch": e, "step": 100 * e + 99, "val_loss": validation(e), "val_acc": 0.5})
        rows.append({"epoch": e, "step": 100 * e + 99, "train_loss_epoch": train(e)})
    write_csv(folder / "metrics.csv", rows)
    return folder, 699


def hugging_face(folder):
    rows = []
    for e in range(16):
        rows.append({"epoch": e, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": train(e), "step": 100 * e})
        rows.append({"epoch": e, "eval_loss": validation(e), "eval_runtime": 3.2, "step": 100 * e})
    rows.append({"epoch": 16, "step": 1500, "train_runtime": 99.0, "train_loss": 0.25})
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"global_step": 1500, "max_steps": 1500, "log_history": rows}))
    return path, 600


def long_csv(folder):
    rows = [{"step": 100 * e, "split": split, "metric": "loss", "value": of(e)}
            for e in range(16) for split, of in (("train", train), ("val", validation))]  # fmt: skip
    return write_csv(folder / "log.csv", rows), 600


def long_lines(folder):
    rows = [{"time": 0.1, "run": "a", "epoch": e, "step": 100 * e, "split": split, "metric": "loss", "value": of(e)}
            for e in range(16) for split, of in (("train", train), ("validation", validation))]  # fmt: skip
    return write_lines(folder / "log.jsonl", rows), 600


def weights_and_biases(folder):
    rows = [{"_step": 100 * e, "_runtime": 1.0, "train/loss": train(e), "val/loss": validation(e)} for e in range(16)]
    return write_lines(folder / "export.jsonl", rows), 600


def torch_events(folder):
    return TORCH, 600


def keras_events(folder):
    return EVENTS / "keras", 7


TOOLS = [keras, keras_history, lightning, hugging_face, long_csv, long_lines, weights_and_biases, torch_events,
         keras_events]  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_overfitting_shows_in_the_log_of_each_tool(tool, tmp_path):
    """The same two curves; validation is best at the seventh epoch."""
    path, step = tool(tmp_path)
    assert is_log(path)
    log = read_log(path)
    assert alarms(log) == [("overfitting", step)]
    losses = [line["validation"]["loss"] for line in log.record.epochs]
    assert losses == pytest.approx([validation(e) for e in range(16)], rel=1e-4)
    assert [line["train"]["loss"] for line in log.record.epochs][-1] == pytest.approx(train(15), abs=0.35)


def test_the_training_loss_at_a_validation_is_the_mean_since_the_last(tmp_path):
    rows = [{"step": s, "train_loss": float(s)} for s in range(1, 101)]
    rows += [{"step": s, "val_loss": 1.0} for s in (50, 100)]
    record = read_log(write_csv(tmp_path / "log.csv", rows)).record
    assert [line["train"]["loss"] for line in record.epochs] == [pytest.approx(25.5), pytest.approx(75.5)]
    assert len(record.steps) == 100 and record.steps[0]["loss"] == 1.0


def test_a_long_log_without_validation_becomes_a_hundred_points(tmp_path):
    rows = [{"step": s, "loss": 1 + 1 / (1 + s / 500)} for s in range(5000)]
    log = read_log(write_csv(tmp_path / "log.csv", rows))
    assert len(log.record.epochs) == 100 and log.record.epochs[-1]["step"] == 4999 and alarms(log) == []
    assert any("overfitting cannot be seen" in text for text in log.notes)


def test_numbers_that_are_not_finite_are_kept(tmp_path):
    rows = [{"epoch": e, "loss": train(e) if e < 9 else "nan", "val_loss": 0.5} for e in range(16)]
    log = read_log(write_csv(tmp_path / "log.csv", rows))
    assert alarms(log) == [("nonfinite_loss", 10)]
    rises = [{"epoch": e, "loss": 0.5 * 3.0**e if e < 9 else "inf", "val_loss": 0.5} for e in range(16)]
    assert alarms(read_log(write_csv(tmp_path / "log.csv", rises)))[0][0] == "learning_rate_too_high"


def test_what_other_curves_tell(tmp_path):
    def told(of, other):
        rows = [{"epoch": e, "loss": of(e), "val_loss": other(e)} for e in range(1, 21)]
        return [problem for problem, _ in alarms(read_log(write_csv(tmp_path / "log.csv", rows)))]

    def falls(e):
        return 0.05 + math.exp(-e / 3)

    wobbles = np.random.default_rng(0).normal(size=30)
    assert told(falls, lambda e: falls(e) + 0.05) == []
    assert told(falls, lambda e: 0.3 + 0.02 * wobbles[e]) == []  # noise of validation
    assert told(lambda e: 1.0 - 0.04 * e, lambda e: 1.05 - 0.04 * e) == ["stopped_too_early"]
    assert told(lambda e: 2.3, lambda e: 2.3) == ["plateau"]  # what it is is not to be seen from here
    assert told(lambda e: 0.5 + e, lambda e: 0.5) == ["learning_rate_too_high"]
    assert told(lambda e: math.exp(-e), lambda e: math.exp(-e)) == []  # falling, from next to nothing


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loss", ("train", "loss", "")), ("Train/Loss", ("train", "loss", "")),
        ("val/loss", ("validation", "loss", "")),
        ("eval_loss", ("validation", "loss", "")), ("loss.validation", ("validation", "loss", "")),
        ("epoch_loss", ("train", "loss", "epoch")), ("test_loss", ("test", "loss", "")),
        ("evaluation_loss_vs_iterations", ("validation", "loss", "step")), ("batch loss", ("train", "loss", "step")),
        ("val_accuracy", ("validation", "accuracy", "")), ("acc", ("train", "accuracy", "")),
        ("learning_rate", ("train", "learning_rate", "")), ("lr-AdamW/pg1", ("train", "learning_rate", "")),
        ("kl_loss", ("train", "", "")), ("memory", ("train", "", "")),
    ],
)  # fmt: skip
def test_names_are_read_by_their_words(name, said):
    assert words_of(name) == said


def test_what_was_not_read_is_said(tmp_path):
    path = write_csv(tmp_path / "log.csv", [{"epoch": e, "loss": 1.0, "memory": 3, "host": "a"} for e in range(4)])
    log = read_log(path)
    assert "not read: memory, host" in log.notes
    assert any(text.startswith("it counts epochs") for text in log.notes)
    assert any("no validation loss in it: overfitting cannot be seen" in text for text in log.notes)


def test_a_record_of_ours_is_a_log(tmp_path):
    path = tmp_path / "record.jsonl"
    writer = RecordWriter(path, {"layers": ["a"], "weights": [], "kinds": ["dense"]})
    writer.append({"kind": "epoch", "epoch": 1, "step": 5, "train": {"loss": 1.0}})
    writer.close()
    log = read_log(path)
    assert log.record.layers == ["a"] and len(log.record.epochs) == 1 and log.notes == []


# -- event files ----------------------------------------------------------------------------------------------------


def test_scalars_are_those_that_were_written():
    found = list(scalars(TORCH))
    losses = {s.step: s.value for s in found if s.tag == "Loss/train"}
    assert losses == {100 * e: pytest.approx(train(e)) for e in range(16)}
    assert {s.tag for s in found} == {"Loss/train", "Loss/validation", "lr"}  # and no histogram
    keras = list(scalars(EVENTS / "keras" / "validation" / TORCH.name))
    assert [s.value for s in keras] == pytest.approx([validation(e) for e in range(16)])


def test_the_package_itself_reads_the_same():
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    theirs = [(v.tag, e.step, pytest.approx(v.tensor.float_val[0])) for e in loader.EventFileLoader(str(TORCH)).Load()
              for v in e.summary.value if v.tensor.float_val]  # fmt: skip
    assert [tuple(s) for s in scalars(TORCH)] == theirs


def test_a_file_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    whole = TORCH.read_bytes()
    everything = list(scalars(TORCH))
    path = tmp_path / TORCH.name
    for cut in range(100, len(whole), 97):
        path.write_bytes(whole[:cut])
        found = list(scalars(path))
        assert found == everything[: len(found)]


def test_damaged_bytes_raise_nothing_of_their_own(tmp_path):
    whole, g = TORCH.read_bytes(), np.random.default_rng(0)
    path = tmp_path / TORCH.name
    for _ in range(200):
        hurt = bytearray(whole)
        for at in g.integers(0, len(whole), 20):
            hurt[at] = g.integers(0, 256)
        path.write_bytes(bytes(hurt))
        with contextlib.suppress(DataError):
            list(scalars(path))


def test_numbers_of_other_kinds_are_passed_over(tmp_path):
    def field(number, kind, data):
        head = bytes([number << 3 | kind])
        return head + (bytes([len(data)]) if kind == 2 else b"") + data

    def written(*values):
        events = [field(3, 2, b"brain.Event:2")]
        events += [
            field(2, 0, bytes([i])) + field(5, 2, field(1, 2, field(1, 2, b"loss") + v)) for i, v in enumerate(values)
        ]
        path = tmp_path / TORCH.name
        path.write_bytes(b"".join(struct.pack("<QI", len(e), 0) + e + bytes(4) for e in events))
        return [(s.step, s.value) for s in scalars(path)]

    double = field(8, 2, field(1, 0, b"\2") + field(6, 2, struct.pack("<d", 0.25)))
    several = field(8, 2, field(1, 0, b"\1") + field(5, 2, struct.pack("<2f", 1, 2)))
    whole = field(8, 2, field(1, 0, b"\3") + field(7, 2, b"\5"))
    assert written(double, several, whole, field(2, 5, struct.pack("<f", 0.5))) == [(0, 0.25), (3, 0.5)]


# -- what cannot be read --------------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(DataError) as told:
        read_log(path)
    return re.sub(r"\s+", " ", str(told.value))


def test_a_log_without_a_loss_says_what_there_is(tmp_path):
    said = refused(write_csv(tmp_path / "log.csv", [{"epoch": 1, "accuracy": 0.5, "memory": 3}]))
    assert "there is no loss in this log" in said and "got: train accuracy, memory" in said and "val_loss" in said


def test_an_empty_log(tmp_path):
    (tmp_path / "log.csv").write_text("")
    assert "there is nothing in this log" in refused(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("epoch,loss\n")
    assert "there is nothing in this log" in refused(tmp_path / "log.csv")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00")
    assert "this is no text" in refused(tmp_path / "log.csv")


def test_several_runs_are_named(tmp_path):
    rows = [{"run": run, "step": 1, "split": "train", "metric": "loss", "value": 1.0} for run in "ab"]
    assert "there are several runs in it" in refused(write_lines(tmp_path / "log.jsonl", rows))
    for version in ("version_0", "version_1"):
        (tmp_path / "tb" / version).mkdir(parents=True)
        (tmp_path / "tb" / version / TORCH.name).write_bytes(TORCH.read_bytes())
    assert "got: version_0, version_1" in refused(tmp_path / "tb")
    assert alarms(read_log(tmp_path / "tb" / "version_0")) == [("overfitting", 600)]


def test_what_is_no_event_file(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(struct.pack("<QI", 3, 0) + b"abc" + bytes(4))
    assert "this is no event file of TensorBoard's" in refused(path)


def test_lines_that_are_cut_or_no_numbers_are_passed_over(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"epoch": e, "loss": train(e), "val_loss": validation(e)}) for e in range(16)]
    path.write_text(
        "\n".join([*lines[:3], "warning: slow", '{"epoch": "x", "loss": 1}', *lines[3:], '{"epoch": 17, "lo'])
    )
    assert alarms(read_log(path)) == [("overfitting", 7)]
