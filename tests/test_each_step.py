"""Sequences of numbers with a target at every step, from arrays and tables to answers."""

import csv
import io
import json

import numpy as np
import pytest

import pellucid as pc
from pellucid.cli import main
from pellucid.data import Dataset
from pellucid.errors import NetworkError

G = np.random.default_rng(0)
X = G.normal(size=(60, 8, 2)).astype(np.float32)
SUM = np.cumsum(X[..., 0], axis=1)
LENGTHS = np.concatenate([[8], G.integers(2, 9, 59)])
PADDED = np.where((np.arange(8) < LENGTHS[:, None])[..., None], X, np.nan)
WORDS = {"out": None, "baselines": False, "batch_size": 8}


@pytest.mark.parametrize(
    "network",
    ["rnn:12", "lstm:12", "gru:12,bidirectional=true", "transformer:layers=1,heads=2,width=16"],
)
def test_each_network_learns_the_sign_of_a_running_sum(network):
    data = Dataset(PADDED, (SUM > 0).astype(int))
    run = pc.fit(network, data, epochs=25, learning_rate=0.02, **WORDS)
    assert run.result["task"] == "classification" and run.result["metric"] == "accuracy"
    assert run.result["train"]["accuracy"] > 0.7
    known = run.prepared.test.y >= 0
    confusion = np.array(run.result["details"]["confusion"])
    assert confusion.sum() == known.sum(), "steps that only fill up count nowhere"
    assert run.result["details"]["accuracy"] == pytest.approx(run.result["test"]["accuracy"])
    answers = run.network.predict(PADDED[:5])
    assert answers.shape == (5, 8)
    np.testing.assert_array_equal([[v is None for v in row] for row in answers.tolist()], np.isnan(PADDED[:5, :, 0]))


def test_what_stands_in_filling_steps_changes_nothing():
    a, b = (SUM > 0).astype(int), (SUM > 0).astype(int)
    b[np.isnan(PADDED[..., 0])] = 0
    losses = [pc.fit("rnn:4", Dataset(PADDED, y), epochs=2, **WORDS).result["test"] for y in (a, b)]
    assert losses[0] == losses[1]


def test_numbers_at_every_step_come_back_in_their_own_units():
    run = pc.fit("gru:12", Dataset(X, 100 + 10 * SUM), epochs=40, learning_rate=0.02, **WORDS)
    assert run.result["task"] == "regression" and run.result["test"]["r2"] > 0.5
    found = run.network.predict(X)
    assert found.shape == (60, 8)
    assert np.abs(found - (100 + 10 * SUM)).mean() < np.abs(10 * SUM).mean()
    assert run.result["details"]["r2"] == pytest.approx(run.result["test"]["r2"], abs=1e-3)


@pytest.mark.parametrize("network", ["mlp", "perceptron", "cnn"])
def test_networks_with_one_answer_an_example_say_so(network):
    with pytest.raises(NetworkError) as caught:
        pc.fit(network, Dataset(X, SUM), epochs=1, **WORDS)
    text = str(caught.value)
    assert "one target each" in text and "with a target at every step" in text and "transformer" in text


def command(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    assert left.value.code == 0


def test_on_the_command_line_with_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = ["walk,t,a,state"]
    for i, n in enumerate(LENGTHS):
        lines += [f"w{i},{t},{X[i, t, 0]},{'up' if SUM[i, t] > 0 else 'down'}" for t in range(n)]
    (tmp_path / "walks.csv").write_text("\n".join(lines))
    cut = ["--sequences", "--group", "walk", "--time", "t", "--target", "state", "--each-step"]
    train = ["train", "walks.csv", *cut, "--network", "rnn:8", "--epochs", "2", "--out", "run", "--quiet", "--json"]
    command(*train)
    assert json.loads(capsys.readouterr().out)["task"] == "classification"
    command("predict", "run", "walks.csv", "-p")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["walk", "step", "prediction", "probability_down", "probability_up"]
    assert len(rows) == LENGTHS.sum() and [row["step"] for row in rows[:9]] == [*"12345678", "1"]
    command("evaluate", "run", "walks.csv", "--json")
    assert np.sum(json.loads(capsys.readouterr().out)["details"]["confusion"]) == LENGTHS.sum()
    command("evaluate", "run")
