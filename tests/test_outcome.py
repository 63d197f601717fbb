"""What a run came to: costs. The scores are tested with the fits that they belong to."""

import subprocess
import sys
from pathlib import Path

import pytest

import pellucid

MILLION = 10**6
CHILD = "from pellucid.outcome import peak_memory; print(peak_memory())"
PARENT = f"import subprocess, sys; big = b'x' * {400 * MILLION}; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process does not begin with its starter's peak")
def test_the_peak_memory_is_the_programs_own_and_not_its_starters():
    source = str(Path(pellucid.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True, cwd=source)
    assert 10 * MILLION < int(done.stdout) < 350 * MILLION
