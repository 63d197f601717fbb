"""An optimizer race: from the same weights, on the same rows, each its own way down a slice of the loss surface.

The slice is the plane through the start along the two leading principal directions of all ways together (Li et al.
2018, "Visualizing the loss landscape of neural nets", 4; they take the end as the origin). What lies outside the plane
is projected onto it: `explained` says how much of the ways' spread it shows.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid import recipe as recipes
from pellucid.errors import SettingError
from pellucid.network.layer import Context, Layer, nest
from pellucid.playground.choices import OPTIMIZERS, Choices
from pellucid.playground.scene import scene_of
from pellucid.playground.structure import optimizer_spec, recipe_words
from pellucid.playground.tables import Table
from pellucid.playground.view import number, short
from pellucid.session import Session

SIDE = 31  # places of the surface on a side
MOST_RACERS, MOST_UPDATES = 6, 1_000
KEPT = 60  # places of a way that are kept, about
ROWS = 512
MARGIN = 0.25  # of the ways' extent, around them on the surface
# where each learns well on the sets that are made here; a learner may change them
RATES = {
    "gradient_descent": 0.3, "sgd": 0.1, "momentum": 0.03, "nesterov": 0.03, "rmsprop": 0.01, "adagrad": 0.1,
    "adam": 0.02, "adamw": 0.02, "lion": 0.003, "muon": 0.02,
}  # fmt: skip


class Race:
    """racers: {optimizer: learning rate}. `advance(n)` until `done`; then `result()`. The batch is that of the choices;
    gradient descent takes all rows at once."""

    def __init__(self, choices: Choices, racers: dict[str, float], updates: int = 300, table: Table | None = None):
        _check(racers, updates)
        self.racers, self.updates, self.step = dict(racers), updates, 0
        self.every = max(1, updates // KEPT)
        scene = scene_of(choices, table)
        first: Session | None = None
        self.sessions: dict[str, Session] = {}
        for name, rate in racers.items():
            words = recipe_words(choices.replace(optimizer=name), updates)
            words |= {"optimizer": optimizer_spec(choices, name, rate), "signals": False, "history": 0.0}
            if name == "gradient_descent":
                words["batch_size"] = "all"
            session = Session(recipes.make(words), scene.dataset, {}, None, (), 0.0, like=first)
            session.begin(preflight_too=False)
            first = first or session
            self.sessions[name] = session
        assert first is not None
        self._first = first
        train = first.prepared.train
        self.rows = jnp.asarray(train.x[:ROWS]), jnp.asarray(train.y[:ROWS])
        self.ways: dict[str, list[np.ndarray]] = {name: [self._place(name)] for name in racers}
        self.at = [0]

    @property
    def done(self) -> bool:
        return self.step >= self.updates

    def _place(self, name: str) -> np.ndarray:
        """All trained weights in a row."""
        params = self.sessions[name].loop.carry.params
        return np.concatenate([np.asarray(params[path], np.float32).reshape(-1) for path in self._paths])

    @property
    def _paths(self) -> list[str]:
        return sorted(self._first.loop.carry.params)

    def advance(self, updates: int) -> None:
        """Every racer goes on by so many updates, in steps of `every`. One that diverged stays where it was."""
        until = min(self.step + updates, self.updates)
        while self.step < until:
            n = min(self.every, self.updates - self.step)
            for name, session in self.sessions.items():
                for _ in session.loop.some(n):
                    pass
                place = self._place(name)
                self.ways[name].append(place if np.isfinite(place).all() else self.ways[name][-1])
            self.step += n
            self.at.append(self.step)

    def result(self) -> dict[str, Any]:
        """Curves of the training loss, ways in the plane, and (once done) the surface; plain JSON values."""
        names = list(self.racers)
        ways = np.stack([np.stack(self.ways[name]) for name in names])  # -> [racers, places, weights]
        losses = self._losses(ways.reshape(-1, ways.shape[-1])).reshape(ways.shape[:2])
        found = {
            "step": self.step, "updates": self.updates, "done": self.done, "at": self.at,
            "racers": [
                {"name": name, "rate": self.racers[name], "losses": short(losses[i]), "last": number(losses[i, -1]),
                 "stopped": self.sessions[name].loop.stopped == "diverged"}
                for i, name in enumerate(names)
            ],
        }  # fmt: skip
        return {**found, "surface": self._surface(ways)} if self.done else found

    def _surface(self, ways: np.ndarray) -> dict[str, Any]:
        start = ways[0, 0]
        along, explained = plane(ways - start)
        flat = (ways - start) @ along.T  # -> [racers, places, 2]
        low, high = flat.min((0, 1)), flat.max((0, 1))
        wide = np.maximum(high - low, 1e-6)
        wide = np.maximum(wide, wide.max() / 4)  # no sliver
        centre = (low + high) / 2
        low, high = centre - wide * (0.5 + MARGIN), centre + wide * (0.5 + MARGIN)
        steps = (np.arange(SIDE) + 0.5) / SIDE
        across, down = low[0] + steps * (high[0] - low[0]), high[1] - steps * (high[1] - low[1])
        places = np.stack([np.tile(across, SIDE), np.repeat(down, SIDE)], 1)  # row by row from the top left
        heights = self._losses((start + places @ along).astype(np.float32))
        return {
            "side": SIDE, "low": low.tolist(), "high": high.tolist(), "heights": short(heights),
            "ways": [{"x": short(way[:, 0]), "y": short(way[:, 1])} for way in flat], "explained": number(explained),
        }  # fmt: skip

    def _losses(self, places: np.ndarray) -> np.ndarray:
        """The training loss at each of these weights [n, weights] -> [n]."""
        loop = self._first.loop
        shapes = tuple((path, loop.carry.params[path].shape) for path in self._paths)
        size = 64  # one shape for every call
        filled = np.concatenate([places, np.repeat(places[-1:], -len(places) % size, 0)])
        loss = self._first.settings.loss.scored()
        found = [
            _block(self._first.network.layer, loss, shapes, filled[i : i + size], loop.carry.state, *self.rows)
            for i in range(0, len(filled), size)
        ]
        return np.concatenate([np.asarray(v) for v in found])[: len(places)]


def _check(racers: dict[str, float], updates: int) -> None:
    if not 1 <= len(racers) <= MOST_RACERS or not 1 <= updates <= MOST_UPDATES:
        expected = f"1 to {MOST_RACERS} optimizers and 1 to {MOST_UPDATES} updates"
        raise SettingError("this is no race", expected=expected, got=f"{len(racers)} and {updates}")
    for name, rate in racers.items():
        if name not in OPTIMIZERS or not 0 <= rate <= 1000:
            raise SettingError(
                "this cannot race", where=name[:60], expected=f"one of {', '.join(OPTIMIZERS)}", got=rate
            )


def plane(ways: np.ndarray) -> tuple[np.ndarray, float]:
    """The two leading principal directions [2, weights] of ways [racers, places, weights] that begin at 0, and the
    share of their spread that lies in that plane.

    >>> plane(np.array([[[0.0, 0, 0], [3, 0, 0]], [[0, 0, 0], [0, 0, 4]]]))[1]
    1.0
    """
    rows = ways.reshape(-1, ways.shape[-1]).astype(np.float64)
    _, size, along = np.linalg.svd(rows, full_matrices=False)
    if along.shape[0] < 2:
        along, size = np.vstack([along, np.zeros_like(along)]), np.append(size, 0.0)
    whole = float(np.square(size).sum())
    return along[:2], float(np.square(size[:2]).sum() / whole) if whole > 0 else 1.0


@partial(jax.jit, static_argnames=("layer", "loss", "shapes"))
def _block(layer: Layer, loss: Any, shapes: Any, places: Any, state: Any, x: Any, y: Any) -> jax.Array:
    """Losses at the weights [n, weights]."""

    def one(place: jax.Array) -> jax.Array:
        params, first = {}, 0
        for path, shape in shapes:
            size = int(np.prod(shape))
            params[path] = place[first : first + size].reshape(shape)
            first += size
        return jnp.mean(loss.per_example(Context(state=state).run(layer, nest(params), x), y))

    return jax.vmap(one)(places)
