"""The learning-rate range test: raise the rate step by step, watch the loss, and take what falls fastest.

Smith 2017, "Cyclical learning rates for training neural networks". The rate grows geometrically over a hundred steps;
the loss is smoothed; the test ends where it rises well above its lowest. The choice is the rate at which the smoothed
loss falls fastest, but at most a tenth of the rate at its lowest point: near the turn a step is too large already.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.data import Part
from pellucid.errors import SettingError
from pellucid.network.network import Network
from pellucid.train.loop import Loop, Settings
from pellucid.train.schedules import Schedule

LOW, HIGH, STEPS = 1e-6, 10.0, 120
SMOOTHING = 0.9
TOO_HIGH = 4.0  # the test ends where the smoothed loss is this many times its lowest


@dataclass(frozen=True)
class RangeTest:
    """Rates tried, the loss at each, smoothed, and the rate chosen."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    chosen: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def range_test(network: Network, train: Part, settings: Settings) -> RangeTest:
    """Run the test on a copy of `network`; nothing of it reaches the run that follows but the rate."""
    if "learning_rate" not in settings.optimizer.numbers():
        raise SettingError(
            "this optimizer has no learning rate to search for", fix="give the rate to the optimizer itself"
        )
    probe = dataclasses.replace(settings, schedule=Schedule.of("constant"), signals=False, updates=STEPS)
    loop = Loop(network, train, None, probe)
    segments = np.array([[1, 0]], np.int32)
    rates, losses = [], []
    for i in range(STEPS):
        rate = LOW * (HIGH / LOW) ** (i / (STEPS - 1))
        if loop.step - loop.epoch_start >= loop.program.steps_per_epoch:
            loop.epoch, loop.epoch_start = loop.epoch + 1, loop.step
        before = float(loop.carry.loss), float(loop.carry.weight)
        loop.advance(segments, 1, learning_rate=rate)
        loss = (float(loop.carry.loss) - before[0]) / max(float(loop.carry.weight) - before[1], 1e-30)
        rates.append(rate)
        losses.append(loss)
        if not math.isfinite(loss) or smooth(losses)[-1] > TOO_HIGH * min(smooth(losses)):
            break
    rates, losses = (
        [r for r, v in zip(rates, losses, strict=True) if math.isfinite(v)],
        [v for v in losses if math.isfinite(v)],
    )
    return RangeTest(rates, losses, smooth(losses), choose(rates, smooth(losses)))


def smooth(losses: list[float]) -> list[float]:
    """An exponential moving average, corrected for its start."""
    out, mean = [], 0.0
    for i, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        out.append(mean / (1 - SMOOTHING**i))
    return out


def choose(rates: list[float], smoothed: list[float]) -> float:
    """The rate of steepest fall, at most a tenth of the rate at the lowest point.

    >>> rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    >>> choose(rates, [2.3, 2.2, 1.2, 1.0, 5.0])
    0.01
    """
    lowest = int(np.argmin(smoothed))
    if lowest == 0:
        return float(rates[0])
    slopes = np.diff(smoothed[: lowest + 1]) / np.diff(np.log(rates[: lowest + 1]))
    return float(f"{min(rates[int(np.argmin(slopes)) + 1], rates[lowest] / 10):.3g}")
