"""Where a compiled program runs: in the thread that calls it, unless the environment says otherwise."""

import os
import subprocess
import sys

import jax
import pytest

from pellucid.network import dispatch
from pellucid.network.dispatch import keep_memory

# a long program: run by the caller, its result is there when the call returns; handed over, it is not yet
LONG = """
import jax, jax.numpy as jnp, numpy as np
import pellucid as pc

class Long(pc.Layer):
    def apply(self, p, x, ctx):
        return jax.lax.fori_loop(0, 2000, lambda i, x: jnp.tanh(x @ x), x)

pc.layer("long")(Long)
x = np.ones((200, 200), np.float32)
net = pc.Network(Long()).initialised(jax.random.key(0), x)
x = jax.block_until_ready(jnp.asarray(x))  # a large NumPy array is copied by another thread first
net(x).block_until_ready()
print(net(x).is_ready())
"""


@pytest.mark.parametrize(("environment", "ready"), [({}, "True"), ({"PELLUCID_ASYNC_DISPATCH": "1"}, "False")])
def test_a_networks_program_runs_in_the_thread_that_calls_it(environment, ready):
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == ready, done.stderr


FAULTS = """
import ctypes, resource
import pellucid.network.network

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def use(size):
    piece = libc.malloc(size)
    ctypes.memset(piece, 1, size)
    libc.free(piece)

use(100 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(100 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_is_kept_from_call_to_call():
    """The system counts the fresh pages that a process is given: 100 MB are 25,600 of them."""
    if not keep_memory():
        pytest.skip("this system's C library is not glibc, or is told otherwise")

    def fresh(**environment: str) -> int:
        env = {**os.environ, **environment}
        done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert 10 * fresh() < fresh(PELLUCID_MALLOC="system")


def test_what_the_compiler_needed_is_given_back(monkeypatch):
    if not keep_memory():
        pytest.skip("this system's C library is not glibc, or is told otherwise")
    given_back = []
    monkeypatch.setattr(dispatch, "release", lambda: given_back.append(True))
    jax.monitoring.record_event_duration_secs("/jax/core/compile/jaxpr_trace_duration", 5.0)
    jax.monitoring.record_event_duration_secs(dispatch.COMPILED, 0.01)
    assert not given_back
    jax.monitoring.record_event_duration_secs(dispatch.COMPILED, 5.0)
    assert given_back == [True]
    heard = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: heard.append(event))
    jax.jit(lambda x: x * 3 + 1)(1.0)
    assert dispatch.COMPILED in heard  # JAX's own name for it
