"""A run followed from its folder: logs that grow, are cut, come late or go away; what is thinned; what is refused."""

import json
import os

import numpy as np
import pytest

from pellucid.doctor.problems import PROBLEMS
from pellucid.rundir import Lock, RunDir
from pellucid.web.follow import MOST_LINES, Followed
from pellucid.web.runs import Runs, find
from pellucid.web.table import MOST, Table
from pellucid.web.tail import Tail

HEADER = {
    "kind": "header", "schema": 1, "layers": ["hidden1", "output"], "kinds": ["dense", "output"],
    "weights": ["hidden1/w"], "shapes": [[4, 3]],
    "setup": {"updates": 100, "batch": 8, "steps_per_epoch": 10, "metric": "accuracy", "every": 1},
}  # fmt: skip


def step(n, value=1.0):
    layers = {"rms": [value, "inf"], "zero": [0.0, 0.5]}
    weight = {"gradient": [0.1], "update": [0.002], "rms": [0.5]}
    return {
        "kind": "step",
        "step": n,
        "loss": value,
        "learning_rate": 0.1,
        "activation": layers,
        "gradient": layers,
        "weight": weight,
    }


def epoch(n, loss):
    scores = {"loss": loss, "accuracy": 0.5}
    return {
        "kind": "epoch",
        "epoch": n,
        "step": 10 * n,
        "train": {"loss": loss},
        "sample": scores,
        "validation": scores,
        "improved": n < 3,
    }


def write(path, *lines, mode="a"):
    with open(path, mode) as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


@pytest.fixture
def place(tmp_path):
    found = RunDir(tmp_path / "runs" / "one")
    found.path.mkdir(parents=True)
    found.recipe.write_text('name = "one"\n[data]\nsource = "digits"\n')
    return found


def test_a_log_is_read_in_whole_lines_and_anew_where_it_was_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    tail = Tail(path)
    assert tail.read() == (False, [])
    write(path, {"n": 1}, {"n": 2})
    with open(path, "a") as file:
        file.write('{"n": 3')
    assert tail.read() == (False, [{"n": 1}, {"n": 2}])
    assert tail.read() == (False, [])
    with open(path, "a") as file:
        file.write('}\nno json\n[1]\n{"n": 4}\n')
    assert tail.read() == (False, [{"n": 3}, {"n": 4}])
    whole = path.read_bytes()
    path.write_bytes(whole[:8])  # cut
    assert tail.read() == (True, [{"n": 1}])
    path.write_bytes(whole[:8] + b'{"n": 5}\n{"n": 6}\n{"n": 7}\n')
    assert tail.read() == (False, [{"n": n} for n in (5, 6, 7)])
    path.write_bytes(b'{"n": 8}\n' * 9)  # longer than before, and other bytes where we stood
    assert tail.read() == (True, [{"n": 8}] * 9)
    path.unlink()
    assert tail.read() == (True, [])


def test_a_log_that_leads_out_of_its_folder_is_not_read(tmp_path):
    write(tmp_path / "secret.jsonl", {"secret": 1})
    (tmp_path / "run").mkdir()
    os.symlink(tmp_path / "secret.jsonl", tmp_path / "run" / "record.jsonl")
    assert Tail(tmp_path / "run" / "record.jsonl").read() == (False, [])


def test_thinning_keeps_every_peak_and_trough():
    rng = np.random.default_rng(0)
    table, values = Table({"a": None, "b": 2}), rng.normal(size=(10_000, 3))
    values[1234, 0], values[777, 1], values[8_888, 2] = 50.0, -50.0, np.nan
    for n, row in enumerate(values):
        table.add(n, {"a": row[0], "b": row[1:].tolist()})
    shown = table.shown(most=MOST)
    assert MOST - 2 <= len(shown["step"]) <= MOST
    assert (shown["step"][0], shown["step"][-1]) == (0, 9_999) and shown["step"] == sorted(shown["step"])
    assert max(shown["a"]) == 50.0 and min(shown["b"][0]) == -50.0
    assert shown["b"][1].count("nan") == 1
    assert abs(shown["step"][shown["a"].index(50.0)] - 1234) <= 20, "and near where it was"


def test_a_run_that_begins_grows_is_resumed_and_goes_away(place):
    recipe = place.recipe.read_text()
    place.recipe.unlink()
    run = Followed(place)
    run.poll()
    assert run.snapshot()["status"] == "waiting"
    place.recipe.write_text(recipe)
    with Lock(place.lock):
        run.poll()
        assert run.snapshot()["status"] == "starting"
        write(place.record, HEADER, step(0), epoch(1, 0.9))
        write(place.clock, {"kind": "chunk", "time": 1.0, "seconds": 1.0, "step": 10, "steps": 10})
        assert run.poll()["again"]
        whole = run.snapshot()
        assert (whole["status"], whole["layers"], whole["about"]) == (
            "running",
            ["hidden1", "output"],
            ["digits", "network"],
        )
        assert whole["tables"]["steps"]["activation"] == [[1.0], ["inf"]]
        assert whole["tables"]["steps"]["update"] == [[0.004]]
        assert run.poll() is None

        write(place.record, step(11, 2.0), epoch(2, 0.8))
        write(place.clock, {"kind": "epoch", "seconds": 1.0, "step": 10})
        write(place.clock, {"kind": "chunk", "seconds": 2.0, "step": 20, "steps": 10})
        write(place.clock, {"kind": "paused", "step": 20, "time": 9.0})
        more = run.poll()
        assert more["seq"] == whole["seq"] + 1 and more["status"] == "paused"
        assert more["tables"]["steps"]["loss"] == [2.0] and more["tables"]["epochs"]["step"] == [20]
        assert more["progress"] == {"step": 20, "total": 100, "elapsed": 4.0, "left": 16.0, "speed": 40.0, "at": 9.0}
        assert more["best"] == 2
        write(place.clock, {"kind": "scoring", "step": 20, "time": 9.5})
        more = run.poll()
        assert more["status"] == "scoring" and more["progress"]["left"] is None

        kept = place.record.read_text().splitlines(keepends=True)[:3]  # killed, and resumed from an older checkpoint
        place.record.write_text("".join(kept))
        assert run.poll()["again"]
        assert run.snapshot()["tables"]["epochs"]["epoch"] == [1.0]
    run.poll()
    assert run.snapshot()["status"] == "interrupted"
    place.result.write_text(
        json.dumps({"metric": "accuracy", "stopped": "budget", "best_epoch": 1, "test": {"accuracy": 1}})
    )
    place.findings.write_text(json.dumps([{"problem": "x", "title": "<b>T", "severity": "warning", "summary": "s"}]))
    assert run.poll()["again"]
    assert (run.snapshot()["status"], run.snapshot()["findings"][0]["title"]) == ("finished", "<b>T")
    for path in place.path.iterdir():
        path.unlink()
    run.poll()
    assert run.snapshot()["status"] == "missing"


def test_a_foreign_record_is_read_as_far_as_it_goes(place):
    odd = [
        {"kind": "step"}, {"kind": "step", "step": "x"}, {"kind": "unknown", "step": 4},
        {"kind": "step", "step": 1, "activation": 7, "weight": {"rms": "no"}},
        {"kind": "units", "step": 3, "dead": [1]},
        {"kind": "epoch", "step": 2, "validation": None}, {"kind": "epoch", "step": 1e400},
    ]  # fmt: skip
    write(place.record, HEADER)
    with open(place.record, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in odd)
    run = Followed(place)
    run.poll()
    whole = json.dumps(run.snapshot(), allow_nan=False)
    assert json.loads(whole)["tables"]["steps"]["step"] == [1]


def test_a_hint_does_not_name_the_cause(place):
    place.recipe.write_text('[train]\ndoctor = "hint"\n')
    finding = {
        "problem": "dead_units", "title": "dead units", "severity": "warning", "summary": "half are dead",
        "evidence": {"share": 0.5}, "remedies": [{"text": "lower the rate"}],
    }  # fmt: skip
    write(place.record, {**HEADER, "setup": {**HEADER["setup"], "preflight": [finding]}})
    run = Followed(place)
    run.poll()
    said = json.dumps(run.snapshot()["findings"])
    assert PROBLEMS["dead_units"].question in said and "dead" not in said and "lower" not in said


def test_a_long_record_is_examined_in_bounded_lines(place):
    write(place.record, HEADER, *[step(n) for n in range(3 * MOST_LINES)])
    run = Followed(place)
    run.poll()
    assert MOST_LINES / 2 <= len(run.examination.record.steps) <= MOST_LINES
    assert len(run.snapshot()["tables"]["steps"]["step"]) <= MOST


def test_names_of_runs_are_plain_and_stay_in_the_folder(tmp_path, place):
    root = place.path.parent
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "recipe.toml").write_text("")
    os.symlink(tmp_path / "outside", root / "link")
    assert find(root, "one").path == place.path
    assert find(root, "not-yet") is not None
    for name in ("..", ".", "", "../outside", "one/..", "/etc", "link", "a\\b", "C:", "a\0b", "x" * 300):
        assert find(root, name) is None, name
    lines, gone = Runs(root).poll()
    assert [line["name"] for line in lines] == ["one"] and gone == []


def test_the_list_tells_what_changed(place):
    runs = Runs(place.path.parent)
    write(place.record, HEADER, step(0), epoch(1, 0.9))
    [line], _ = runs.poll()
    assert (line["status"], line["metric"], line["score"], line["spark"]) == ("interrupted", "accuracy", 0.5, [0.9])
    assert runs.poll() == ([], [])
    write(place.record, epoch(2, 0.4))
    [line], _ = runs.poll()
    assert line["spark"] == [0.9, 0.4]
    with Lock(place.lock):
        [line], _ = runs.poll()
        assert line["status"] == "running"
        write(place.clock, {"kind": "paused", "time": 1.0, "step": 20})
        [line], _ = runs.poll()
        assert line["status"] == "paused"
    place.recipe.unlink()
    assert runs.poll() == ([], ["one"]) and runs.lines() == []
