"""Seeds and folds: one after the other, or side by side, with the same scores."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import pellucid as pc
from pellucid.network.layer import flatten
from pellucid.recipe import make
from pellucid.session import Callback
from pellucid.several import fit_folds, fit_seeds

WORDS = {"source": "iris", "epochs": 6, "baselines": False, "seed": 3}


class Counts(Callback):
    def __init__(self, kept):
        self.kept, self.seed = kept, None

    def started(self, session):
        self.seed = session.recipe.train.seed

    def epoch_ended(self, event):
        self.kept.append(self.seed)


class Shows(Counts):
    of_one_run = True


def test_seeds_side_by_side_score_as_one_after_the_other(tmp_path):
    told, shown = [], []
    alone = fit_seeds(make(WORDS), 3, out=tmp_path / "alone")
    beside = fit_seeds(
        make(WORDS), 3, out=tmp_path / "beside", side_by_side=True, callbacks=[Counts(told), Shows(shown)]
    )
    assert [one["seed"] for one in beside.result["seeds"]] == [3, 4, 5]
    for a, b in zip(alone.runs, beside.runs, strict=True):
        assert b.result["test"]["loss"] == pytest.approx(a.result["test"]["loss"], rel=1e-3)
        assert b.result["best_epoch"] == a.result["best_epoch"]
        assert [f["problem"] for f in b.findings] == [f["problem"] for f in a.findings]
        for path, value in flatten(a.network.params).items():
            np.testing.assert_allclose(flatten(b.network.params)[path], value, rtol=2e-3, atol=2e-5, err_msg=path)
    assert [sorted(told[i : i + 3]) for i in range(0, 18, 3)] == [[3, 4, 5]] * 6 and len(told) == 18  # epoch by epoch
    assert shown == [3] * 6  # what shows one run is told of the first


def test_folds_of_unlike_sizes_go_side_by_side_too():
    words = {**WORDS, "epochs": 2}
    alone = fit_folds(make(words), 4, out=None)
    beside = fit_folds(make(words), 4, out=None, side_by_side=True)
    for name, value in alone.result["mean"].items():
        assert beside.result["mean"][name] == pytest.approx(value, rel=1e-3)


SCRIPT = """
import sys
from pellucid.errors import Interrupted
from pellucid.recipe import make
from pellucid.several import fit_seeds
try:
    words = {"source": "digits", "epochs": 100000, "patience": 100000, "baselines": False}
    fit_seeds(make(words), 2, out=sys.argv[1], side_by_side=True)
except Interrupted as error:
    sys.exit(error.exit_code)
"""


def test_ctrl_c_saves_them_all(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)])
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*/seed*/record.jsonl"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    for folder in sorted(tmp_path.glob("*/seed*")):
        assert (folder / "checkpoint").exists() and not (folder / "result.json").exists()

    class Stops(Callback):
        def chunk_ended(self, event):
            return "stop"

    with pytest.raises(pc.errors.Interrupted):
        pc.resume(folder, callbacks=[Stops()])
