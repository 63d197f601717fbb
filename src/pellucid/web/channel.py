"""One source of events, many listeners. A listener that is too slow is told to fetch all anew, and costs no more.

Server-sent events: text lines over one long answer, which browsers open again by themselves when it breaks.
"""

import asyncio
import json
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.responses import StreamingResponse

MOST_WAITING = 256  # events that a listener may be behind
OVER = b""  # ends a listener's stream
HEARTBEAT = 15.0  # seconds without an event, after which a comment keeps the connection open


def event(name: str, value: Any) -> bytes:
    r"""An event as it is sent.

    >>> event("step", {"loss": 0.5})
    b'event: step\ndata: {"loss": 0.5}\n\n'
    """
    return f"event: {name}\ndata: {json.dumps(value, allow_nan=False)}\n\n".encode()


_channels: "weakref.WeakSet[Channel]" = weakref.WeakSet()


class Channel:
    """`send` from the event loop's own thread; each `listen()` hears what is sent while it lasts.

    A topic, where one is given with what is sent, is heard by those alone who asked for it.
    """

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[bytes], frozenset[str]] = {}
        _channels.add(self)

    @property
    def listeners(self) -> int:
        return len(self._queues)

    @property
    def topics(self) -> set[str]:
        """What somebody listens to."""
        return {topic for topics in self._queues.values() for topic in topics}

    def send(self, name: str, value: Any, topic: str | None = None) -> None:
        self.send_bytes(event(name, value), topic)

    def send_bytes(self, line: bytes, topic: str | None = None) -> None:
        for queue, topics in self._queues.items():
            if topic is not None and topic not in topics:
                continue
            if queue.qsize() >= MOST_WAITING:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(event("again", {}))
            queue.put_nowait(line)

    def close(self) -> None:
        """End every listener's stream."""
        for queue in self._queues:
            queue.put_nowait(OVER)

    async def listen(self, first: Iterable[bytes] = (), topics: Iterable[str] = ()) -> AsyncIterator[bytes]:
        """first: what a new listener has to know before anything else. It is asked for after listening began, so that
        nothing is lost between the two."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues[queue] = frozenset(topics)
        try:
            for line in first:
                yield line
            while True:
                try:
                    line = await asyncio.wait_for(queue.get(), HEARTBEAT)
                except TimeoutError:
                    line = b": still here\n\n"
                if line == OVER:
                    return
                yield line
        finally:
            del self._queues[queue]


def stream(lines: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that carries events."""
    return StreamingResponse(lines, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def close_all() -> None:
    """End every stream of this process: a server that shuts down does not wait for them."""
    for channel in list(_channels):
        channel.close()
