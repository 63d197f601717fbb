"""One request to an ASGI application, exactly as told: no client that mends paths and headers on the way."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


async def asked(app, method, path, headers, body: Iterable[bytes] = (b"",)) -> Answer:
    parts = list(body)
    messages = iter([{"type": "http.request", "body": b, "more_body": i + 1 < len(parts)} for i, b in enumerate(parts)])
    sent: list[dict] = []

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": plain, "raw_path": plain.encode(), "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()], "root_path": "", "scheme": "http",
        "http_version": "1.1", "asgi": {"version": "3.0"}, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except Exception:  # Starlette tells it to the server as well, after it has answered
        if not sent:
            raise
    start = next(m for m in sent if m["type"] == "http.response.start")
    found = {k.decode().lower(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], found, b"".join(m.get("body", b"") for m in sent))


def ask(app, method, path, headers=None, body: Iterable[bytes] = (b"",)) -> Answer:
    return asyncio.run(asked(app, method, path, headers or {"host": "127.0.0.1"}, body))
