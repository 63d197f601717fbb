"""What a watcher hears of a loop, in whatever order and however often it tells, becomes the same lines."""

import pytest

from pellucid.signals.journal import MOST_LINES, Journal
from pellucid.signals.record import read_record


def losses(journal: Journal) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in journal.record.steps if "loss" in line}


@pytest.mark.parametrize("before", [True, False])
def test_a_loss_belongs_to_its_update_told_before_it_or_after(before):
    journal = Journal(every=2)
    journal.begin([], [], [], {})
    for step in range(6):
        if before:
            journal.log(step, 10.0 + step)
        if journal.is_measured(step):
            journal.step({"step": step})
        if not before:
            journal.log(step + 1, 10.0 + step)
    assert losses(journal) == {0: 10.0, 1: 11.0, 2: 12.0, 4: 14.0}


def test_losses_of_several_batches_of_one_update_are_averaged():
    journal = Journal(every=1)
    journal.begin([], [], [], {})
    for step in range(3):
        journal.log(step, 1.0 + step)
        journal.log(step, 3.0 + step)
        journal.step({"step": step})
    assert losses(journal) == {0: 2.0, 1: 3.0, 2: 4.0}


def test_a_chunk_sums_up_its_losses_even_those_that_were_read_meanwhile():
    journal = Journal(every=4)
    journal.begin([], ["w"], [], {})
    for step, loss in enumerate([1.0, 3.0, 2.0, 4.0]):
        journal.log(step + 1, loss)
        assert journal.record.layers == []  # reads
    journal.chunk(4, [2.0])
    (line,) = journal.record.chunks
    assert line["norm"] == [2.0]
    assert line["loss"] == {"mean": 2.5, "std": 1.11803, "min": 1.0, "max": 4.0, "turns": 1.0}


def test_an_epochs_loss_is_the_mean_of_its_steps_or_the_one_that_is_told():
    journal = Journal(every=10)
    journal.begin([], [], [], {})
    for step in range(4):
        journal.log(step + 1, float(step))
    journal.log(4, validation={"loss": 9.0})
    journal.log(8, 0.25, {"accuracy": 0.5}, {"loss": 8.0, "accuracy": 0.25})
    first, second = journal.record.epochs
    assert (first["epoch"], first["step"], first["train"], first["validation"]) == (1, 4, {"loss": 1.5}, {"loss": 9.0})
    assert second["train"] == {"loss": 0.25, "accuracy": 0.5}
    assert second["validation"] == {"loss": 8.0, "accuracy": 0.25}


def test_without_validation_each_call_now_and_then_is_an_epoch():
    journal = Journal(every=10)
    journal.begin([], [], [], {})
    for updates in (30, 60, 90):
        journal.log(updates, 1 / updates)
    assert [line["step"] for line in journal.record.epochs] == [30, 60, 90]
    journal.log(120, 0.01, validation={"loss": 0.5})
    assert [line["step"] for line in journal.record.epochs] == [120]


def test_a_long_training_is_measured_more_rarely_and_the_record_stays_small():
    journal = Journal(every=1)
    journal.begin([], [], [], {})
    for step in range(7 * MOST_LINES // 2):
        if journal.is_measured(step):
            journal.step({"step": step})
            journal.chunk(step + 1)
    assert journal.every == 4
    assert len(journal.record.steps) <= MOST_LINES
    assert len(journal.record.chunks) <= MOST_LINES
    assert {line["step"] % 4 for line in journal.record.steps if line["step"] > 4} == {0}


def test_the_file_goes_on_after_it_was_closed(tmp_path):
    path = tmp_path / "deep" / "record.jsonl"
    journal = Journal(every=1, out=path)
    journal.begin(["a"], ["a/w"], ["dense"], {"task": "regression"})
    journal.log(1, 2.0)
    journal.close()
    journal.log(2, float("nan"), validation={"loss": float("inf")})
    journal.close()
    assert read_record(path) == journal.record
    assert journal.record.epochs[-1]["validation"] == {"loss": "inf"}
