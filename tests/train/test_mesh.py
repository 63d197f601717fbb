"""A mesh of several devices: the same batches and the same training as one device with the same shards."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pellucid.data import Dataset
from pellucid.errors import SettingError
from pellucid.native.devices import several
from pellucid.recipe import make
from pellucid.session import Session
from pellucid.train import mesh as meshes
from pellucid.train import shards
from pellucid.train.loop import Loop

DEVICES = 4

# what runs with several devices, in a process of its own: JAX counts them once
WORKER = """
import json, sys, tempfile, zlib
from pathlib import Path
import jax, numpy as np
from pellucid.data import Dataset
from pellucid.recipe import make
from pellucid.session import Session
from pellucid.train import sharded_checkpoint
from pellucid.train.loop import Loop
from pellucid.train.step import run_chunk
import dataclasses
import pellucid as pc
from pellucid.machine import set_up

set_up()  # compiled programs are kept for the next time

class OnDisk:
    def __init__(self, array):
        self.array = array
    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    def __len__(self):
        return len(self.array)
    def __getitem__(self, rows):
        return self.array[rows]

def session(data, **settings):
    common = {"epochs": 3, "batch_size": 24, "split": (0.8, 0.2, 0.0), "baselines": False}
    return Session(make({**common, **settings}), data, {}, None, (), 1e9)

def loop_of(made, train=None):
    return Loop(made.network, train or made.prepared.train, made.prepared.validation, made.settings)

def close(a, b):
    return all(np.allclose(a[k], b[k], rtol=1e-4, atol=1e-6) for k in a) and a.keys() == b.keys()

rng = np.random.default_rng(0)
x = rng.normal(size=(203, 40)).astype(np.float32)
rows = Dataset(x, (x[:, :20].sum(1) > 0).astype(int), weight=rng.uniform(0.5, 2, 203))
text = pc.load(str(Path(sys.argv[1])))
SHORT = {"context": 16, "batch_size": 8, "epochs": 1, "signals": False}
CASES = {
    "dense": (rows, {"network": "mlp:64,64,norm=batch,dropout=0.2", "optimizer": "momentum"}),
    "full batch": (rows, {"network": "mlp:64", "batch_size": "all", "optimizer": "adam", "epochs": 20,
                          "signals": False}),
    "streams of a text": (text, {"network": "rnn:32", **SHORT}),
    "pieces of a text": (text, {"network": "transformer:layers=1,heads=2,width=32", **SHORT}),
    "in parts": (rows, {"network": "mlp:64,64", "optimizer": "adam", "accumulate": 2, "remat": "blocks"}),
    "bfloat16": (rows, {"network": "mlp:64,64", "optimizer": "adam", "precision": "bfloat16"}),
    "float16": (rows, {"network": "mlp:64,64", "optimizer": "adam", "precision": "float16"}),
}
MESHES = [{"mesh": "data=4"}, {"mesh": "data=2,shard=2"}]
told = {"devices": jax.device_count()}
for name, (data, settings) in CASES.items():
    one = loop_of(session(data, **settings, shards=4))
    wanted, scores = None, [e.validation.loss for e in one.run() if hasattr(e, "validation")]
    wanted = one._arrays()
    for words in MESHES if name == "dense" else MESHES[-1:]:
        compiled = run_chunk._cache_size()
        many = loop_of(session(data, **settings, **words))
        found = [e.validation.loss for e in many.run() if hasattr(e, "validation")]
        cut = [p for p, v in many.carry.params.items() if not v.is_fully_replicated]
        moments = [v for v in jax.tree.leaves(many.carry.optimizer) if not v.is_fully_replicated]
        told[f"{name}, {words}"] = {
            "steps": many.step, "close": close(wanted, many._arrays()), "scores": [scores, found],
            "compiled": run_chunk._cache_size() - compiled, "cut": len(cut), "moments": len(moments),
        }

from pellucid.native.devices import several
from pellucid.train import mesh as meshes
seen = []
with meshes.on(meshes.build("data=4")):
    jax.jit(lambda v: seen.append(several()) or v)(1.0)
jax.jit(lambda v: seen.append(several()) or v)(2.0)
told["several"] = seen

made = session(rows, **CASES["dense"][1], mesh="data=2,shard=2")
whole = loop_of(made)
for _ in whole.run():
    pass
train = dataclasses.replace(made.prepared.train, x=OnDisk(made.prepared.train.x))
streamed = loop_of(made, train)
for _ in streamed.run():
    pass
told["streamed"] = streamed.program.streamed and all(
    np.array_equal(v, streamed._arrays()[p]) for p, v in whole._arrays().items()
)

# saved in the middle, read on the same mesh, on another, and on one device
folder = Path(tempfile.mkdtemp())
half = loop_of(made)
half.chunk_steps = half.feed.steps = 5
events = half.run()
for _ in range(4):
    next(events)
arrays, plain = half.snapshot()
sharded_checkpoint.write(folder, arrays, {"loop": json.loads(json.dumps(plain))})
told["files"] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*"))
state = {name: np.asarray(a) for name, a in arrays.items()}
for name, words in {"same": {"mesh": "data=2,shard=2"}, "other": {"mesh": "data=2", "shards": 4},
                    "one": {"shards": 4}}.items():
    again = loop_of(session(rows, **CASES["dense"][1], **words))
    stored, kept = sharded_checkpoint.read(folder)
    again.restore(stored, kept["loop"])
    back = {k: np.asarray(v) for k, v in again.snapshot()[0].items()}
    told[f"{name}: restored"] = all(np.array_equal(state[k], back[k]) for k in state)
    for _ in again.run():
        pass
    told[f"{name}: close"] = close(whole._arrays(), again._arrays())
    told[f"{name}: bytes"] = all(np.array_equal(v, again._arrays()[k]) for k, v in whole._arrays().items())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "tale.txt"
    text.write_text("".join(f"{n} and {n + 1} are neighbours; {n * n} is a square.\n" for n in range(120)))
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(text)],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_mesh_trains_as_one_device_with_as_many_shards(told):
    assert told["devices"] == DEVICES
    cases = {name: case for name, case in told.items() if isinstance(case, dict)}
    assert len(cases) == 8
    for name, case in cases.items():
        assert case["steps"] >= 15, name
        assert case["close"] or "float16" in name, name  # whose sums are rounded at other places: the scores agree
        np.testing.assert_allclose(*case["scores"], rtol=1e-4, err_msg=name)
        assert case["compiled"] == 1, name
        assert (case["cut"] > 0 and case["moments"] >= case["cut"]) == ("shard=2" in name), name


@pytest.mark.slow
def test_examples_that_stay_on_disk_give_the_same_bytes_on_a_mesh(told):
    assert told["streamed"] is True


@pytest.mark.slow
def test_a_set_of_checkpoints_is_read_on_any_number_of_devices(told):
    assert "index.json" in told["files"] and any(name.endswith("part-0-of-1.safetensors") for name in told["files"])
    for where in ("same", "other", "one"):
        assert told[f"{where}: restored"], where
        assert told[f"{where}: close"], where
    assert told["same: bytes"]


def loop(rows: int, batch: int, count: int) -> Loop:
    x = np.arange(rows, dtype=np.float32)[:, None]
    recipe = make({"network": "mlp:2", "batch_size": batch, "shards": count, "split": (1.0, 0, 0), "epochs": 2})
    made = Session(recipe, Dataset(x, np.arange(rows) % 2), {}, None, (), 1e9)
    return Loop(made.network, made.prepared.train, None, made.settings)


@pytest.mark.parametrize(("rows", "batch", "count"), [(103, 12, 4), (96, 12, 4), (25, 10, 5), (9, 4, 2)])
def test_every_row_is_taken_once_an_epoch_and_by_its_own_shard(rows, batch, count):
    made = loop(rows, batch, count)
    owner = np.concatenate([np.full(len(shards.dealt(rows, count, s)), s) for s in range(count)])
    assert len(owner) == rows
    # the examples' own numbers, told through standardisation by their order
    number = {float(v): i for i, v in enumerate(np.sort(np.asarray(made.feed.train.x).ravel()))}
    assert len(number) == rows
    place = {float(v): i for i, v in enumerate(np.asarray(made.feed.train.x).ravel())}
    epochs = []
    for _ in range(2):
        data, order, skipped = made.feed.chunk(made._shuffled(), 0)
        seen = []
        for position in range(made.program.steps_per_epoch):
            x, _, _, mask = shards.batch(made.program, data, order, position, {"skipped": skipped, "offset": 0})
            real = np.ones(batch, bool) if mask is None else np.asarray(mask)
            taken = np.array([place[float(v)] for v in np.asarray(x).ravel()])
            part = np.repeat(np.arange(count), batch // count)
            assert (owner[taken[real]] == part[real]).all()
            seen += taken[real].tolist()
        assert sorted(seen) == list(range(rows))
        epochs.append(seen)
        made.epoch += 1
    assert epochs[0] != epochs[1]


@pytest.mark.slow
def test_what_is_traced_for_a_mesh_knows_it(told):
    assert told["several"] == [True, False]


def test_one_device_is_no_mesh_and_layers_know_it():
    assert meshes.build(None) is None
    assert meshes.build("data=1") is None
    assert not several()


@pytest.mark.parametrize("words", ["dat=2", "data=0", "data=2,data=2", "data=x", "", "data,shard"])
def test_words_that_are_no_mesh(words):
    with pytest.raises(SettingError, match="this is no mesh|two axes without a number"):
        meshes.parse(words, 4)


def test_a_mesh_that_does_not_divide():
    with pytest.raises(SettingError, match=r"does not divide the devices\n.*data=3\n.*3 devices.*\n.*got: +1 \(cpu"):
        meshes.build("data=3")
    with pytest.raises(SettingError, match=r"does not divide the batch\n(.*\n)*.*of 4\n.*30\n.*--batch-size 32"):
        meshes.check_batch(30, 100, 4)
    with pytest.raises(SettingError, match="fewer training rows than shards"):
        meshes.check_batch(3, 3, 4)
    with pytest.raises(SettingError, match=r"does not divide the shards\n(.*\n)*.*one device"):
        make_settings(shards=1, mesh=2)
    meshes.check_batch(100, 100, 3)  # a batch that takes every row is filled up


def make_settings(shards: int, mesh: int) -> int:
    class Mesh:
        size = mesh

    return meshes.shards_of(Mesh(), shards)  # type: ignore[arg-type]
