"""What a process may use of its machine."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from pellucid import machine


def test_compiled_programs_are_forgotten_before_memory_maps_run_out(monkeypatch):
    if not Path("/proc/self/maps").is_file():
        pytest.skip("this system does not count memory maps")
    double = jax.jit(lambda x: 2 * x)
    double(jnp.ones(3))
    monkeypatch.setattr(machine, "MOST_MAPS", 10**9)
    assert machine.make_room() is False and double._cache_size() == 1
    monkeypatch.setattr(machine, "MOST_MAPS", 0)
    assert machine.make_room() is True and double._cache_size() == 0
    assert double(jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]  # compiled again, and right
