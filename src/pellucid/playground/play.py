"""One learner's network: it goes on by so many updates, and shows all of itself.

    play = Play(Choices(data="spiral", widths=(8, 8)))
    play.step(10)
    play.view()["scores"], play.findings()

Data, network, training and doctor are those of every other run: `Session`, `Loop`, `Examination`.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid import outcome
from pellucid import recipe as recipes
from pellucid.errors import SettingError
from pellucid.machine import set_up
from pellucid.network.layer import flatten
from pellucid.network.network import Network
from pellucid.playground.choices import LIVE, OWN, Choices
from pellucid.playground.look import flow
from pellucid.playground.record import Notes
from pellucid.playground.scene import Scene, scene_of
from pellucid.playground.structure import OFF, recipe_words
from pellucid.playground.tables import Table
from pellucid.playground.view import gradients, scene_json, view
from pellucid.session import Session
from pellucid.train.evaluate import Scores
from pellucid.train.loop import segments_needed

MOST_UPDATES = 200_000  # of one training here
MOST_AT_ONCE = 2_000  # updates of one call


class Play:
    """table: the learner's own, where `data` is "own". Raises `SettingError`, `DataError` or `NetworkError` where the
    choices do not go together."""

    def __init__(self, choices: Choices, table: Table | None = None):
        set_up()
        self.choices, self.table = choices, table
        self.scene: Scene = scene_of(choices, table)
        recipe = recipes.make(recipe_words(choices, MOST_UPDATES))
        self.session = Session(recipe, self.scene.dataset, {}, None, (), 0.0)
        header = self.session.begin(preflight_too=False)
        self.loop = self.session.loop
        self.notes = Notes(self.session, header)
        self.targets = self.session.prepared.targets
        self.scores = self._scored()
        self.notes.point(0, *self.scores)

    # -- going on -----------------------------------------------------------------------------------------------------

    def step(self, updates: int = 1, seconds: float | None = None) -> None:
        """Make `updates` updates, or as many as are left; fewer, if they take longer than so many seconds."""
        if not 1 <= updates <= MOST_AT_ONCE:
            raise SettingError("so many updates cannot be made at once", expected=f"1 to {MOST_AT_ONCE}", got=updates)
        began = time.perf_counter()
        for event in self.loop.some(updates):
            self.notes.hear(event)
            if seconds is not None and time.perf_counter() - began > seconds:
                break
        self.scores = self._scored()
        self.notes.point(self.loop.step, *self.scores)

    def warm(self) -> None:
        """Compile what an update needs, without making one."""
        self.loop.advance(np.zeros((segments_needed(self.loop.chunk_steps, self.loop.every), 2), np.int32), 0)

    @property
    def stopped(self) -> str:
        """Why it ended: "diverged" or "budget"; "" while it can go on."""
        return self.loop.stopped

    @property
    def network(self) -> Network:
        """As it is now."""
        return self.loop.now()

    @property
    def metric(self) -> str:
        return outcome.metric_name(self.session.settings.metric)

    def _scored(self) -> tuple[Scores, Scores]:
        """(training, validation): losses without the decays."""
        loop, carry = self.loop, self.loop.carry
        validation = loop.validation
        assert validation is not None
        return tuple(loop.evaluator(carry.params, carry.state, part) for part in (loop.sample, validation))  # type: ignore

    # -- choosing -----------------------------------------------------------------------------------------------------

    def change(self, choices: Choices) -> bool:
        """Take over other choices, if they can be taken over while the training goes on; else nothing is done, and the
        answer is False: then a new `Play` is what they ask for."""
        changed = {n for n in Choices.__struct_fields__ if getattr(choices, n) != getattr(self.choices, n)}
        if not changed <= set(LIVE) or ("dropout" in changed and not (choices.dropout and self.choices.dropout)):
            return False
        self.choices, numbers = choices, self.loop.numbers
        numbers["learning_rate"] = choices.learning_rate
        numbers["weight_decay"], numbers["l1"] = choices.l2 or OFF, choices.l1 or OFF
        if choices.dropout:
            self._drop(choices.dropout)
        self.notes.told(learning_rate=choices.learning_rate, weight_decay=choices.l2, dropout=choices.dropout)
        return True

    def _drop(self, rate: float) -> None:
        def put(path: Any, leaf: Any) -> Any:
            named = [getattr(key, "key", "") for key in path]
            return jnp.full_like(leaf, rate) if named[-1] == "rate" and named[-2].startswith("dropout") else leaf

        self.loop.carry = self.loop.carry._replace(state=jax.tree_util.tree_map_with_path(put, self.loop.carry.state))

    @property
    def shareable(self) -> bool:
        """Whether the choices say all: an own table's rows are no part of them."""
        return self.choices.data != OWN

    # -- looking ------------------------------------------------------------------------------------------------------

    def findings(self, preflight: bool = True) -> list[dict[str, Any]]:
        """What the doctor would say if the training ended now; the gravest and deepest first."""
        return self.notes.findings(self.scores, preflight)

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of the training loss (of the rows that are looked at) by each weight, as it is now."""
        return gradients(self)[0]

    def scene_json(self) -> dict[str, Any]:
        """What stays the same from the first update to the last."""
        return scene_json(self)

    def view(self) -> dict[str, Any]:
        """What is drawn, as it is now; plain JSON values, pictures as bytes in base64, what is not finite as None."""
        return view(self)

    def batch_gradient(self) -> dict[str, np.ndarray]:
        """The gradient of the mean loss of the rows that the next update learns from, by each weight: what the
        optimizer is handed, but for dropout's chance, the decays, and batch statistics."""
        train, rows, carry = self.session.prepared.train, self.loop.next_rows(), self.loop.carry
        loss = self.session.settings.loss
        found, _ = flow(
            self.session.network.layer, loss, (), carry.params, carry.state, train.x[rows], train.y[rows]
        )  # fmt: skip
        return {path: np.asarray(g) for path, g in found.items()}

    def weights(self) -> dict[str, np.ndarray]:
        """By path."""
        return {path: np.asarray(value) for path, value in flatten(self.network.params or {}).items()}
