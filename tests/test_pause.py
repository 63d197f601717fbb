"""A run of another process is paused, goes on, is saved and stopped from outside, and then resumed."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pellucid.rundir import RunDir

SRC = Path(__file__).resolve().parents[1] / "src"
SECONDS = 120  # a machine may be busy


def until(true, process=None):
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end and (process is None or process.poll() is None), "it did not come about"
        time.sleep(0.05)


def ticks(place):
    return [json.loads(line) for line in place.clock.read_text().splitlines() if line] if place.clock.exists() else []


def last(place):
    return (ticks(place) or [{}])[-1].get("kind")


@pytest.fixture
def going(tmp_path):
    place = RunDir(tmp_path / "run")
    command = [
        "train",
        "digits",
        "--network",
        "mlp:8",
        "--epochs",
        "100000",
        "--patience",
        "100000",
        "--no-baselines",
        "-q",
    ]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pellucid", *command, "--out", str(place.path)], env=environment, stderr=subprocess.PIPE
    )
    try:
        until(lambda: len(ticks(place)) > 3, process)
        yield place, process
    finally:
        process.kill()
        process.communicate()


def test_pause_continue_stop_from_another_process(going):
    place, process = going
    place.request("pause")
    until(lambda: last(place) == "paused", process)
    record = place.record.stat().st_size
    assert place.running and (place.checkpoint / "state.safetensors").is_file()
    time.sleep(0.5)
    assert place.record.stat().st_size == record, "a paused run does not train"
    place.request("continue")
    until(lambda: place.record.stat().st_size > record, process)
    at = [line["kind"] for line in ticks(place)]
    assert at.index("continued") == at.index("paused") + 1

    saved = (place.checkpoint / "state.safetensors").stat().st_mtime_ns
    place.request("save")
    until(lambda: (place.checkpoint / "state.safetensors").stat().st_mtime_ns > saved, process)

    place.request("pause")
    until(lambda: last(place) == "paused", process)
    place.request("stop")  # also while it is paused
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and b"pellucid train --resume" in said
    assert not place.running and not place.result.exists() and not place.control.exists()
    at = [line["kind"] for line in ticks(place)]
    assert sum(pair == ("paused", "continued") for pair in itertools.pairwise(at)) == 2


def test_a_later_word_takes_the_place_of_an_earlier_one(tmp_path):
    place = RunDir(tmp_path)
    for name in ("pause", "save", "continue"):
        place.request(name)
    assert place.requests() == {"save", "continue"}
    assert place.requests() == set()
