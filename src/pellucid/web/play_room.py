"""A class in one process: a seat for each browser tab, all of them bounded, worked for in turn.

A browser asks for the next picture when it has drawn the last one, so a seat has at most one piece of work under way,
and a queue in order of arrival is fair. Short work (updates and their picture, a tenth of a second at most) and long
work (compiling, the doctor, a race) have threads of their own, so that one learner's new network holds nobody else up.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import ResourceError, SettingError
from pellucid.native import cores
from pellucid.playground.choices import Choices
from pellucid.playground.play import MOST_AT_ONCE, Play
from pellucid.playground.race import Race
from pellucid.playground.tables import Table, read_table

SEATS = 64
IDLE = 20 * 60.0  # seconds, after which a seat that nobody uses is given up
SLACK = 90.0  # seconds, after which it is given up where somebody else waits for one
TICK = 0.1  # seconds of updates in a piece of short work


class Gone(SettingError):
    """The seat was given up."""


@dataclass
class Seat:
    """One learner's."""

    name: str
    used: float = field(default_factory=time.monotonic)
    play: Play | None = None
    table: Table | None = None
    race: Race | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def playing(self) -> Play:
        if self.play is None:
            raise Gone("there is no network yet", fix="reload the page")
        return self.play


class Room:
    """`await room.short(seat, f)` and `room.long(seat, f)` run f() in a thread, a seat's one after the other."""

    def __init__(self, seats: int = SEATS):
        self.most, self.seats = seats, dict[str, Seat]()
        self._short = ThreadPoolExecutor(max(cores(), 2), thread_name_prefix="pellucid-play")
        self._long = ThreadPoolExecutor(max(cores() // 2, 1), thread_name_prefix="pellucid-play-long")
        self._background: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        for pool in (self._short, self._long):
            pool.shutdown(wait=False, cancel_futures=True)

    def sit(self) -> Seat:
        """A seat for a newcomer. Raises `ResourceError` where all are taken."""
        self._clear(IDLE)
        if len(self.seats) >= self.most:
            self._clear(SLACK)
        if len(self.seats) >= self.most:
            raise ResourceError(
                "the playground is full", expected=f"at most {self.most} at a time",
                fix="try again in a minute, or ask whoever started it for more: pellucid play --seats 100",
            )  # fmt: skip
        seat = Seat(secrets.token_urlsafe(12))
        self.seats[seat.name] = seat
        return seat

    def _clear(self, idle: float) -> None:
        now = time.monotonic()
        for name, seat in list(self.seats.items()):
            if now - seat.used > idle and not seat.lock.locked():
                del self.seats[name]

    def find(self, name: Any) -> Seat:
        seat = self.seats.get(name) if isinstance(name, str) else None
        if seat is None:
            raise Gone("this playground was given up, for nobody used it for a while", fix="reload the page")
        seat.used = time.monotonic()
        return seat

    def leave(self, name: Any) -> None:
        self.seats.pop(name, None)

    async def short(self, seat: Seat, work: Callable[[], Any]) -> Any:
        return await self._run(self._short, seat, work)

    async def long(self, seat: Seat, work: Callable[[], Any]) -> Any:
        return await self._run(self._long, seat, work)

    async def _run(self, pool: ThreadPoolExecutor, seat: Seat, work: Callable[[], Any]) -> Any:
        async with seat.lock:
            seat.used = time.monotonic()
            return await asyncio.get_running_loop().run_in_executor(pool, work)

    def afterwards(self, seat: Seat, work: Callable[[], Any]) -> None:
        """Run it soon, while the learner looks; what comes meanwhile waits. What fails shows when it is asked for."""

        async def run() -> None:
            with contextlib.suppress(Exception):
                await self.long(seat, work)

        task = asyncio.get_running_loop().create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


# -- work: what is done in a thread -----------------------------------------------------------------------------------


def begin(seat: Seat, choices: Choices) -> dict[str, Any]:
    """A new network. The old one stays where the choices cannot be used."""
    seat.play = Play(choices, seat.table)
    return {"scene": seat.play.scene_json(), "frame": seat.play.view()}


def tick(seat: Seat, updates: Any) -> dict[str, Any]:
    """So many updates, as far as they fit into a moment, and the picture."""
    play = seat.playing
    if not isinstance(updates, int) or not 0 <= updates <= MOST_AT_ONCE:
        raise SettingError("so many updates cannot be made", expected=f"0 to {MOST_AT_ONCE}", got=repr(updates)[:40])
    if updates:
        play.step(updates, TICK)
    return {"frame": play.view()}


def take_table(seat: Seat, body: bytes, name: str) -> dict[str, Any]:
    seat.table = read_table(body, name)
    table = seat.table
    return {
        "name": table.name, "columns": list(table.columns), "numeric": list(table.numeric), "target": table.guess,
        "rows": len(table.frame),
    }  # fmt: skip
