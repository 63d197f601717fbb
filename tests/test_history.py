"""The weights of chosen epochs: which are kept, how much room they take, and that a resumed run keeps the same."""

import numpy as np
import pytest

from pellucid.data import Part
from pellucid.errors import Interrupted, RunError
from pellucid.fit import fit, resume
from pellucid.history import MOST, ROWS, History, kept_epochs, read_samples, spacing
from test_resume import StopAfter

PART = Part(np.arange(2000.0).reshape(1000, 2), np.arange(1000), None, np.arange(1000) + 7)


def kept_after(folder, epochs, megabytes=64.0, weights=b"w" * 1000):
    history = History(folder, megabytes)
    history.begin(PART, 0, weights)
    for epoch in range(1, epochs + 1):
        if history.wants(epoch):
            history.add(epoch, weights)
    return kept_epochs(folder)


@pytest.mark.parametrize("epochs", [0, 1, 5, MOST, MOST + 1, 100, 1000])
def test_kept_epochs_are_evenly_spaced_from_the_first_to_near_the_last(epochs, tmp_path):
    kept = kept_after(tmp_path, epochs)
    gaps = set(np.diff(kept).tolist())
    assert kept[0] == 0 and len(kept) <= MOST + 1 and len(gaps) <= 1
    assert len(kept) == epochs + 1 or len(kept) > MOST // 2
    assert epochs - kept[-1] < spacing(epochs, MOST)


def test_the_budget_is_kept(tmp_path):
    weights = b"w" * 100_000
    kept = kept_after(tmp_path, 50, megabytes=0.5, weights=weights)
    assert 2 <= len(kept) <= 0.5 * 2**20 / len(weights)
    assert kept_after(tmp_path / "none", 50, megabytes=0) == [] and not (tmp_path / "none").exists()


def test_samples_are_spread_over_the_part(tmp_path):
    kept_after(tmp_path, 0)
    x, y, rows = read_samples(tmp_path)
    assert len(x) == ROWS and (y[0], y[-1]) == (0, 999)
    assert np.array_equal(x, PART.x[y]) and np.array_equal(rows, y + 7)
    (tmp_path / "samples.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(RunError, match="the kept examples cannot be read"):
        read_samples(tmp_path)
    (tmp_path / "samples.npz").unlink()
    with pytest.raises(RunError, match="kept no examples"):
        read_samples(tmp_path)


def test_a_pickle_in_the_samples_is_not_opened(tmp_path):
    np.savez(tmp_path / "samples.npz", x=np.array([{}], object), y=np.zeros(1), rows=np.zeros(1))
    with pytest.raises(RunError, match="the kept examples cannot be read"):
        read_samples(tmp_path)


def test_a_resumed_run_keeps_the_same(tmp_path):
    settings = {"network": "mlp:4", "data": "iris", "epochs": 40, "patience": 40, "baselines": False}
    whole = fit(out=tmp_path / "a", **settings)
    with pytest.raises(Interrupted) as stopped:
        fit(out=tmp_path / "b", callbacks=[StopAfter(35)], **settings)
    # what a process wrote after its last checkpoint and before it was killed
    (stopped.value.path / "history" / "epoch-000038.safetensors").write_bytes(b"half")
    again = resume(stopped.value.path)
    a, b = whole.path / "history", again.path / "history"
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
    for path in a.iterdir():
        assert path.read_bytes() == (b / path.name).read_bytes(), path.name
