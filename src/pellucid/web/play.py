"""The playground's page: a request for each thing that a learner does, the next picture in the answer.

POST begin   {seat?, choices | fragment}   a network           -> {seat, choices, fragment, scene, frame}
POST change  {seat, choices}               while it goes on    -> {live, choices, fragment}
POST tick    {seat, updates}               some updates        -> {frame}
POST doctor  {seat}                        what is wrong       -> {findings}
POST walk    {seat, part, row, layer, unit}  one example        -> see play_walk.py
POST move    {seat, layer, unit}           one update, told    -> {moved, frame}
POST table?seat=&name=  (the file's bytes) an own table        -> {name, columns, ...}
POST race    {seat, racers, updates}, POST race/tick {seat}    -> see race.py
POST leave   {seat}
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pellucid.errors import DataError, PellucidError, SettingError
from pellucid.playground import choices as chosen
from pellucid.playground.cures import cured
from pellucid.playground.made import SETS
from pellucid.playground.presets import PRESETS
from pellucid.playground.race import MOST_RACERS, RATES, Race
from pellucid.playground.tables import MOST_BYTES
from pellucid.playground.view import number, short
from pellucid.web.play_room import SEATS, Gone, Room, Seat, begin, take_table, tick
from pellucid.web.play_walk import moved, walked
from pellucid.web.serve import application, page

RACE_TICK = 20  # updates of every racer in an answer


def playground(seats: int = SEATS) -> Starlette:
    """The application; `serve.guarded` puts the guard before it."""
    room = Room(seats)
    page_of = _Page(room)
    routes = [page("play.html"), Route("/about", page_of.about)]
    for name in ("begin", "change", "tick", "doctor", "walk", "move", "race", "leave"):
        routes.append(Route(f"/{name}", _answering(getattr(page_of, name)), methods=["POST"]))
    routes.append(Route("/race/tick", _answering(page_of.race_tick), methods=["POST"]))
    routes.append(Route("/table", page_of.table, methods=["POST"]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette):
        yield
        room.close()

    app = application(routes, lifespan=lifespan)
    app.state.room = room
    return app


def _json(value: Any, status: int = 200) -> Response:
    """What is not finite becomes null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _answering(work: Callable[[dict[str, Any]], Awaitable[Any]]) -> Any:
    """From a JSON object to a JSON object; errors as they are."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.body()
            given = msgspec.json.decode(body or b"{}")
            if not isinstance(given, dict):
                raise SettingError("an object was expected")
            return _json(await work(given))
        except (msgspec.DecodeError, RecursionError) as error:
            return _json({"error": f"this is no JSON: {error}"}, 400)
        except ClientDisconnect:
            return Response(status_code=400)
        except Gone as error:
            return _json({"error": str(error), "gone": True}, 410)
        except PellucidError as error:
            return _json({"error": str(error), "where": str(error.parts.get("where") or "")}, 400)

    return answer


def _sketch(name: str) -> dict[str, Any]:
    """A set in small, for the button that chooses it."""
    x, y = SETS[name](90, 0.05, np.random.Generator(np.random.Philox(0)))
    points = [[*short(at, 3), number(value)] for at, value in zip(x, y, strict=True)]
    return {"name": name, "about": (SETS[name].__doc__ or "").strip(), "points": points, "classes": y.dtype.kind == "i"}


class _Page:
    def __init__(self, room: Room):
        self.room = room

    async def about(self, request: Request) -> Response:
        """What can be chosen."""
        return _json({
            "defaults": chosen.DEFAULT, "features": chosen.FEATURES, "activations": chosen.ACTIVATIONS,
            "initials": list(chosen.INITIALS), "losses": chosen.LOSSES, "optimizers": chosen.OPTIMIZERS,
            "norms": chosen.NORMS, "live": chosen.LIVE, "presets": [p.to_json() for p in PRESETS.values()],
            "sets": [_sketch(name) for name in SETS], "rates": RATES,
            "most": {"layers": chosen.MOST_LAYERS, "units": chosen.MOST_UNITS, "bytes": MOST_BYTES,
                     "racers": MOST_RACERS},
        })  # fmt: skip

    def _choices(self, given: dict[str, Any]) -> chosen.Choices:
        if "fragment" in given:
            return chosen.read(str(given["fragment"]))
        return chosen.made(given.get("choices", {}))

    async def begin(self, given: dict[str, Any]) -> Any:
        choices = self._choices(given)
        seat = self.room.find(given["seat"]) if given.get("seat") else self.room.sit()
        try:
            found = await self.room.long(seat, lambda: begin(seat, choices))
        except BaseException:
            if seat.play is None and not seat.table:
                self.room.leave(seat.name)
            raise
        self.room.afterwards(seat, seat.playing.warm)
        return {"seat": seat.name, "choices": choices, "fragment": chosen.written(choices), **found}

    async def change(self, given: dict[str, Any]) -> Any:
        seat, choices = self.room.find(given.get("seat")), self._choices(given)
        live = await self.room.short(seat, lambda: seat.playing.change(choices))
        return {"live": live, "choices": choices, "fragment": chosen.written(choices)}

    async def tick(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))
        return await self.room.short(seat, lambda: tick(seat, given.get("updates", 1)))

    async def doctor(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))

        def look() -> list[dict[str, Any]]:
            found = seat.playing.findings()
            for finding in found:
                for remedy in finding["remedies"]:
                    new = cured(seat.playing.choices, remedy["settings"])
                    remedy["choices"] = None if new is None else msgspec.to_builtins(new)
            return found

        return {"findings": await self.room.long(seat, look)}

    async def walk(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))
        row, layer, unit = _whole(given, "row", "layer", "unit")
        return await self.room.long(seat, lambda: walked(seat.playing, str(given.get("part")), row, layer, unit))

    async def move(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))
        layer, unit = _whole(given, "layer", "unit")

        def work() -> dict[str, Any]:
            return {"moved": moved(seat.playing, layer, unit), "frame": seat.playing.view()}

        return await self.room.long(seat, work)

    async def table(self, request: Request) -> Response:
        async def work(given: dict[str, Any]) -> Any:
            name = request.query_params.get("seat")
            seat: Seat = self.room.find(name) if name else self.room.sit()
            body = b""
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BYTES:
                    raise DataError(
                        "the table is too large for the playground", expected=f"at most {MOST_BYTES >> 20} MB",
                        fix="train on it with pellucid train",
                    )  # fmt: skip
            found = await self.room.long(seat, lambda: take_table(seat, body, request.query_params.get("name", "")))
            return {"seat": seat.name, **found}

        return await _answering(work)(_Empty())  # the body is the file, and no JSON

    async def race(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))
        racers = given.get("racers")
        if not isinstance(racers, dict) or not all(isinstance(rate, int | float) for rate in racers.values()):
            raise SettingError("this is no race", expected="an object of optimizers and learning rates")
        (updates,) = _whole(given, "updates")

        def work() -> dict[str, Any]:
            seat.race = Race(seat.playing.choices, {str(k): float(v) for k, v in racers.items()}, updates, seat.table)
            return seat.race.result()

        return await self.room.long(seat, work)

    async def race_tick(self, given: dict[str, Any]) -> Any:
        seat = self.room.find(given.get("seat"))
        if seat.race is None:
            raise SettingError("no race is on")
        race = seat.race

        def work() -> dict[str, Any]:
            race.advance(RACE_TICK)
            return race.result()

        return await self.room.long(seat, work)

    async def leave(self, given: dict[str, Any]) -> Any:
        self.room.leave(given.get("seat"))
        return {}


class _Empty:
    """A request whose body is not looked at."""

    async def body(self) -> bytes:
        return b""


def _whole(given: dict[str, Any], *names: str) -> list[int]:
    values = [given.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingError("a whole number was expected", where=name, got=repr(value)[:40])
    return values  # type: ignore[return-value]
