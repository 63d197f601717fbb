"""Batches that fit: the compiler's numbers beside what is free, and what is said where they do not meet."""

import dataclasses

import jax
import numpy as np
import pytest

from pellucid import fit, memory, recipe, session
from pellucid.commands.train import settings
from pellucid.errors import ResourceError, SettingError
from pellucid.session import Session
from pellucid.train import fitting
from pellucid.train.loop import Loop

MB = 10**6
WIDE = {"network": "mlp:256,256", "source": "digits", "baselines": False, "doctor": "off", "epochs": 1}


@pytest.fixture(scope="module")
def wide():
    """(network, training part, settings) of 1,257 rows, and what they need by batch."""
    made = Session(recipe.make({**WIDE, "batch_size": 512}), None, {}, None, (), 1.0)
    given = made.network, made.prepared.train, made.settings
    need = {n: fitting.needed(*given[:2], dataclasses.replace(given[2], batch_size=n)) for n in (512, 1)}
    return given, need


def test_what_a_step_needs_holds_weights_moments_data_and_activations(wide):
    (network, train, settings), need = wide
    weights, activations = 4 * network.parameters, 512 * 4 * (256 + 256)
    fixed = train.x.nbytes + 3 * weights  # beside two moments each
    assert fixed < need[1] < need[512] - activations / 2
    assert need[512] < 2 * fixed + 12 * activations + 3 * weights
    parts = fitting.needed(network, train, dataclasses.replace(settings, accumulate=8))
    assert parts < need[512] - activations / 2


def test_the_largest_batch_that_fits_is_found(wide):
    given, need = wide
    assert fitting.largest_batch(*given, free=10**12).batch == 512
    free = int(need[512] * 0.99 / fitting.SHARE)
    found = fitting.largest_batch(*given, free=free)
    assert 1 <= found.batch < 512 and found.batch & (found.batch - 1) == 0
    assert found.need <= fitting.SHARE * free < need[512]


def test_where_nothing_fits_the_numbers_and_what_helps_are_told(wide):
    given, need = wide
    with pytest.raises(ResourceError) as told:
        fitting.largest_batch(*given, free=need[1] // 2)
    said = str(told.value)
    assert "not even a batch of one example fits" in said and memory.in_words(need[1]) in said
    assert "--remat blocks, --precision bfloat16, a smaller network" in said


def test_a_batch_that_does_not_fit_is_refused_with_the_parts_that_would(wide):
    given, need = wide
    fitting.require_room(*given, free=need[512])
    with pytest.raises(ResourceError) as told:
        fitting.require_room(*given, free=need[512] - 1)
    said = str(told.value)
    assert "a batch of 512 does not fit into memory" in said
    assert "--accumulate 2 (in a recipe: train.accumulate = 2)" in said
    with pytest.raises(ResourceError, match="does not fit") as told:
        fitting.require_room(*given, free=need[1] // 2)
    assert "accumulate" not in str(told.value)


def test_auto_is_written_into_the_recipe_as_the_number_it_found(tmp_path, monkeypatch):
    run = fit("mlp:8", "iris", out=tmp_path, batch_size="auto", epochs=2, baselines=False, doctor="off")
    assert run.recipe.train.batch_size == 64  # the largest power of two within 104 rows
    assert any(note.startswith("--batch-size auto: a batch of 64 needs ") for note in run.result["notes"])
    monkeypatch.setattr(session, "free_memory", lambda: None)
    with pytest.raises(SettingError, match="how much memory is free"):
        fit("mlp:8", "iris", out=None, batch_size="auto", baselines=False)


def test_what_memory_is_free_is_told_by_the_groups_and_limits_that_hold(tmp_path):
    assert memory.free_memory() > 50 * MB
    inside = tmp_path / "outer" / "inner"
    inside.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/outer/inner\n")
    assert memory._within_group(tmp_path, tmp_path / "own") is None
    for folder, limit, used in ((inside, "max", 100 * MB), (tmp_path / "outer", 500 * MB, 200 * MB)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
    assert memory._within_group(tmp_path, tmp_path / "own") == 300 * MB
    (tmp_path / "outer" / "memory.stat").write_text(f"anon 7\ninactive_file {40 * MB}\n")
    assert memory._within_group(tmp_path, tmp_path / "own") == 340 * MB


def test_a_limit_of_the_process_counts():
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = memory._fields(memory.Path("/proc/self/status"), 1024)["VmSize"]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 300 * MB, before[1]))
        assert 200 * MB < memory.free_memory() <= 310 * MB
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_cautions_name_what_is_not_as_one_might_think():
    def notes(network, **settings):
        made = Session(recipe.make({**WIDE, "network": network, **settings}), None, {}, None, (), 1.0)
        return made.notes

    assert notes("mlp:8") == []
    said = notes("mlp:8,norm=batch", accumulate=4, precision="bfloat16", remat="blocks", batch_size=32)
    assert ["--remat blocks" in said[0], "bfloat16" in said[1], "of 8 rows" in said[2]] == [True] * 3


def test_bytes_are_told_with_three_digits():
    assert [memory.in_words(n) for n in (0, 999, 1000, 1.25e9, 3e13)] == ["0 B", "999 B", "1 kB", "1.25 GB", "30 TB"]


def test_the_chunk_gives_its_buffers_back_in_place(wide):
    """Weights, moments and counters are donated: what comes out lies where it came in."""
    network, train, settings = wide[0]
    for changes in ({}, {"accumulate": 4, "precision": "float16", "remat": "blocks"}):
        loop = Loop(network, train, None, dataclasses.replace(settings, **changes))
        carried = sum(np.asarray(a).nbytes for a in jax.tree.leaves(loop.carry))
        assert fitting.compiled(loop).alias_size_in_bytes == carried > 12 * network.parameters


def test_the_command_line_says_it_in_the_words_of_the_recipe():
    given = {"precision": "bfloat16", "accumulate": 4, "remat": "blocks", "batch_size": "auto"}
    made = recipe.make(settings(given)).train
    assert (made.precision, made.accumulate, made.remat, made.batch_size) == ("bfloat16", 4, "blocks", "auto")
    with pytest.raises(SettingError, match="a whole number, or all or auto"):
        settings({"batch_size": "most"})
    with pytest.raises(SettingError, match="train.accumulate"):
        recipe.make({"accumulate": 0})
