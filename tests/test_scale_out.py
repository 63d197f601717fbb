"""Several real processes over gloo on loopback: as one process, through signals, kills and other numbers of devices."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pellucid.errors import SettingError
from pellucid.fit import moved, resume, run_recipe
from pellucid.recipe import make, read
from pellucid.train import hosts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")]

# weights and the optimizer's state divided between the two, each of which holds half the rows too
SETTINGS = {"source": "digits", "network": "mlp:32", "epochs": 30, "baselines": False, "inspect": False}
RECIPE = {**SETTINGS, "mesh": "shard=2"}

WORKER = """
import sys
from pathlib import Path
from pellucid.train import hosts
port, process, folder, settings = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), eval(sys.argv[4])
hosts.join(f"127.0.0.1:{port}", 2, process, 60)
from pellucid.errors import Interrupted
from pellucid.fit import resume_run, run_recipe
from pellucid.recipe import make
from pellucid.session import Callback

class Tell(Callback):
    def epoch_ended(self, event):
        print(event.epoch, flush=True)

more = {"callbacks": [Tell()], "checkpoint_seconds": 0}
try:
    if settings is None:
        resume_run(folder, **more)
    else:
        run_recipe(make(settings), out=folder, exact=True, **more)
except Interrupted as error:
    print("interrupted", flush=True)
    hosts.part()
    sys.exit(error.exit_code)
hosts.part()
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def launch(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def pair(folder: Path, settings: dict | None) -> list[subprocess.Popen]:
    port = str(free_port())
    return [launch(["-c", WORKER, port, str(i), str(folder), repr(settings)]) for i in range(2)]


def commands(*options: list[str], processes: int = 2) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of the command line in each process; options: of each."""
    address = f"127.0.0.1:{free_port()}"
    together = ["--coordinator", address, "--processes", str(processes), "--join-seconds", "60"]
    started = [
        launch(["-m", "pellucid", "train", *own, *together, "--process", str(i)]) for i, own in enumerate(options)
    ]
    told = [process.communicate(timeout=200) for process in started]
    return [(process.returncode, *said) for process, said in zip(started, told, strict=True)]


def until_epoch(process: subprocess.Popen, epoch: int) -> None:
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.strip().isdecimal() and int(line) >= epoch:
            return
    raise AssertionError(process.stderr.read()[-2000:])


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    told = [process.communicate(timeout=200)[1] for process in processes]
    return [(process.returncode, said) for process, said in zip(processes, told, strict=True)]


def close(a: Path, b: Path) -> None:
    one, other = load_file(a / "weights.safetensors"), load_file(b / "weights.safetensors")
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_allclose(one[path], other[path], rtol=1e-3, atol=1e-5, err_msg=path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two processes from the command line, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    words = ["digits", "--network", "mlp:32", "--epochs", "30", "--no-baselines", "--set", "inspect=false"]
    words += ["--mesh", "shard=2", "--json", "--out", str(out)]
    return out, commands(words, words)


def test_two_processes_train_as_one_and_one_of_them_speaks(whole, tmp_path):
    out, ((code, said, progress), (other, silence, nothing)) = whole
    assert (code, other) == (0, 0), (progress, nothing)
    assert (silence, nothing) == ("", "")
    result = json.loads(said)  # one line, and no library's words beside it
    assert result["mesh"] == "data=1,shard=2" and result["processes"] == 2
    assert "digits" in progress and "Gloo" not in progress
    alone = run_recipe(make({**SETTINGS, "shards": 2}), out=tmp_path / "alone", exact=True)
    close(out, tmp_path / "alone")
    for part in ("train", "validation", "test"):
        assert result[part]["loss"] == pytest.approx(alone.result[part]["loss"], rel=1e-3)
    lines = [[json.loads(line) for line in (f / "record.jsonl").read_text().splitlines()] for f in (out, alone.path)]
    steps = [[(line["step"], line["loss"]) for line in found if line["kind"] == "step"][:20] for found in lines]
    np.testing.assert_allclose(*steps, rtol=1e-4)
    assert read(out / "recipe.toml").train.mesh == "data=1,shard=2"
    assert not list(out.glob("**/.*"))


def test_stopped_killed_and_resumed_gives_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "run"
    first = pair(folder, RECIPE)
    until_epoch(first[0], 2)
    first[1].send_signal(signal.SIGTERM)  # one hears it; both save and leave
    assert [code for code, _ in ended(first)] == [143, 143]
    saved = json.loads((folder / "checkpoint" / "index.json").read_text())
    assert saved["parts"] == 2 and len(list((folder / "checkpoint").glob("set-*"))) == 1

    second = pair(folder, None)
    until_epoch(second[0], 8)
    second[0].kill()  # with it the coordinator is gone
    (killed, _), (code, said) = ended(second)
    assert killed == -signal.SIGKILL and code == 1
    assert "another process was lost" in said and "--resume" in said

    shutil.copytree(folder, tmp_path / "moved")
    third = pair(folder, None)
    assert [code for code, _ in ended(third)] == [0, 0]
    for name in ("weights.safetensors", "record.jsonl"):
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes(), name

    moved_run = resume(tmp_path / "moved", mesh="data=1")  # and on one device
    close(tmp_path / "moved", folder)
    assert not (tmp_path / "moved" / "checkpoint" / "index.json").exists()
    assert (tmp_path / "moved" / "checkpoint" / "state.safetensors").is_file()
    assert not [note for note in moved_run.result["notes"] if "dealt anew" in note]


def test_processes_that_were_not_given_the_same_say_so(tmp_path):
    words = ["--mesh", "data=2", "--quiet", "--network", "mlp:8", "--no-baselines", "--out", str(tmp_path / "run")]
    for code, said, error in commands(["digits", *words], ["digits", *words, "--seed", "1", "--epochs", "7"]):
        assert (code, said) == (2, "")
        assert "the processes were not given the same" in error
        assert "process 1, against process 0" in error
        assert "seed" in error
    assert not (tmp_path / "run").exists()


def test_a_coordinator_that_does_not_answer():
    port = free_port()
    began = time.monotonic()
    words = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", "1", "--join-seconds", "1"]
    process = launch(["-m", "pellucid", "train", "iris", "--mesh", "data=2", *words])
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1 and time.monotonic() > began + 1
    assert "the coordinator does not answer" in error and f"127.0.0.1:{port}" in error and "within 1 s" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"coordinator": "somewhere:1234", "processes": 2}, "each must know which it is"),
        ({"coordinator": "somewhere", "processes": 2, "process": 0}, "this is no address"),
        ({"coordinator": "somewhere:1234", "processes": 2, "process": 2}, "there is no such process"),
    ],
)
def test_words_that_launch_nothing(words, said):
    with pytest.raises(SettingError, match=said):
        hosts.join(**words)


def test_a_run_that_moves_to_more_devices_has_its_rows_dealt_anew():
    class Mesh:
        size = 4

    recipe = make({**SETTINGS, "shards": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pellucid.train.mesh.build", lambda words: Mesh())
        found, notes = moved(recipe, "data=4")
    assert (found.train.mesh, found.train.shards) == ("data=4", 4)
    assert "dealt anew, into 4 shards in place of 2" in notes[0]
