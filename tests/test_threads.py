"""The limit on other libraries' threads, held against what threadpoolctl itself reports."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pellucid.threads import one_thread


def counts() -> dict[str, int]:
    return {found["filepath"]: found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


@pytest.fixture
def two():
    """Two threads, whatever the machine has."""
    np.eye(2) @ np.eye(2)
    with threadpool_limits(2, user_api="blas"):
        assert set(counts().values()) == {2}
        yield


def test_the_last_one_out_puts_back_what_the_first_one_found(two):
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    assert set(counts().values()) == {1}
    first.__exit__(None, None, None)  # which was not the last one in
    assert set(counts().values()) == {1}
    second.__exit__(None, None, None)
    assert set(counts().values()) == {2}


def test_an_error_inside_leaves_nothing_behind(two):
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert set(counts().values()) == {2}
