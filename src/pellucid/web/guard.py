"""What stands before every request: the token, the name the browser called us by, the limits of a page.

A page on 127.0.0.1 is open to every other page that the same browser shows, unless it takes care: a foreign page may
send requests here (cross-site requests), or have its own name lead here (DNS rebinding). So the address itself holds a
secret, `http://127.0.0.1:8765/<token>/`, the Host header must name this machine, a request that changes something
must come from our own page, and the page may load nothing but what comes from here (Content-Security-Policy).
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BODY = 4 << 20  # bytes of a request
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address holds the token
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOST = "This is Pellucid, but the address is not complete: open it as it was printed, with the long part after the /."


def new_token() -> str:
    return secrets.token_urlsafe(18)


def allowed_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a Host header may hold, where the server listens on `host`. Ports do not matter: behind an SSH
    tunnel the browser calls another one."""
    names = {*LOOPBACK, *more}
    if host not in LOOPBACK:
        names |= {host, socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower() for name in names)


class Guard:
    """ASGI middleware: lets through what may come in, with the token taken off its path."""

    def __init__(self, app: ASGIApp, token: str, names: frozenset[str], any_address: bool = False):
        """any_address: every numeric address may be called by too, for the server listens on all of the machine's."""
        self.app, self.token, self.names, self.any_address = app, token, names, any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        rest = "/" + scope["path"].lstrip("/").partition("/")[2]
        inner = {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
        await self.app(inner, _bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if not self._known(headers.get("host", "")):
            return 403, "This server answers to its own address only."
        first, slash, _ = scope["path"].lstrip("/").partition("/")
        if not hmac.compare_digest(first.encode(), self.token.encode()):
            return 404, LOST
        if not slash:
            return 404, LOST + " A / is missing at its end."
        if scope["method"] not in ("GET", "HEAD"):
            if scope["method"] != "POST":
                return 405, "GET and POST are what is understood here."
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
                return 403, "Another site's page may change nothing here."
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return 403, "Another site's page may change nothing here."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return 413, f"At most {MOST_BODY >> 20} MB are taken."
        return None

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        if not self.any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _bounded(receive: Receive) -> Receive:
    """The body, cut off where it grows beyond the limit without having said so."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > MOST_BODY else message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {key.lower() for key, _ in message["headers"]}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sender


async def _answer(send: Send, status: int, said: str) -> None:
    body = said.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *[(k.encode(), v.encode()) for k, v in HEADERS.items()],
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
