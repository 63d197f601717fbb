"""Batches that fit into memory: what a training step needs, asked of the compiler, beside what is free.

XLA lays out a program's memory when it compiles it, so what a chunk of steps will need is known before one is made:

    arguments (examples on the device, weights, the optimizer's state) + temporary + results, less what is donated

beside a second copy of the weights, which the best epoch keeps. No estimate from shapes comes near that: what is fused
needs no memory, and what is computed in parts or again needs less.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from pellucid.data import Part
from pellucid.errors import ResourceError, SettingError
from pellucid.memory import COPIES, SHARE, in_words
from pellucid.network.composite import walk
from pellucid.network.network import Network
from pellucid.network.norm import BatchNorm
from pellucid.network.remat import in_blocks
from pellucid.network.rows import power_of_two
from pellucid.network.trace import floor_power, trace
from pellucid.train.accumulate import sizes
from pellucid.train.dense_steps import steps_of
from pellucid.train.loop import Loop, Settings, segments_needed
from pellucid.train.step import run_chunk

MOST = 512  # the largest batch that `auto` takes: larger ones rarely learn more from an update (McCandlish et al. 2018)


@dataclass(frozen=True)
class Fit:
    """batch: examples.   need, free: bytes."""

    batch: int
    need: int
    free: int

    def said(self) -> str:
        return f"a batch of {self.batch} needs {in_words(self.need)} of the {in_words(self.free)} that are free"


def unknown_memory() -> SettingError:
    return SettingError(
        "nothing here tells how much memory is free, or how much a program needs", where="--batch-size auto",
        fix="give a number",
    )  # fmt: skip


def notes(found: Fit, settings: Settings) -> list[str]:
    """What a person should know of a batch that was found."""
    said = [f"--batch-size auto: {found.said()}"]
    usual = settings.optimizer.default_batch
    if isinstance(usual, int) and found.batch > 4 * usual:
        said.append("the learning rate is the one for small batches; --learning-rate auto looks for this batch's own")
    return said


def cautions(network: Network, settings: Settings) -> list[str]:
    """What a person should know of how memory is saved here."""
    said = []
    example = network.example()
    if settings.remat == "blocks" and in_blocks(network.layer, example) is None:
        said.append("--remat blocks: no cut of this network would save a quarter of its memory; it has none")
    if settings.precision != "float32" and jax.default_backend() == "cpu":
        said.append(
            f"--precision {settings.precision}: a processor may be slower in it than in float32 (docs/precision.md)"
        )
    if settings.accumulate > 1 and any(isinstance(part, BatchNorm) for _, part in walk(network.layer)):
        rows = sizes(settings.batch_size, settings.accumulate)[1]
        said.append(
            f"--accumulate: batch normalisation takes its mean and variance of {rows} rows, a part of the batch"
        )
    return said


def compiled(loop: Loop, chunk: Any = None) -> Any:
    """The compiler's account of the chunk that a loop runs. The run itself finds the program in the compile cache.
    chunk: what the loop's feed gives first, where that was asked for already."""
    segments = np.zeros((segments_needed(loop.chunk_steps, loop.every), 2), np.int32)
    data, order, skipped = loop.feed.chunk(loop._shuffled(), 0) if chunk is None else chunk
    numbers = {**loop.numbers, "skipped": skipped}
    lowered = run_chunk.lower(
        loop.program, loop.chunk_steps, loop.carry, data, order, numbers, loop.key, 0, segments, 1
    )  # fmt: skip
    found = lowered.compile().memory_analysis()
    if found is None:
        raise unknown_memory()
    return found


def needed(network: Network, train: Part, settings: Settings) -> int:
    """Bytes that the training chunk takes, compiled for these settings."""
    loop = Loop(network, train, None, settings)
    chunk = loop.feed.chunk(loop._shuffled(), 0)
    found = compiled(loop, chunk)
    passed = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    kernel = steps_of(loop.program, loop.carry, chunk[0])
    return passed + found.temp_size_in_bytes + _weights(network) + (0 if kernel is None else kernel[1].bytes)


def largest_batch(network: Network, train: Part, settings: Settings, free: int) -> Fit:
    """The largest power of two that fits into `free` bytes, up to `settings.batch_size`. Raises a `ResourceError` with
    the numbers where not even one example does.

    The largest is tried first: mostly it fits, and then nothing is compiled that the run does not use. What does not
    fit tells how much smaller the next one has to be.
    """
    batch, room = floor_power(settings.batch_size), SHARE * free
    while True:
        need = needed(network, train, replace(settings, batch_size=batch))
        if need <= room:
            return Fit(batch, need, free)
        if batch == 1:
            raise ResourceError(
                "not even a batch of one example fits into memory", where="--batch-size auto",
                expected=f"at most {in_words(room)} of the {in_words(free)} that are free", got=in_words(need),
                fix=_smaller(network, train, settings),
            )  # fmt: skip
        batch = min(batch // 2, max(floor_power(int(batch * room / need)), 1))


def require_room(network: Network, train: Part, settings: Settings, free: int | None) -> None:
    """A `ResourceError` where the batch does not fit into `free` bytes, with what would. Where a generous guess from
    shapes fits, as it nearly always does, this costs nothing."""
    if free is None or guessed(network, train, settings) <= free or (need := needed(network, train, settings)) <= free:
        return
    parts = _parts(network, train, settings, free / need, free)
    fix = _smaller(network, train, settings)
    if parts is not None:
        fix = f"--accumulate {parts} (in a recipe: train.accumulate = {parts}) computes the same batch in {parts} parts"
    raise ResourceError(
        f"a batch of {settings.batch_size} does not fit into memory", where="--batch-size",
        expected=f"at most the {in_words(free)} that are free", got=in_words(need), fix=fix,
    )  # fmt: skip


def guessed(network: Network, train: Part, settings: Settings) -> int:
    """Bytes by the shapes alone, generously."""
    example = jax.ShapeDtypeStruct((1, *train.x.shape[1:]), train.x.dtype)
    outputs = sum(a.size * 4 for leaf in trace(network.layer, example).leaves for a in jax.tree.leaves(leaf.y))
    data = train.x.nbytes if isinstance(train.x, np.ndarray) else 0
    return COPIES * (outputs * settings.batch_size // settings.accumulate + _weights(network)) + 2 * data


def _parts(network: Network, train: Part, settings: Settings, share: float, free: int) -> int | None:
    """The fewest parts, a power of two, in which the batch fits; None where not even single examples do. What does not
    fit tells how many times more it has to be. share: of what the whole batch needs that is free."""
    parts = 1
    while parts < settings.batch_size:
        parts = min(max(parts * 2, power_of_two(int(parts / share))), power_of_two(settings.batch_size))
        need = needed(network, train, replace(settings, accumulate=parts))
        if need <= free:
            return parts
        share = free / need
    return None


def _smaller(network: Network, train: Part, settings: Settings) -> str:
    """What else needs less memory."""
    ways = ["--remat blocks"] if settings.remat == "none" else []
    ways += ["--precision bfloat16"] if settings.precision == "float32" else []
    ways += ["shorter sequences (--context)"] if settings.text else []
    return ", ".join([*ways, "a smaller network"]) + (", or fewer rows" if _mostly_data(network, train) else "")


def _mostly_data(network: Network, train: Part) -> bool:
    return isinstance(train.x, np.ndarray) and train.x.nbytes > 4 * _weights(network)


def _weights(network: Any) -> int:
    return sum(a.nbytes for a in jax.tree.leaves(network.params))
