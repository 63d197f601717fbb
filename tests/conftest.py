"""What all tests share: a compile cache of their own (kept between runs of the suite), one place for data sets."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

os.environ.setdefault("XDG_CACHE_HOME", str(Path(tempfile.gettempdir()) / "pellucid-tests-cache"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before any test imports JAX: else JAX 0.9 has no compile cache


@pytest.fixture(autouse=True, scope="module")
def _room():
    """Thousands of tests compile more programs than a process has memory maps for."""
    yield
    if "jax" in sys.modules:
        from pellucid.machine import make_room

        make_room()


@pytest.fixture
def mnist_folder() -> Path:
    folder = SHARED / "mnist"
    if not folder.is_dir():
        pytest.skip("MNIST's files are not beside this repository")
    return folder
