"""What a terminal shows: within 80 columns, no colour where none is wanted, nothing drawn over where it cannot be."""

import io

import pytest
from rich.console import Console

from pellucid.fit import fit
from pellucid.views import facts
from pellucid.views.console import live
from pellucid.views.summary import evaluation, show_summary
from pellucid.views.terminal import TerminalProgress

BASELINES = [
    {"name": "majority", "metric": "accuracy", "validation": 0.1, "test": 0.11, "note": None},
    {"name": "linear", "metric": "accuracy", "validation": 0.95, "test": 0.981, "note": None},
    {"name": "boosted trees", "metric": "accuracy", "validation": 0.93, "test": 0.97, "note": None},
]
RESULT = {
    "task": "classification", "metric": "accuracy", "train": {"loss": 0.01, "accuracy": 0.999},
    "validation": {"loss": 0.1, "accuracy": 0.96}, "test": {"loss": 0.12, "accuracy": 0.968}, "best_epoch": 23,
    "epochs": 33, "steps": 1320, "stopped": "patience", "seconds": 12.3, "compile_seconds": 4.5,
    "examples_per_second": 123456.7, "parameters": 6570, "peak_memory_bytes": 480_000_000, "baselines": BASELINES,
    "notes": ["column 'an_identifier_with_a_long_name' holds a different text in each row and is left out"],
    "range_test": {"chosen": 0.003}, "run": "/somewhere/with/a/very/long/path/that/goes/on/and/on/20260101-digits",
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(renderable, **settings):
    file = io.StringIO()
    Console(file=file, width=80, **settings).print(renderable)
    return file.getvalue()


def summarised(result, report=None):
    file = io.StringIO()
    show_summary(Console(file=file, width=80), result, report)
    return file.getvalue()


def test_the_summary_fits_80_columns_and_has_no_colour_in_a_file():
    text = summarised(RESULT, "/somewhere/report.html")
    lines = text.splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines if "/" not in line) and "\x1b" not in text
    assert RESULT["run"] in text  # a path is never torn apart
    assert "a linear model does better here: 0.981 against 0.968" in text
    assert "best epoch 23 of 33, its weights are kept; no better validation score came" in text
    for said in ("0.9990", "majority", "note: column", "learning rate 0.003", "480 MB", "/somewhere/report.html"):
        assert said in text


def test_the_summary_draws_no_boxes():
    assert not set(summarised(RESULT)) & set("│─┌┐└┘├┤╭╮╰╯━┃")


def test_a_network_that_wins_hears_no_such_word():
    won = {**RESULT, "baselines": BASELINES[:1]}
    assert facts.beaten_by(won) is None
    assert facts.beaten_by({**won, "test": None, "validation": None}) is None


def test_close_scores_are_told_apart():
    close = {**RESULT, "test": {"accuracy": 0.98096}}
    assert facts.beaten_by(close) == "a linear model does better here: 0.98100 against 0.98096"


def test_a_diverged_result_is_shown():
    scores = dict.fromkeys(facts.PARTS)
    text = summarised({**RESULT, **scores, "best_epoch": 0, "stopped": "diverged"})
    assert "no epoch of 33 had a finite score; it diverged" in text


def test_only_a_real_terminal_is_drawn_over(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert live(Console(file=Terminal()))
    assert not live(Console(file=io.StringIO(), force_terminal=True))  # FORCE_COLOR asks for colour alone
    monkeypatch.setenv("TERM", "dumb")
    assert not live(Console(file=Terminal()))


def progress_of(file, epochs, **settings):
    with TerminalProgress(Console(file=file, width=80)) as progress:
        return fit(
            "mlp:4", "xor", epochs=epochs, out=None, baselines=False, callbacks=[progress], patience=epochs, **settings
        )


def test_plain_lines_are_thinned_out_and_the_last_is_there():
    file = io.StringIO()
    progress_of(file, 120)
    lines = file.getvalue().splitlines()
    assert lines[0] == "xor: 280 training + 60 validation + 60 test rows, 2 features, 2 classes"
    assert lines[1].startswith("mlp:4: 22 parameters, adamw, batch 32, on ")
    epochs = [int(line.split("/")[0].removeprefix("epoch")) for line in lines[2:]]
    assert epochs[0] == 1 and epochs[-1] == 120 and 20 <= len(epochs) <= 50
    assert max(map(len, lines)) <= 80 and "validation loss" in lines[-1] and "accuracy" in lines[-1]


def test_few_epochs_are_all_told():
    file = io.StringIO()
    run = progress_of(file, 3)
    lines = [line for line in file.getvalue().splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    last = run.history[-1]
    assert f"loss {last['validation']['loss']:.4f} accuracy {last['validation']['accuracy']:.4f}" in lines[-1]


def test_the_bar_is_drawn_and_cleared_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    file = Terminal()
    progress_of(file, 5)
    text = file.getvalue()
    assert "compiling" in text and text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
    assert "epoch 1/5  loss" not in text


def test_an_exception_leaves_no_bar_behind(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    file = Terminal()

    class Boom(TerminalProgress):
        def epoch_ended(self, event):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), Boom(Console(file=file, width=80)) as progress:
        fit("mlp:4", "xor", epochs=2, out=None, baselines=False, callbacks=[progress])
    assert progress.bar is None and file.getvalue().count("\x1b[?25h") == file.getvalue().count("\x1b[?25l") == 1


def test_an_evaluation_is_shown_with_its_confusion():
    found = {
        "file": None, "part": "test", "rows": 4, "loss": 0.5, "accuracy": 0.75, "metric": "accuracy", "notes": [],
        "details": {"part": "test", "accuracy": 0.75, "f1": 0.7, "confusion": [[2.0, 1.0], [0.0, 1.0]],
                    "classes": ["no", "yes"]},
    }  # fmt: skip
    text = printed(evaluation(found))
    assert "4 rows of the run's own test part" in text and "0.7500" in text and "true \\ predicted" in text
    many = {
        **found["details"],
        "classes": [f"class {i}" for i in range(30)],
        "confusion": [[0.0] * 30 for _ in range(30)],
    }
    many["confusion"][3][7] = 5.0
    assert "class 3  class 7        5" in printed(evaluation({**found, "details": many}))
