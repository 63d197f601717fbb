"""From a folder of images to predictions, as the command line does it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pellucid as pc


@pytest.mark.slow
def test_from_a_folder_to_predictions(tmp_path):
    rng = np.random.default_rng(0)
    for kind, level in (("bright", 150), ("dark", 0)):
        for i in range(60):
            path = tmp_path / "set" / kind / f"{i}.{'jpg' if i % 2 else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((level + rng.integers(0, 100, (17, 16, 3))).astype(np.uint8)).save(path)
    (tmp_path / "set" / "dark" / "bad.jpg").write_bytes(b"\xff\xd8 nothing")
    words = [sys.executable, "-m", "pellucid"]
    asked = [*words, "train", "set", "--epochs", "8", "--augment", "flip,crop:1", "--out", "run", "--json"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "dark/bad.jpg" in done.stderr and "--skip-bad" in done.stderr
    done = subprocess.run([*asked, "--skip-bad"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["test"]["accuracy"] > 0.9
    assert any("bad.jpg" in note for note in result["notes"])
    saved = pc.Network.load(tmp_path / "run")
    assert [part.name for _, part in saved.layer.layers][1] == "conv"  # the network for images, unasked
    for i, level in enumerate((200, 20)):
        Image.fromarray(np.full((40, 30), level, np.uint8)).save(tmp_path / f"new{i}.png")  # grey, another size
        done = subprocess.run(
            [*words, "predict", "run", f"new{i}.png"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines() == ["file,prediction", f"new{i}.png,{('bright', 'dark')[i]}"], done.stderr
