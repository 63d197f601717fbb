"""Time travel for the page: `inspection.moment` in a thread, one at a time, its answers kept for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pellucid import files
from pellucid.errors import RunError
from pellucid.history import SAMPLES, epoch_path, kept_epochs
from pellucid.rundir import RunDir
from pellucid.web.read import signature

MOST = 64  # answers that are kept


class Moments:
    """Asked for by every page that looks; each answer is computed once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, dict[str, Any]] = OrderedDict()
        self._lock = asyncio.Lock()

    async def moment(self, place: RunDir, epoch: int) -> dict[str, Any]:
        """As it was after `epoch`: see `inspection.moment.moment`."""

        def work() -> dict[str, Any]:
            from pellucid.inspection.moment import moment

            return moment(place, epoch)

        return await self._once(place, epoch, (), work)

    async def layers(self, place: RunDir, epoch: int, sample: int) -> dict[str, Any]:
        """What leaves each layer for an example: see `inspection.moment.layers`."""

        def work() -> dict[str, Any]:
            from pellucid.inspection.moment import layers

            return layers(place, epoch, sample)

        return await self._once(place, epoch, (sample,), work)

    async def _once(
        self, place: RunDir, epoch: int, more: tuple[int, ...], work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        path, samples = epoch_path(place.history, epoch), place.history / SAMPLES
        async with self._lock:  # one at a time: it must not take the machine from the training
            sign = signature(path)
            if sign is None or not all(files.confined(one, place.path) for one in (path, samples, place.network)):
                kept = kept_epochs(place.history)
                raise RunError(
                    "the weights of this epoch are not kept", where=f"epoch {epoch}",
                    expected=f"one of {kept[0]} to {kept[-1]}" if kept else "a run that keeps its history",
                )  # fmt: skip
            key = (str(place.path), sign, epoch, *more)
            if key not in self._kept:
                self._kept[key] = await asyncio.to_thread(_prepared, work)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
            return self._kept[key]


def _prepared(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from pellucid.machine import set_up

    set_up()
    return work()
