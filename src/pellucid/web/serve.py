"""From an application to an address: bind, print, serve until told to stop."""

import errno
import os
import socket
import sys
import threading
import traceback
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pellucid.errors import PellucidError, ResourceError, SettingError
from pellucid.web.channel import close_all
from pellucid.web.guard import LOOPBACK, Guard, allowed_names, new_token

STATIC = Path(__file__).parent / "static"
PORT = 8765
TRIES = 20  # ports after the usual one, where that is taken


@dataclass
class Address:
    """Where a server listens; `url` is what a person opens."""

    sock: socket.socket
    host: str
    port: int
    token: str

    @property
    def url(self) -> str:
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self.host, self.host)
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/{self.token}/"


def bind(host: str = "127.0.0.1", port: int | None = None, token: str | None = None) -> Address:
    """Take a port: the one that is asked for, or 8765 or one of the next; 0: any.

    Raises `ResourceError` where it is taken, or the host is none of this machine's; `SettingError` where host or port
    can be none.
    """
    if not host:  # the socket would take it for every address of this machine
        raise SettingError("no host is given", expected="a name or address of this machine", got="''", fix="127.0.0.1")
    if port is not None and not 0 <= port < 1 << 16:
        raise SettingError("there is no such port", expected="0 (any free one) to 65535", got=port)
    wanted = range(PORT, PORT + TRIES) if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in wanted:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, number))
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRINUSE and port is None:
                continue
            fix = "choose another: --port 0 takes any free one" if error.errno == errno.EADDRINUSE else None
            got = f"{host}:{number}: {error.strerror}"
            raise ResourceError("the page cannot be served there", got=got, fix=fix) from error
        sock.listen(128)
        return Address(sock, host, sock.getsockname()[1], token or new_token())
    raise ResourceError(
        "no free port for the page", expected=f"one of {PORT} to {PORT + TRIES - 1}", fix="--port 0 takes any free one"
    )


def page(name: str) -> Route:
    """A page of static/ at the root."""

    async def show(request: Request) -> Response:
        return FileResponse(STATIC / name, media_type="text/html; charset=utf-8")

    return Route("/", show)


def application(routes: Sequence[BaseRoute], **more: Any) -> Starlette:
    """The routes, the static files, and errors as JSON: `{"error": ...}` with what a person can do about it."""
    static = Mount("/static", StaticFiles(directory=STATIC))
    handlers: dict[Any, Any] = {PellucidError: _refused, HTTPException: _http_error, Exception: _failed}
    return Starlette(routes=[*routes, static], exception_handlers=handlers, **more)


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours: told in full in the terminal, where uvicorn is told to keep quiet, for it also logs requests
    that Ctrl-C cuts off."""
    traceback.print_exception(error)
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=500)


def guarded(app: Any, address: Address, names: Iterable[str] = ()) -> Guard:
    """The application behind its guard, as it is served and tested."""
    everywhere = address.host not in LOOPBACK
    return Guard(app, address.token, allowed_names(address.host, names), any_address=everywhere)


class Server(uvicorn.Server):
    """Ends the streams of events before it waits for what is still being answered."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        close_all()
        await super().shutdown(sockets)


def run(
    app: Any, address: Address, *, names: Iterable[str] = (), ready: Callable[[uvicorn.Server], None] | None = None
):
    """Serve until Ctrl-C, SIGTERM, or `server.should_exit` (ready is handed the server before it starts)."""
    config = uvicorn.Config(
        guarded(app, address, names), log_level="critical", access_log=False, server_header=False,
        timeout_graceful_shutdown=1, lifespan="on", timeout_keep_alive=30,
    )  # fmt: skip
    server = Server(config)
    if ready is not None:
        ready(server)
    try:
        server.run(sockets=[address.sock])
    except KeyboardInterrupt:  # uvicorn raises it again after it has shut down
        pass
    finally:
        address.sock.close()


def tell(address: Address, browser: bool = True) -> None:
    """Print the address, and open the browser at it where there is a display to see it on."""
    print(address.url, flush=True)
    if browser and has_display():
        threading.Timer(0.5, webbrowser.open, [address.url]).start()


def has_display() -> bool:
    """Whether a browser that is opened here would be seen."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def serve(app: Any, host: str = "127.0.0.1", port: int | None = None, browser: bool = True) -> None:
    """Bind, print the address, open the browser at it, serve until Ctrl-C."""
    address = bind(host, port)
    tell(address, browser)
    run(app, address)
