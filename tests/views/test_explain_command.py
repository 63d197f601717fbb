"""`pellucid explain` as a process: what a person sees of a convolutional, a recurrent and an attention network."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from pellucid.commands.explain import Shown, check_shown
from pellucid.data import load
from pellucid.errors import SettingError
from pellucid.network.composite import Sequential
from pellucid.network.conv import Conv
from pellucid.network.dense import Dense, Flatten
from pellucid.views.explain import forward


def pellucid(folder, *args, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", *map(str, args)], cwd=folder, capture_output=True, encoding="utf-8",
        env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "80", "PYTHONUTF8": "1", "NO_COLOR": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("explain")
    digits = load("digits")
    images = np.asarray(digits.x, np.float64).reshape(-1, 8, 8).astype("uint8")
    np.savez(made / "images.npz", x=images[:300], y=digits.y[:300])
    (made / "text.txt").write_text("the cat sat on the mat, the dog sat on the log. " * 40, encoding="utf-8")
    (made / "pairs.tsv").write_text(
        "source\ttarget\n" + "".join(f"{w}\t{w[::-1]}\n" for w in ("abc", "bca", "cab", "ac", "ba", "cb") * 5)
    )
    quiet = ("--epochs", 1, "--no-baselines", "--quiet")
    pellucid(made, "train", "images.npz", "--network", "cnn:4,dense=8", "--out", "cnn", *quiet)
    return made


def lines_of(text):
    assert max(map(len, text.splitlines())) <= 80 or max(map(len, text.splitlines()[1:])) <= 80
    return " ".join(text.split())


def test_a_convolutional_network_and_a_filter_of_it(folder):
    said = lines_of(pellucid(folder, "explain", "cnn", "--row", 7))
    assert "the strongest response: rows" in said and "pixels, as they came" in said
    assert "gradients agree" in said and "UPDATE" in said
    text = pellucid(folder, "explain", "cnn", "--row", 7, "--layer", "conv1", "--unit", 2, "--place", "3,4")
    assert "filter 2 at place (3, 4)" in text and "hidden" not in text
    found = json.loads(pellucid(folder, "explain", "cnn", "--row", 7, "--json"))
    conv = next(s for s in found["stages"] if s["path"] == "conv1")
    assert np.shape(conv["y"]) == (8, 8, 4) and np.shape(conv["gradients"]["w"]) == (3, 3, 1, 4)
    assert found["check"]["agrees"] is True
    pixels = np.pad(np.array(conv["x"])[..., 0], 1)[2:5, 3:6]  # what filter 2 sees at row 3, column 4
    assert np.sum(pixels * np.array(conv["weights"]["w"])[:, :, 0, 1]) == pytest.approx(conv["y"][2][3][1])
    assert f"= {conv['y'][2][3][1]:.4g}" in text


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (Shown(layer="conf"), "did you mean 'conv'?"),
        (Shown(place="3"), "a place is a row and a column"),
        (Shown(place="9,1"), "there is no such place"),
        (Shown(head=2), "there is no head 2"),
        (Shown(step=3), "a network with a layer that reads steps"),
        (Shown(step=0), "steps are counted from 1"),
    ],
)
def test_what_is_not_there_is_said(shown, said):
    layers = Sequential(("conv", Conv(2)), Flatten(), Dense(2))
    x = np.ones((4, 4, 1), "float32")
    stages = forward(layers, x, {"conv/w": np.ones((3, 3, 1, 2)), "conv/b": np.ones(2), "dense1/w": np.ones((32, 2))})
    with pytest.raises(SettingError, match=re.escape(said)):
        check_shown(stages, shown)


def test_a_mistake_ends_with_a_word_and_no_traceback(folder):
    error = pellucid(folder, "explain", "cnn", "--layer", "conf1", code=2)
    assert "did you mean 'conv1'?" in error and "Traceback" not in error


def test_recurrent_networks_on_rows_of_an_image(folder):
    said = lines_of(pellucid(folder, "explain", "images.npz", "--network", "gru:6", "--step", 5))
    assert "step 5, unit" in said and "reset gate" in said and "a step." in said and "gradients agree" in said


def test_a_transformer_on_text(folder):
    command = ("explain", "text.txt", "--network", "transformer:1,2,8", "--row", 3, "--step", 9, "--head", 1)
    said = lines_of(pellucid(folder, *command))
    assert "window 3" in said and "head 1 at step 9" in said and "may look at 9 of 64 steps" in said
    assert "perplexity e^L" in said and "gradients agree" in said
    error = pellucid(folder, "explain", "text.txt", "--network", "transformer:1,2,8", "--row", 10_000, code=2)
    assert "there is no such window of the text" in error


def test_pairs_of_texts(folder):
    command = ("explain", "pairs.tsv", "--task", "pairs", "--network", "seq2seq:4", "--row", 2)
    said = lines_of(pellucid(folder, *command))
    assert "pair 2" in said and "steps of the source" in said and "gradients agree" in said
