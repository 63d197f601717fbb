"""Examples that are not all on the device give the same training as those that are."""

import dataclasses

import numpy as np
import pytest

import pellucid as pc
from pellucid.data import Dataset, prepare
from pellucid.recipe import make
from pellucid.session import Session
from pellucid.train import feed
from pellucid.train.loop import Loop


class OnDisk:
    """Rows that are read when asked for, and counted."""

    def __init__(self, array):
        self.array, self.read, self.most = array, 0, 0

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        found = self.array[rows]
        self.read += len(found)
        self.most = max(self.most, len(found))
        return found


def session(**settings):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (203, 6, 6, 1)).astype(np.uint8)
    data = Dataset(x, (x.mean((1, 2, 3)) > 127).astype(int), weight=rng.uniform(0.5, 2, 203))
    recipe = make({"network": "mlp:5", "epochs": 3, "batch_size": 16, "split": (0.8, 0.2, 0.0), **settings})
    return Session(recipe, data, {}, None, (), 1e9)


def run(made, train):
    loop = Loop(made.network, train, made.prepared.validation, made.settings)
    for _ in loop.run():
        pass
    return loop


@pytest.mark.parametrize("budget", [10 << 20, 16 * 36 * 3], ids=["one chunk", "chunks of three steps"])
def test_streamed_training_has_the_same_bytes(budget, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", budget)
    made = session()
    whole = run(made, made.prepared.train)
    rows = OnDisk(made.prepared.train.x)
    streamed = run(made, dataclasses.replace(made.prepared.train, x=rows))
    assert streamed.program.streamed and not whole.program.streamed
    assert streamed.step == whole.step
    for path, value in whole.carry.params.items():
        assert np.asarray(value).tobytes() == np.asarray(streamed.carry.params[path]).tobytes(), path
    assert rows.most <= max(budget // 36, len(whole.sample))


def test_what_was_prepared_beforehand_is_not_read_twice(monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", 16 * 36 * 3)
    made = session(epochs=1)
    rows = OnDisk(made.prepared.train.x)
    loop = run(made, dataclasses.replace(made.prepared.train, x=rows))
    steps = loop.program.steps_per_epoch
    assert rows.read == len(loop.sample) + -(-steps // 3) * 3 * 16


def test_a_loop_over_everything_takes_the_arrays_as_they_are():
    made = session(batch_size="all")
    prepared = prepare(made.dataset, split=(0.8, 0.2, 0.0))
    loop = Loop(made.network, prepared.train, None, made.settings)
    assert loop.program.batch == loop.program.rows == len(prepared.train)
    assert pc.Network is type(loop.result())
