"""A run's event files hold what its record holds; a resumed run's together hold each step once, alike."""

import json
import math

import pytest

import pellucid as pc
from pellucid.cli import app
from pellucid.connect.tensorboard import TensorBoard
from pellucid.errors import Interrupted, SettingError
from pellucid.signals.events import scalars
from pellucid.signals.logs import read_log

SETTINGS = {"epochs": 6, "baselines": False, "batch_size": 8, "checkpoint_seconds": 0.0}


def read(folder):
    """{(tag, step): value} of all files, in their order."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    return {(s.tag, s.step): s.value for file in files for s in scalars(file)}


def lines_of(run, kind):
    lines = [json.loads(line) for line in (run.path / "record.jsonl").read_text().splitlines()]
    return lines[0], [line for line in lines if line["kind"] == kind]


def test_they_say_what_the_record_says(tmp_path):
    run = pc.fit("mlp:8", "iris", out=tmp_path, callbacks=[TensorBoard()], **SETTINGS)
    found = read(run.path / "tensorboard")
    header, epochs = lines_of(run, "epoch")
    for epoch in epochs:
        for part, key in (("train", "sample"), ("validation", "validation")):
            for name in ("loss", "accuracy"):
                assert found[f"{name}/{part}", epoch["step"]] == pytest.approx(epoch[key][name])
        assert found["learning_rate", epoch["step"]] == pytest.approx(epoch["learning_rate"])
    _, steps = lines_of(run, "step")
    for step in steps:
        for i, name in enumerate(header["layers"]):
            assert found[f"gradient/{name}", step["step"]] == pytest.approx(step["gradient"]["rms"][i])
        for i, (name, shape) in enumerate(zip(header["weights"], header["shapes"], strict=True)):
            norm = step["weight"]["gradient"][i] * math.sqrt(math.prod(shape))
            assert found[f"gradient_norm/{name}", step["step"]] == pytest.approx(norm)


def test_our_own_reader_of_logs_reads_them(tmp_path):
    run = pc.fit("mlp:8", "iris", out=tmp_path, callbacks=[TensorBoard()], **SETTINGS)
    record = read_log(run.path / "tensorboard").record
    own = [line["validation"]["loss"] for line in run.history]
    assert [line["validation"]["loss"] for line in record.epochs] == pytest.approx(own, rel=1e-5)


def test_a_resumed_run_appends_a_file_and_nothing_is_missing(tmp_path):
    class Stop(pc.Callback):
        def epoch_ended(self, event):
            return "stop" if event.epoch == 3 else None

    whole = pc.fit("mlp:8", "iris", out=tmp_path, name="whole", callbacks=[TensorBoard()], **SETTINGS)
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        pc.fit("mlp:8", "iris", out=tmp_path, name="cut", callbacks=[TensorBoard(), Stop()], **SETTINGS)
    cut = next(path for path in tmp_path.iterdir() if path.name.endswith("cut"))
    pc.resume(cut, callbacks=[TensorBoard()])
    assert len(list((cut / "tensorboard").iterdir())) == 2
    assert read(cut / "tensorboard") == read(whole.path / "tensorboard")


def test_a_run_in_memory_needs_a_folder(tmp_path):
    with pytest.raises(SettingError, match=r"a run in memory has no folder[\s\S]*TensorBoard\(\"logs\"\)"):
        pc.fit("perceptron", "iris", out=None, epochs=1, baselines=False, callbacks=[TensorBoard()])
    pc.fit("perceptron", "iris", out=None, epochs=1, baselines=False, callbacks=[TensorBoard(tmp_path / "logs")])
    assert read(tmp_path / "logs")


def test_the_command_line_writes_them(tmp_path):
    from typer.testing import CliRunner

    words = ["train", "iris", "--network", "mlp:4", "--epochs", "1", "--no-baselines", "--quiet", "--json"]
    done = CliRunner().invoke(app, [*words, "--tensorboard", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert ("loss/validation", json.loads(done.stdout)["steps"]) in read(tmp_path / "run" / "tensorboard")
