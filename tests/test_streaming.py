"""A run on data that stay on disk: the same bytes as in memory, killed and resumed, within a bound of memory."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import pellucid as pc
from pellucid.train import feed
from pellucid.train.order import BLOCK, by_blocks

SETTINGS = {
    "network": "mlp:8,dropout=0.1", "epochs": 3, "batch_size": 7, "baselines": False, "inspect": False,
    "doctor": "hint", "class_weights": "balanced",
}  # fmt: skip
KEPT = ("weights.safetensors", "record.jsonl", "network.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("streamed") / "set"
    place.mkdir()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3001, 6)).astype(np.float32)
    np.save(place / "y.npy", np.where(x[:, 0] * x[:, 1] > 0.2, "in", "out"))
    x[rng.random(x.shape) < 0.02] = np.nan
    np.save(place / "x.npy", x)
    return place


@pytest.mark.parametrize("shuffle", ["rows", "blocks"])
def test_the_same_bytes_as_in_memory(folder, tmp_path, shuffle, monkeypatch):
    from pellucid import recipe as recipes
    from pellucid.fit import run_recipe

    monkeypatch.setattr(feed, "CHUNK_BYTES", 1 << 30)  # chunks as long as in memory: they end lines of the record
    runs = {}
    for stream in (False, True):
        recipe = recipes.make({"source": str(folder), **SETTINGS, "shuffle": shuffle, "stream": stream})
        runs[stream] = run_recipe(recipe, out=tmp_path / str(stream), exact=True)
    assert not isinstance(runs[True].prepared.train.x, np.ndarray)
    for name in KEPT:
        assert (tmp_path / "False" / name).read_bytes() == (tmp_path / "True" / name).read_bytes(), name
    for part in ("train", "validation", "test"):
        assert runs[False].result[part] == runs[True].result[part]
    written = recipes.read(tmp_path / "True" / "recipe.toml")
    assert written.data.stream is True and written.train.shuffle == shuffle
    again = run_recipe(written, out=tmp_path / "again", exact=True, folder=tmp_path / "True")
    assert again.result["test"] == runs[True].result["test"]


def test_short_chunks_learn_the_same(folder, tmp_path, monkeypatch):
    """How much is read at once plays no part in what is learned."""
    whole = pc.fit(data=folder, out=None, stream=False, **SETTINGS)
    monkeypatch.setattr(feed, "CHUNK_BYTES", 40 * 8 * 4)
    run = pc.fit(data=folder, out=None, stream=True, **SETTINGS)
    assert run.history == whole.history and run.result["test"] == whole.result["test"]


def test_blocks_keep_neighbours_together_and_miss_no_row():
    rows, size = 20_000, BLOCK // 1024
    order = by_blocks(rows, 1024, np.random.Generator(np.random.Philox(1)))
    assert order.dtype == np.int32 and np.array_equal(np.sort(order), np.arange(rows))
    assert not np.array_equal(order, np.arange(rows)) and size == 256
    large = by_blocks(3_000_000, 1024, np.random.Generator(np.random.Philox(1)))
    first = np.unique(large[: 1024 * size] // size)  # the first buffer holds 1,024 blocks of 256 neighbours
    assert len(first) == 1024 and np.ptp(first) > 5_000


WORKER = """
import json, sys
from pathlib import Path
from pellucid import recipe
from pellucid.fit import resume, run_recipe
from pellucid.session import Callback
from pellucid.train import feed

feed.CHUNK_BYTES = 20 * 7 * 4 * 8

class Tell(Callback):
    def chunk_ended(self, event):
        print(event.step, flush=True)

place = Path(sys.argv[1])
if (place / "checkpoint").exists():
    resume(place, callbacks=[Tell()], checkpoint_seconds=0.0)
else:
    run_recipe(recipe.make(json.loads(sys.argv[2])), out=place, exact=True, callbacks=[Tell()], checkpoint_seconds=0.0)
"""


def worker(place, settings):
    command = [sys.executable, "-c", WORKER, str(place), json.dumps(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_middle_of_an_epoch_and_resumed(folder, tmp_path):
    settings = {"source": str(folder), **SETTINGS, "stream": True, "signals": False}
    with worker(tmp_path / "whole", settings) as process:
        steps = [int(line) for line in process.stdout]
    assert process.returncode == 0 and len(steps) > 30
    for stop in (steps[5], steps[20]):  # within the first epoch, and within the second
        with worker(tmp_path / "killed", settings) as process:
            for line in process.stdout:
                if int(line) >= stop:
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
    with worker(tmp_path / "killed", settings) as process:
        left = [int(line) for line in process.stdout]
    assert process.returncode == 0 and left and left[0] > steps[5]
    for name in KEPT:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


LIMITED = """
import json, resource, sys
import numpy as np
import pellucid as pc
from pellucid.train import feed

feed.CHUNK_BYTES = 8 << 20
source, small = sys.argv[1:]
words = {"network": "mlp:8", "epochs": 1, "batch_size": 256, "out": None, "baselines": False, "doctor": "off"}
words["inspect"] = words["signals"] = False
pc.fit(data=small, stream=True, **words)  # threads and compiled programs

def held():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))

before = held()
resource.setrlimit(resource.RLIMIT_DATA, (before + (224 << 20), resource.RLIM_INFINITY))
run = pc.fit(data=source, **words)  # streams by itself: half of what is left is too little
told = {"streamed": not isinstance(run.prepared.train.x, np.ndarray), "rows": run.result["rows"]}
try:
    pc.fit(data=source, stream=False, **words)
except MemoryError:
    told["memory"] = "exhausted"
print(json.dumps(told))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts private memory on Linux")
def test_a_set_several_times_larger_than_the_memory_that_is_left(tmp_path):
    for name, rows in (("large", 350_000), ("small", 20_000)):
        place = tmp_path / name
        place.mkdir()
        x = np.lib.format.open_memmap(place / "x.npy", mode="w+", dtype=np.float32, shape=(rows, 512))
        block = np.random.default_rng(0).normal(size=(10_000, 512)).astype(np.float32)
        for start in range(0, rows, len(block)):
            x[start : start + len(block)] = block
        del x
        np.save(place / "y.npy", np.tile((block[:, 0] > 0).astype(np.int64), rows // len(block)))
    assert os.path.getsize(tmp_path / "large" / "x.npy") > 3 * (224 << 20)
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "streamed": True, "memory": "exhausted", "rows": {"train": 330_000, "validation": 10_000, "test": 10_000},
    }  # fmt: skip


def test_the_command_line(folder, tmp_path):
    words = [sys.executable, "-m", "pellucid", "train", str(folder), "--epochs", "1", "--batch-size", "64", "--json"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def asked(*more):
        return subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, text=True, check=False, env=env)

    done = asked("--stream", "--shuffle", "blocks", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert any("stay on disk and are streamed" in note for note in json.loads(done.stdout)["notes"])
    assert 'shuffle = "blocks"' in (tmp_path / "run" / "recipe.toml").read_text()
    done = asked("--shuffle", "columns")
    assert done.returncode == 2 and "train.shuffle" in done.stderr and "Traceback" not in done.stderr
    done = asked("--no-stream", "--dry-run")
    assert done.returncode == 0 and json.loads(done.stdout)["recipe"]["data"]["stream"] is False, done.stderr
