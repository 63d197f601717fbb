"""Interrupted and resumed equals never interrupted, byte for byte."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from pellucid.data import Dataset, prepare
from pellucid.errors import Interrupted, RunError
from pellucid.fit import fit, resume
from pellucid.network.adapt import adapt
from pellucid.network.architectures import mlp
from pellucid.rundir import Lock, RunDir
from pellucid.session import Callback
from pellucid.train.loop import Loop, Settings
from pellucid.train.losses import Loss
from pellucid.train.metrics import Metric
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule

# everything that a state may hold: dropout keys, running statistics, moments, a plateau, weights, a last short batch
SETTINGS = {
    "network": "mlp:12,6,dropout=0.2,norm=batch",
    "optimizer": "adam:learning_rate=0.003,accumulate=2",
    "schedule": "reduce_on_plateau:patience=1",
    "batch_size": 5,
    "epochs": 30,
    "patience": 30,
    "baselines": False,
}


def table(path: Path, rows: int = 12_001) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=rows) > 0).astype(np.int64)
    np.savez(path, x=x, y=y)
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("weights.safetensors", "record.jsonl", "network.json")}


def scores_of(folder: Path) -> dict:
    result = json.loads((folder / "result.json").read_text())
    clocks = ("seconds", "compile_seconds", "examples_per_second", "peak_memory_bytes", "run")
    return {key: value for key, value in result.items() if key not in clocks}


WORKER = """
import sys
from pathlib import Path
from pellucid.errors import RunError
from pellucid.fit import resume, run_recipe
from pellucid.session import Callback
from pellucid.recipe import make
from pellucid.rundir import RunDir

class Tell(Callback):
    def started(self, session):
        print("started", flush=True)

folder, settings = Path(sys.argv[1]), eval(sys.argv[2])
if RunDir(folder).exists:
    resume(folder, callbacks=[Tell()], checkpoint_seconds=0)
else:
    run_recipe(make(settings), out=folder, exact=True, callbacks=[Tell()], checkpoint_seconds=0)
"""


def worker(folder: Path, settings: dict) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), repr(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_twenty_times_and_resumed_gives_the_same_bytes(tmp_path):
    settings = {**SETTINGS, "source": str(table(tmp_path / "set.npz"))}
    with worker(tmp_path / "whole", settings) as whole:
        _, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    seconds = json.loads((tmp_path / "whole" / "result.json").read_text())["seconds"]

    rng, kills, ended = random.Random(0), 0, False
    while not ended:
        with worker(tmp_path / "killed", settings) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n", process.communicate()[1]
            try:
                # a good deal less than its share: the unbroken run may have compiled, which those that go on need not
                process.communicate(timeout=300 if kills == 20 else rng.uniform(0.02, seconds / 20))
                ended = True
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
    assert process.returncode == 0
    assert kills == 20, f"the run ended after {kills} kills: make it longer"
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert scores_of(tmp_path / "killed") == scores_of(tmp_path / "whole")


def small_loop(**changes) -> Loop:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(203, 4)).astype(np.float32)
    prepared = prepare(Dataset(x, (x.sum(1) > 0).astype(np.int64)))
    network = mlp((5,), dropout=0.3, norm="batch")
    network = network.replace(
        layer=adapt(network.layer, prepared.features, prepared.targets), features=prepared.features
    )
    network = network.initialised(jax.random.key(0), network.example())
    settings = {
        "loss": Loss.of("cross_entropy"), "metric": Metric.of("accuracy"), "optimizer": Optimizer.of("adam"),
        "schedule": Schedule.of("cosine"), "batch_size": 8, "updates": 60, "patience": 3,
    }  # fmt: skip
    loop = Loop(network, prepared.train, prepared.validation, Settings(**{**settings, **changes}))
    loop.chunk_steps = 7  # so that chunks end inside epochs
    return loop


def finish(loop: Loop) -> dict[str, np.ndarray]:
    for _ in loop.run():
        pass
    return {**loop.snapshot()[0], "best epoch": np.array(loop.best.epoch)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": Optimizer.of("muon")},
        {"optimizer": Optimizer.of("momentum:accumulate=3"), "schedule": Schedule.of("reduce_on_plateau:patience=1")},
        {"monitor": "metric", "keep": "last", "batch_size": 142},
        {"precision": "float16", "accumulate": 3, "remat": "blocks"},
    ],
    ids=["adam", "muon", "accumulated", "full batch", "float16"],
)
def test_a_loop_restored_after_each_event_ends_in_the_same_state(changes):
    wanted = finish(small_loop(**changes))
    loop = small_loop(**changes)
    events = 0
    while next(loop.run(), None) is not None:
        events += 1
        arrays, plain = loop.snapshot()
        loop = small_loop(**changes)
        loop.restore(arrays, json.loads(json.dumps(plain)))
    assert events > 5
    found = finish(loop)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_chunk_length_changes_nothing_but_the_chunks():
    short, long = small_loop(), small_loop()
    long.chunk_steps = 1000
    a, b = finish(short), finish(long)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class StopAfter(Callback):
    def __init__(self, epochs: int):
        self.epochs = epochs

    def epoch_ended(self, event):
        return "stop" if event.epoch >= self.epochs else None


def test_stopped_by_a_callback_and_resumed(tmp_path):
    settings = {"network": "mlp:6", "epochs": 6, "baselines": False, "data": "iris"}
    whole = fit(out=tmp_path / "a", **settings)
    with pytest.raises(Interrupted) as stopped:
        fit(out=tmp_path / "b", callbacks=[StopAfter(2)], **settings)
    folder = stopped.value.path
    assert stopped.value.exit_code == 130
    assert "pellucid train --resume" in str(stopped.value)
    assert not (folder / "result.json").exists()
    run = resume(folder)
    assert bytes_of(run.path) == bytes_of(whole.path)
    assert [line["epoch"] for line in run.history] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(RunError, match="the run is finished"):
        resume(folder)


def test_another_process_may_ask_for_a_stop(tmp_path):
    class Ask(Callback):
        def epoch_ended(self, event):
            if event.epoch == 2:
                (next(tmp_path.iterdir()) / "control.json").write_text('{"stop": true}')

    with pytest.raises(Interrupted) as stopped:
        fit("mlp:4", "iris", out=tmp_path, epochs=50, baselines=False, callbacks=[Ask()])
    assert not (stopped.value.path / "control.json").exists()
    kept = [json.loads(line) for line in (stopped.value.path / "record.jsonl").read_text().splitlines()]
    assert max(line["epoch"] for line in kept if line["kind"] == "epoch") < 50


def test_resuming_changed_data_is_refused(tmp_path):
    source = table(tmp_path / "set.npz", rows=60)
    with pytest.raises(Interrupted) as stopped:
        fit("mlp:4", str(source), out=tmp_path, epochs=5, baselines=False, callbacks=[StopAfter(1)])
    table(source, rows=61)
    with pytest.raises(RunError, match="the data have changed"):
        resume(stopped.value.path)


def test_one_writer_at_a_time(tmp_path):
    with Lock(RunDir(tmp_path).lock), pytest.raises(RunError, match=f"another process.*\n.*\n.*process {os.getpid()}"):
        Lock(RunDir(tmp_path).lock).__enter__()
    with Lock(RunDir(tmp_path).lock):
        pass  # free again
    assert not RunDir(tmp_path).lock.exists()


def test_a_damaged_checkpoint_is_told(tmp_path):
    with pytest.raises(Interrupted) as stopped:
        fit("mlp:4", "iris", out=tmp_path, epochs=5, baselines=False, callbacks=[StopAfter(1)])
    state = stopped.value.path / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(RunError, match="the checkpoint cannot be read"):
        resume(stopped.value.path)


def test_a_resumed_run_has_its_page_written_once(tmp_path, monkeypatch, capsys):
    from pellucid import cli
    from pellucid.views import report

    class Stop(Callback):
        def epoch_ended(self, event):
            return "stop"

    with pytest.raises(Interrupted):
        fit("mlp:4", "iris", out=tmp_path, epochs=3, baselines=False, callbacks=[Stop()])
    folder = next(tmp_path.iterdir())
    pages, page = [], report.page
    monkeypatch.setattr(report, "page", lambda found: pages.append(found.place.path) or page(found))
    with pytest.raises(SystemExit) as left:
        cli.main(["train", "--resume", str(folder), "--quiet"])
    assert left.value.code == 0 and (folder / "report.html").is_file()
    assert str(folder / "report.html") in capsys.readouterr().out.replace("\n", "")
    assert pages == [folder]
