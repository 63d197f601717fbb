"""Where a compiled program runs: in the thread that calls it, unless the environment says otherwise."""

import os
import subprocess
import sys

import pytest

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
