"""`pellucid diagnose` as a person meets it: a run, a log, a recipe, and what is none of them."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.cli import main

SRC = Path(__file__).resolve().parents[1] / "src"
EVENTS = Path(__file__).parent / "signals" / "logs"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnose")
    with open(folder / "keras.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["epoch", "loss", "val_loss", "memory"])
        log.writerows([e, 1 / (1 + e), 0.6 - 0.05 * e if e <= 6 else 0.3 + 0.06 * (e - 6), 5] for e in range(16))
    with open(folder / "well.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["epoch", "loss", "val_loss"])
        log.writerows([e, 0.1 + math.exp(-e / 2), 0.15 + math.exp(-e / 2)] for e in range(16))
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "slow.toml").write_text(
        '[data]\nsource = "moons"\n[network]\nspec = "mlp:8"\n[train]\nplain = true\nsteps = 2000\n'
        'optimizer = "adam"\nlearning_rate = 1e-7\n'
    )
    (folder / "straight.toml").write_text(
        '[data]\nsource = "moons"\n[network]\nspec = "mlp:8,8,activation=identity"\n'
        "[train]\nplain = true\nsteps = 300\n"
    )
    (folder / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    return folder


def call(capsys, monkeypatch, folder, *args):
    """(exit code, stdout, stderr) of a command run in this process."""
    monkeypatch.chdir(folder)
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return left.value.code, out, err


def process(*args, cwd):
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, "-m", "pellucid", *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=240,
        env={**kept, "PYTHONPATH": str(SRC), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


def test_a_log_is_told_on_stdout_and_what_it_lacks_on_stderr(place):
    done = process("diagnose", "keras.csv", cwd=place)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith("doctor: overfitting")
        and "since step 7 the validation loss rose from 0.3" in done.stdout
    )
    assert "not read: memory" in done.stderr and "it counts epochs" in done.stderr
    assert "what goes on in the layers cannot be seen" in done.stderr


def test_a_log_as_json_and_as_a_hint(place, capsys, monkeypatch):
    code, out, _ = call(capsys, monkeypatch, place, "diagnose", "keras.csv", "--json")
    assert code == 0 and [f["problem"] for f in json.loads(out)] == ["overfitting"]
    code, out, _ = call(capsys, monkeypatch, place, "diagnose", "keras.csv", "--doctor", "hint")
    assert code == 0 and "overfitting" not in out and "?" in out
    code, out, _ = call(capsys, monkeypatch, place, "diagnose", "keras.csv", "--silence", "overfitting")
    assert code == 0 and "nothing is wrong" in out


def test_a_log_in_which_all_is_well(place, capsys, monkeypatch):
    code, out, _ = call(capsys, monkeypatch, place, "diagnose", "well.csv")
    assert code == 0 and out.startswith("doctor: nothing is wrong")


def test_event_files_and_their_folder(place, capsys, monkeypatch):
    for source in (EVENTS / "keras", EVENTS / "torch", next((EVENTS / "torch").iterdir())):
        code, out, _ = call(capsys, monkeypatch, place, "diagnose", source)
        assert code == 0 and out.startswith("doctor: overfitting")


def test_a_recipe_is_looked_at_and_tried_in_memory(place, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, place, "diagnose", "slow.toml", "--json")
    assert code == 0, err
    assert "learning_rate_too_low" in [f["problem"] for f in json.loads(out) if f["severity"] != "note"]
    assert "a trial of 200 of 2,000 updates" in err and not (place / "runs").exists()


def test_what_preflight_fears_is_told_of_a_recipe(place, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, place, "diagnose", "straight.toml", "--quiet")
    assert code == 0 and out.startswith("doctor: layers without an activation") and err == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing.csv"], "there is no such log"),
        (["nothing.toml"], "there is no such recipe"),
        (["nothing"], "there is no run here"),
        (["rows.csv"], "there is no loss in this log"),
        (["picture.png"], "this is neither a run, nor a log, nor a recipe"),
        (["keras.csv", "--doctor", "shout"], "hint or full"),
        (["keras.csv", "--silence", "overfiting"], "did you mean 'overfitting'?"),
    ],
)
def test_mistakes_are_told_in_words(place, capsys, monkeypatch, args, said):
    code, out, err = call(capsys, monkeypatch, place, "diagnose", *args)
    assert code == 2 and out == "" and err.startswith("error: ") and said in err and "Traceback" not in err


def test_a_recipe_that_runs_code_needs_trust(place, capsys, monkeypatch):
    (place / "code.toml").write_text('[data]\nsource = "moons"\n[network]\nspec = "net.py:make"\n')
    code, _, err = call(capsys, monkeypatch, place, "diagnose", "code.toml")
    assert code == 2 and "add --trust" in err
