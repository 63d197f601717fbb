"""Objects in a notebook: escaped, well-formed, and live progress in one output, by a stand-in for IPython."""

import json
import sys
import types

import numpy as np
import pytest
from tests.views.test_report import EVIL, parsed

import pellucid as pc
from pellucid.shown import Findings


class Notebook:
    """What a notebook was asked to show: outputs, each as often as it was written."""

    def __init__(self):
        self.outputs: list[list[str]] = []

    def display(self, page, display_id=None):
        assert display_id is True
        self.outputs.append([page])
        return types.SimpleNamespace(update=self.outputs[-1].append)


@pytest.fixture
def notebook(monkeypatch):
    found = Notebook()
    shell = type("ZMQInteractiveShell", (), {})
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: shell(), display=display)
    vars(display).update(HTML=str, display=found.display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    g = np.random.default_rng(0)
    x = g.normal(size=(90, 3))
    y = np.where(x[:, 0] > 0, EVIL, "b&b").astype(object)
    data = pc.Dataset(x, y, name=EVIL, feature_names=(EVIL, "b", "c"), target=("t<z",))
    out = tmp_path_factory.mktemp("runs")
    return pc.fit("mlp:4", data, epochs=3, out=out, name=f"a {EVIL}", baselines=False), data


def shown(value) -> str:
    html = value._repr_html_()
    assert EVIL not in html and "<z" not in html
    parsed(html)
    return html


def test_each_object_shows_itself_and_escapes_what_it_holds(run):
    run, data = run
    assert f"{run.result['test']['accuracy']:.4f}" in shown(run) and "<svg" in shown(run)
    assert "hidden1" in shown(run.network) and f"{run.network.parameters:,} parameters" in shown(run.network)
    table = shown(data)
    assert "2 classes" in table and table.count("<tr") == 6
    assert "has not met data" in shown(pc.mlp((4,)))


def test_datasets_of_every_kind_show_themselves():
    images = pc.Dataset(np.zeros((3, 8, 8), np.uint8), [0, 1, 0], class_names=("<cat>", "dog"))
    assert shown(images).count("data:image/png") == 3 and "&lt;cat&gt;" in shown(images)
    assert "to be" in shown(pc.Dataset(["to be <z>or", "not"], ["a", "b"]))
    assert "<table" not in shown(pc.Dataset(np.zeros((4, 5, 2)), [0.0, 1.0, 2.0, 3.0]))
    assert "petal" in shown(pc.load("iris"))


def test_findings_stay_a_list(run):
    findings = run[0].findings
    assert isinstance(findings, list) and json.loads(json.dumps(findings)) == list(findings)
    assert "nothing that harms" in shown(Findings())
    alarm = {"severity": "error", "title": "an alarm", "summary": EVIL, "layer": "<z>", "step": 7, "remedies": []}
    assert "since step 7" in shown(Findings([alarm])) and "1 error" in shown(Findings([alarm]))
    assert shown(pc.diagnose(str(run[0].path)))


def test_progress_is_one_output_written_anew(notebook):
    run = pc.fit("mlp:4", "iris", epochs=3, out=None, baselines=False)
    assert len(notebook.outputs) == 1
    first, last = notebook.outputs[0][0], notebook.outputs[0][-1]
    assert "compiling" in first and f"finished: test accuracy {run.result['test']['accuracy']:.4f}" in last
    assert 'aria-valuenow="100%"' in last and "<svg" in last
    parsed(last)


def test_a_notebook_can_be_quiet_and_scripts_are(notebook, monkeypatch):
    pc.fit("perceptron", "iris", epochs=1, out=None, baselines=False, quiet=True)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)  # imported, and no notebook
    pc.fit("perceptron", "iris", epochs=1, out=None, baselines=False)
    assert notebook.outputs == []


def test_a_diverged_run_leaves_its_last_word(notebook):
    with pytest.raises(pc.errors.Diverged):
        pc.fit("mlp:8", "sine", epochs=30, out=None, baselines=False, optimizer="sgd", learning_rate=50.0)
    assert "diverged" in notebook.outputs[0][-1]
