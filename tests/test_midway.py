"""Trials from the middle of a run: a state that is put into a new loop goes on as the run itself did."""

import dataclasses

import jax
import numpy as np
import pytest

import pellucid as pc
from pellucid.midway import States, put, taken
from pellucid.session import Session
from pellucid.train.loop import EpochEnded, Loop
from pellucid.train.optimizers import Optimizer


class Moons(States):
    """Keeps the session too."""

    def started(self, session: Session) -> None:
        super().started(session)
        self.session = session


@pytest.fixture(scope="module")
def run() -> Moons:
    states = Moons(most=4)
    settings = {"optimizer": "momentum:0.05,0.9", "batch_size": 64, "schedule": "reduce_on_plateau", "baselines": False}
    pc.fit("mlp:8", "moons", out=None, epochs=11, patience=99, seed=1, callbacks=[states], **settings)
    return states


def loop_of(session: Session, **changes) -> Loop:
    settings = dataclasses.replace(session.settings, **changes)
    return Loop(session.network, session.prepared.train, session.prepared.validation, settings)


def test_few_states_are_kept_evenly_and_the_last_before_a_step_is_found(run):
    steps = run.session.loop.program.steps_per_epoch
    assert [state.epoch for state in run.kept] == [4, 8]
    assert run.before(4 * steps - 1) is None
    assert run.before(5 * steps).step == 4 * steps and run.before(99 * steps).epoch == 8


def test_it_goes_on_as_the_run_did_to_the_byte(run):
    state, loop = run.kept[0], loop_of(run.session)
    assert put(loop, state)
    ends = [event for event in loop.run() if isinstance(event, EpochEnded)]
    assert [event.epoch for event in ends] == list(range(5, 12))
    for path, value in run.session.loop.carry.params.items():
        np.testing.assert_array_equal(loop.carry.params[path], value)
    assert jax.tree.all(jax.tree.map(np.array_equal, loop.carry.optimizer, run.session.loop.carry.optimizer))


def test_another_optimizer_takes_the_weights_and_begins_its_own_state(run):
    state = run.kept[0]
    clipped = loop_of(run.session, optimizer=Optimizer.of("momentum:0.05,0.9,clip_norm=1"))
    assert put(clipped, state)
    first, second = jax.tree.leaves(clipped.carry.optimizer)[0], jax.tree.leaves(state.carry.optimizer)[0]
    np.testing.assert_array_equal(first, second)  # a remedy of the same kind keeps the momentum
    other = loop_of(run.session, optimizer=Optimizer.of("rmsprop:0.01"))
    assert put(other, state)
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(other.carry.optimizer))
    np.testing.assert_array_equal(other.carry.params["hidden1/w"], state.carry.params["hidden1/w"])
    assert other.step == state.step and next(other.run()).step > state.step


def test_another_network_cannot_take_it(run):
    network = pc.mlp((9,), activation="relu", outputs=2).initialised(jax.random.key(0), np.zeros((1, 2), "float32"))
    loop = Loop(network, run.session.prepared.train, None, run.session.settings)
    assert not put(loop, run.kept[0]) and loop.step == 0
    assert taken(loop).step == 0
