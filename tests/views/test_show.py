"""`pellucid show`: a run in the terminal, at every width, with and without colour and Unicode."""

import io
import json

import pytest
from rich.console import Console

from pellucid.commands.look import show as command
from pellucid.fit import fit
from pellucid.rundir import RunDir
from pellucid.views.show import layer_table, show, shown_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return fit("mlp:8,8,activation=tanh", "iris", epochs=8, out=out, name="irises", learning_rate=0.02)


def printed(what, width, **more) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width, highlight=False, markup=False, emoji=False, **more), what)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 56, 80, 132])
def test_every_width_shows_all_layers_within_it(run, width, monkeypatch):
    monkeypatch.setattr(Console, "encoding", "utf-8")
    text = printed(shown_run(RunDir(run.path)), width)
    lines = text.splitlines()
    assert max(map(len, lines[1:])) <= width  # the first is the run's name, which no width tears apart
    for layer in ("hidden1", "tanh1", "hidden2", "tanh2", "output"):
        assert sum(line.startswith(layer) for line in lines) == 1
    assert ("▁" in text) == (width >= 56)


def test_a_dumb_terminal_gets_letters_alone(run, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(shown_run(RunDir(run.path)), 80, force_terminal=True)
    assert text.isascii() and "\x1b" not in text and "#" in text


def test_the_numbers_are_those_of_the_record(run):
    found = shown_run(RunDir(run.path))
    lines = [json.loads(line) for line in (run.path / "record.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "step"][-1]
    place = lines[0]["layers"].index("tanh2")
    layer = next(one for one in found["layers"] if one["layer"] == "tanh2")
    assert layer["gradient"][-1] == last["gradient"]["rms"][place] and layer["kind"] == "tanh"
    text = printed(found, 100)
    row = next(line for line in text.splitlines() if line.startswith("tanh2"))
    assert f"{last['gradient']['rms'][place]:.2g}" in row and f"{last['activation']['rms'][place]:.2g}" in row
    assert f"{run.result['test']['accuracy']:.4f}" in text and "true \\ predicted" in text and "doctor: " in text


def test_a_spike_and_a_value_that_is_not_finite_stay_visible():
    values = [1.0] * 200
    values[77] = 1e4
    broken = [1.0] * 200
    broken[150] = float("inf")
    one = {"layer": "a", "kind": "dense", "activation": values, "gradient": broken, "dead": 0.75}
    file = io.StringIO()
    Console(file=file, width=80).print(layer_table([one], 80, unicode=False))
    row = file.getvalue().splitlines()[1]
    assert "@" in row and "!" in row and row.rstrip().endswith("75%")


def test_a_run_that_goes_on_is_shown_and_json_is_one_line(run, tmp_path, capsys):
    import shutil

    place = tmp_path / "going"
    shutil.copytree(run.path, place)
    (place / "result.json").unlink()
    (place / "findings.json").unlink()
    text = printed(shown_run(RunDir(place)), 80)
    assert "8 epochs so far" in text and "interrupted" in text and "hidden1" in text
    command(place, notes=False, as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out)["layers"][0]["layer"]
