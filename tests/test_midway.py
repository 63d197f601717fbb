"""Trials from the middle of a run: a state that is put into a new loop goes on as the run itself did."""

import dataclasses

import jax
import numpy as np
import pytest

import pellucid as pc
from pellucid import repair as repairing
from pellucid.branches import Branches, SideBySide
from pellucid.doctor.finding import Finding, Remedy
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


# -- the trials that are made of them ---------------------------------------------------------------------------------


def momentum(rate: float) -> dict:
    return {"optimizer": {"type": "momentum", "learning_rate": rate, "momentum": 0.9}}


def test_a_branch_goes_on_from_the_state_with_the_remedy(run):
    """Beside a loop that is put there by hand."""
    branches, state = Branches(run.session, 600), run.kept[0]
    branches.start = state
    steps = run.session.loop.program.steps_per_epoch
    value = branches.branch(momentum(0.005), 0, steps)
    optimizer = Optimizer.of("momentum:0.005,0.9")
    loop = loop_of(run.session, optimizer=optimizer, seed=run.session.settings.seed + 1)
    assert put(loop, state)
    for _ in loop.some(steps):
        pass
    scores = loop.evaluator(loop.carry.params, loop.carry.state, run.session.prepared.validation)
    assert value == pytest.approx(scores.loss, rel=1e-6) and branches.updates == steps
    assert np.isnan(branches.branch({"network": "mlp:4"}, 0, steps))  # another network cannot begin there


@pytest.mark.parametrize("midway", [False, True])
def test_side_by_side_branches_are_those_that_follow_one_another(run, midway):
    """As on a GPU: three rates in one program, another optimizer by itself, and what cannot be used."""
    wanted = [{}, momentum(0.005), momentum(0.5), {"optimizer": "adam"}, {"optimizer": "nonsense"}]
    found = []
    for kind in (Branches, SideBySide):
        branches = kind(run.session, 600)
        branches.start = run.kept[0] if midway else None
        ask = branches.together if isinstance(branches, SideBySide) else None
        values = ask(wanted, 0, 20) if ask else [branches.branch(settings, 0, 20) for settings in wanted]
        found.append(values)
        assert branches.updates == 80
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
    assert np.isnan(found[0][4]) and len({round(value, 4) for value in found[0][:4]}) == 4


def test_what_began_in_the_middle_is_tried_from_there(monkeypatch):
    """A finding of update 500 of 600, and a remedy for it: its trial begins at a state that leaves it 200 updates."""
    settings = {"learning_rate": 1e-5, "steps": 600, "batch_size": 64, "schedule": "constant", "baselines": False}
    remedies = (Remedy({"learning_rate": 0.01}, "a larger step"), Remedy({"activation": "tanh"}, "tanh"))

    def candidates(findings, most):
        found = [
            Finding("plateau", "warning", "stands still", step=500, remedies=remedies) for f in findings if f.alarm
        ]
        return [(f, remedy) for f in found[:1] for remedy in f.remedies]

    monkeypatch.setattr(repairing, "candidates", candidates)
    monkeypatch.setattr(repairing.remedies, "general", lambda case: [])
    run = pc.fit("mlp:8", "moons", out=None, repair=True, **settings)
    first = run.result["repair"]["rounds"][0]["trials"]
    assert [t["remedy"]["text"] for t in first] == ["a larger step"]  # tanh is another network: a round of its own
    assert 300 < first[0]["start"] <= 400 and first[0]["steps"] == 200 and first[0]["helps"]
    assert run.recipe.train.optimizer["learning_rate"] == 0.01
