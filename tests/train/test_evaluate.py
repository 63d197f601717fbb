"""Scores in blocks: the same whether a part stays on the device or not."""

import jax
import numpy as np
import pytest

import pellucid as pc
from pellucid.data import Part
from pellucid.network.layer import flatten
from pellucid.train import evaluate
from pellucid.train.evaluate import Evaluator


@pytest.mark.parametrize(("most", "kept"), [(1 << 28, 1), (1_000, 0)])
def test_a_part_that_takes_too_many_bytes_is_not_kept_on_the_device(monkeypatch, most, kept):
    monkeypatch.setattr(evaluate, "KEPT_BYTES", most)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 5)).astype(np.float32), rng.integers(0, 3, 100).astype(np.int32)
    network = pc.mlp((4,), outputs=3).initialised(jax.random.key(0), x)
    evaluator = Evaluator(network.layer, pc.CrossEntropy(), None)
    found = evaluator(flatten(network.params), network.state, Part(x, y, None, np.arange(100)))
    assert len(evaluator._kept) == kept
    p = np.asarray(jax.nn.softmax(network(x), -1), np.float64)
    assert found.loss == pytest.approx(-np.log(p[np.arange(100), y]).mean(), rel=1e-5)
