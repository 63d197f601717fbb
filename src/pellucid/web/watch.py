"""The live page: the runs of a folder, each followed from its files, in a browser.

GET  /                          the page
GET  runs                       the list, and which of them to show first
GET  run/NAME                   all that is shown of a run
GET  run/NAME/moment?epoch=N    as it was after that epoch: weights, decision boundary, mistakes
GET  run/NAME/layers?epoch=N&sample=I    what leaves each layer for an example
POST run/NAME/ask {"ask": "pause"}       pause, continue, stop or save
GET  events?run=NAME&run=NAME   what is new, as it comes (server-sent events)

Files are looked at only while somebody listens, about four times a second, once for all listeners. JAX is loaded only
when somebody looks back in time.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pellucid.rundir import REQUESTS, RunDir
from pellucid.web.channel import Channel, event, stream
from pellucid.web.follow import Followed
from pellucid.web.look_back import Moments
from pellucid.web.runs import Runs, find
from pellucid.web.serve import Address, application, page
from pellucid.web.serve import run as serve

EVERY = 0.25  # seconds between looks at the runs that are shown
EVERY_LIST = 1.0  # and at the list of them
MOST = 16  # runs that are kept in memory
LINGER = float(os.environ.get("PELLUCID_WATCH_LINGER") or 600)  # seconds without listeners after the runs have ended


class Watch:
    """The state behind the page. All of it is touched by the event loop alone; files are read in threads."""

    def __init__(self, root: Path, chosen: str | None = None):
        self.root, self.chosen = root, chosen
        self.channel = Channel()
        self.runs, self._list_lock = Runs(root), asyncio.Lock()
        self.followed: OrderedDict[str, tuple[Followed, asyncio.Lock]] = OrderedDict()
        self.moments = Moments()
        self.complaints: set[str] = set()

    # -- following ----------------------------------------------------------------------------------------------

    def place(self, name: str) -> RunDir:
        found = find(self.root, name)
        if found is None:
            raise HTTPException(404, "there is no such run here")
        return found

    async def poll(self, name: str) -> Followed:
        """The run, brought up to date; whoever listens to it is told what is new."""
        if name not in self.followed:
            self.followed[name] = Followed(self.place(name)), asyncio.Lock()
            idle = [n for n in self.followed if n not in self.channel.topics and n != name]
            for old in idle[: max(len(self.followed) - MOST, 0)]:
                del self.followed[old]
        self.followed.move_to_end(name)
        one, lock = self.followed[name]
        async with lock:
            more = await asyncio.to_thread(one.poll)
            if more is not None:
                self.channel.send("more", {"run": name, **more}, topic=name)
        return one

    async def poll_list(self) -> None:
        async with self._list_lock:
            changed, gone = await asyncio.to_thread(self.runs.poll)
        if changed or gone:
            self.channel.send("runs", {"changed": changed, "gone": gone})

    async def look(self) -> None:
        """For ever: look, and tell."""
        listed = 0.0
        while True:
            await asyncio.sleep(EVERY)
            if not self.channel.listeners:
                continue
            for name in self.channel.topics:
                await self._safely(self.poll(name), name)
            if time.monotonic() - listed >= EVERY_LIST:
                await self._safely(self.poll_list(), "the list of runs")
                listed = time.monotonic()

    async def _safely(self, work: Awaitable[Any], what: str) -> None:
        """One run that cannot be read must not keep the others from being followed; what happened is told once."""
        try:
            await work
        except Exception as error:
            said = f"{what}: {type(error).__name__}: {error}"
            if said not in self.complaints:
                self.complaints.add(said)
                print(f"note: {said}", file=sys.stderr, flush=True)

    # -- answers ------------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        await self.poll_list()
        return JSONResponse({"folder": self.root.name, "chosen": self.chosen, "runs": self.runs.lines()})

    async def run(self, request: Request) -> Response:
        one = await self.poll(request.path_params["name"])
        _, lock = self.followed[request.path_params["name"]]
        async with lock:
            return JSONResponse(await asyncio.to_thread(one.snapshot))

    async def ask(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())["ask"]
        except (ValueError, KeyError, TypeError, RecursionError):
            asked = None
        if asked not in REQUESTS:
            raise HTTPException(400, f"a run can be asked for: {', '.join(REQUESTS)}")
        place = self.place(request.path_params["name"])
        if not await asyncio.to_thread(lambda: place.exists and place.running):
            raise HTTPException(409, "the run is not going, so it cannot be asked for anything")
        await asyncio.to_thread(place.request, asked)
        return JSONResponse({"asked": asked})

    async def moment(self, request: Request) -> Response:
        place = self.place(request.path_params["name"]).require()
        return JSONResponse(await self.moments.moment(place, whole(request, "epoch")))

    async def layers(self, request: Request) -> Response:
        place = self.place(request.path_params["name"]).require()
        return JSONResponse(await self.moments.layers(place, whole(request, "epoch"), whole(request, "sample")))

    async def events(self, request: Request) -> Response:
        names = [name for name in request.query_params.getlist("run")[:MOST] if find(self.root, name) is not None]

        def first() -> Iterator[bytes]:
            known = {name: self.followed[name][0].seq if name in self.followed else -1 for name in names}
            yield event("hello", {"runs": known})

        return stream(self.channel.listen(first(), names))


def whole(request: Request, name: str) -> int:
    with suppress(KeyError, ValueError):
        value = int(request.query_params[name])
        if 0 <= value < 1 << 31:
            return value
    raise HTTPException(400, f"{name} has to be a whole number")


def app(watch: Watch, beside: Callable[[Watch], Any] | None = None) -> Starlette:
    """The application. beside: a further task while it serves."""

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(watch.look())]
        if beside is not None:
            tasks.append(asyncio.create_task(beside(watch)))
        yield
        for task in tasks:
            task.cancel()

    name = "/run/{name}"
    routes = [
        page("watch/index.html"),
        Route("/runs", watch.list),
        Route("/events", watch.events),
        Route(name, watch.run),
        Route(f"{name}/ask", watch.ask, methods=["POST"]),
        Route(f"{name}/moment", watch.moment),
        Route(f"{name}/layers", watch.layers),
    ]
    return application(routes, lifespan=life)


def run(root: Path, address: Address, chosen: str | None = None, companion: bool = False) -> None:
    """Serve the runs of `root` until told to stop. companion: started by a training; ends by itself some minutes
    (`LINGER`) after that process is gone, nothing in the folder goes on, and nobody looks."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # looking back must not take a GPU's memory from the training
    watch = Watch(root, chosen)
    if not companion:
        serve(app(watch), address)
        return
    servers: list[Any] = []
    over = parent_gone()

    async def until_unneeded(watch: Watch) -> None:
        wanted, used = time.monotonic(), False  # when somebody last looked or something went on, and whether ever
        while (used or not over.is_set()) and time.monotonic() - wanted < LINGER:
            await asyncio.sleep(min(5.0, LINGER / 4))
            going = bool(watch.channel.listeners) or await asyncio.to_thread(watch.runs.going)
            used = used or going
            if going or not over.is_set():
                wanted = time.monotonic()
        servers[0].should_exit = True

    serve(app(watch, until_unneeded), address, ready=servers.append)


def parent_gone() -> threading.Event:
    """Set when the process that holds the other end of our standard input has ended."""
    over = threading.Event()

    def wait() -> None:
        with suppress(OSError, ValueError):
            while sys.stdin.buffer.read(1):
                pass
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over
