"""Each example runs, as a person would run it, and prints what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {
    "custom_layer": (r"bumps1\s+bumps\s+24\s+72", r"test accuracy (\S+)", 0.9),
    "equinox_module": (r"loaded network agrees: True", r"test accuracy (\S+);", 0.85),
    "flax_module": (r"running state: mean, var", r"test accuracy (\S+) after", 0.85),
    "hand_written_loop": (r"training loss 0\.\d+", r"test accuracy (\S+)", 0.95),
    "sklearn_pipeline": (r"best: mlp:16", r"test accuracy (\S+)", 0.9),
}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
def test_example(name, tmp_path):
    for library in re.findall(r"equinox|flax|sklearn|pandas", (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")):
        pytest.importorskip(library)
    source = str(Path(pellucid.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line, score, least = PROMISED[name]
    assert re.search(line, done.stdout), done.stdout
    found = re.search(score, done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) >= least
    assert not list(tmp_path.iterdir())  # nothing is left lying about
