"""Each example runs, as a person would run it, and prints what it promises."""

import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import pellucid as pc
from pellucid.views.svg import Line, line_chart

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {
    "adding_problem": (r"rnn, uniform +6", r"guessing 1 has a test MSE of (\S+)", 0.1),
    "copy_memory": (r"rnn, orthogonal +6", r"guessing has a cross-entropy of (\S+)", 2.07),
    "custom_layer": (r"bumps1\s+bumps\s+24\s+72", r"test accuracy (\S+)", 0.9),
    "equinox_module": (r"loaded network agrees: True", r"test accuracy (\S+);", 0.85),
    "flax_module": (r"running state: mean, var", r"test accuracy (\S+) after", 0.85),
    "hand_written_loop": (r"training loss 0\.\d+", r"test accuracy (\S+)", 0.95),
    "reverse_and_sort": (r"pellucid +-> ", r"sort: exact match (\S+) of", 0.0),
    "sklearn_pipeline": (r"best: mlp:16", r"test accuracy (\S+)", 0.9),
}
QUICK = {"adding_problem", "copy_memory", "reverse_and_sort"}  # run in tiny settings: minutes are for docs/memory.md


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
def test_example(name, tmp_path):
    for library in re.findall(r"equinox|flax|sklearn|pandas", (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")):
        pytest.importorskip(library)
    source = str(Path(pc.__file__).parents[1])
    words = [str(EXAMPLES / f"{name}.py"), *(["--quick"] if name in QUICK else [])]
    done = subprocess.run(
        [sys.executable, "-W", "error", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line, score, least = PROMISED[name]
    assert re.search(line, done.stdout), done.stdout
    found = re.search(score, done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) >= least
    assert not list(tmp_path.iterdir())  # nothing is left lying about


ADDING = runpy.run_path(str(EXAMPLES / "adding_problem.py"))


def test_gradients_at_each_step_are_those_of_a_recurrence_that_halves():
    cell = pc.RNN(1, each_step=False, activation="identity")
    params = {"cell": {"w": jnp.ones((1, 1)), "u": jnp.full((1, 1), 0.5), "b": jnp.zeros(1)}}
    network = pc.Network(pc.Sequential(("cell", cell)), params, {})
    found = ADDING["gradient_norms"](network, jnp.ones((3, 4, 1)), lambda outputs: 3 * outputs[:, 0])
    assert found.tolist() == [0.375, 0.75, 1.5, 3.0]  # 3 * 0.5 ** (4 - t)


@pytest.mark.parametrize("cell", [pc.RNN, pc.LSTM, pc.GRU])
def test_gradients_at_each_step_are_of_the_network_itself(cell):
    network = pc.Network(pc.Sequential(("cell", cell(3)))).initialised(jax.random.key(0), jnp.zeros((1, 5, 2)))
    found = ADDING["gradient_norms"](network, jnp.ones((2, 5, 2)), lambda outputs: outputs[:, -1, 0])
    assert found[-1] == 1.0  # of the last state by itself; that the outputs agree is asserted within
    assert (found > 0).all()


def test_a_picture_is_one_svg_file_with_a_legend(tmp_path):
    chart = line_chart([Line("a & b", [1, 2], [0.1, 0.2])], title="Loss", x_label="step", y_label="nats", log_y=True)
    ADDING["write_picture"](tmp_path / "p.svg", [chart, chart], ["a & b"])
    root = ElementTree.parse(tmp_path / "p.svg").getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}svg")) == 2
    assert "a & b" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
