"""Events to many listeners: all of them, in order, to those who asked; a slow one is told to begin anew."""

import asyncio

from pellucid.web import channel as channels
from pellucid.web.channel import Channel, event


async def take(lines, count):
    return [await asyncio.wait_for(anext(lines), 5) for _ in range(count)]


def test_events_come_to_all_who_listen_and_topics_to_those_who_asked():
    async def check():
        channel = Channel()
        a, b = channel.listen([b"first"], ["x"]), channel.listen()
        assert await take(a, 1) == [b"first"]
        waiting = asyncio.create_task(anext(b))
        await asyncio.sleep(0)
        assert (channel.listeners, channel.topics) == (2, {"x"})
        channel.send("more", 1, topic="x")
        channel.send("all", 2)
        assert await take(a, 2) == [event("more", 1), event("all", 2)]
        assert await asyncio.wait_for(waiting, 5) == event("all", 2)
        await a.aclose()
        await b.aclose()
        assert channel.listeners == 0

    asyncio.run(check())


def test_a_listener_that_is_too_slow_is_told_to_fetch_all_anew():
    async def check():
        channel = Channel()
        lines = channel.listen([b"first"])
        await take(lines, 1)
        for n in range(channels.MOST_WAITING + 5):
            channel.send("n", n)
        assert await take(lines, 2) == [event("again", {}), event("n", channels.MOST_WAITING)]
        await lines.aclose()

    asyncio.run(check())


def test_a_silent_connection_is_kept_open(monkeypatch):
    monkeypatch.setattr(channels, "HEARTBEAT", 0.01)

    async def check():
        lines = Channel().listen()
        assert await take(lines, 1) == [b": still here\n\n"]
        await lines.aclose()

    asyncio.run(check())
