"""What a training step on many devices costs, on paper: compute, what the devices exchange, and how much of it shows.

A step of N devices, each with its share of the batch:

    seconds = compute(share) + max(0, exchange(bytes, N) - overlap · backward(share))

exchange of `data`: one all-reduce of the gradients around a ring, 2 (N-1)/N · bytes / bandwidth + 2 (N-1) · latency;
of `shard`: two all-gathers of the weights and one reduce-scatter of the gradients, 3 (N-1)/N · bytes / bandwidth + ...
(Rajbhandari et al. 2020 count the same). On two levels (devices of a host, hosts) the ring within a host carries all
bytes, and the one between hosts the part of each device. Nothing is measured here: every number is an argument.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """bandwidth: bytes a second, one way, of each device.   latency: seconds of one hop."""

    bandwidth: float
    latency: float


def ring(volume: float, devices: int, link: Link, rounds: int = 2) -> float:
    """Seconds in which a ring of devices carries `volume` bytes, `rounds` times around: 2 for an all-reduce, 1 for an
    all-gather or a reduce-scatter.

    >>> ring(1e9, 2, Link(1e9, 0.0)), ring(1e9, 1, Link(1e9, 0.0))
    (1.0, 0.0)
    """
    return rounds * (devices - 1) * (volume / devices / link.bandwidth + link.latency)


def two_levels(volume: float, devices: int, per_host: int, inside: Link, between: Link, rounds: int = 2) -> float:
    """The same where devices of one host are nearer to each other: scattered inside, carried around between hosts by
    every device at once, gathered inside.

    >>> two_levels(1e9, 8, 8, Link(1e9, 0.0), Link(1.0, 0.0)) == ring(1e9, 8, Link(1e9, 0.0))
    True
    """
    own = min(per_host, devices)
    return ring(volume, own, inside, rounds) + ring(volume / own, devices // own, between, rounds)


@dataclass(frozen=True)
class Step:
    """Seconds of a step, and of its parts."""

    compute: float
    exchange: float
    shown: float  # of the exchange, what is not hidden behind the backward pass

    @property
    def seconds(self) -> float:
        return self.compute + self.shown


def step(compute: float, exchange: float, overlap: float, backward: float = 2 / 3) -> Step:
    """overlap: share of the backward pass (itself so much of the compute) behind which exchange may hide."""
    return Step(compute, exchange, max(0.0, exchange - overlap * backward * compute))


def transformer(
    weights: float, tokens: float, devices: int, per_host: int, inside: Link, between: Link, flops: float,
    utilisation: float, overlap: float, sharded: bool, bytes_each: int = 2,
) -> Step:  # fmt: skip
    """A step on `tokens` tokens of every device: 6 operations a weight and token (Kaplan et al. 2020), 8 where the
    forward pass is made twice; gradients and weights of `bytes_each` bytes."""
    compute = 6 * weights * tokens / (flops * utilisation)
    rounds = 3 if sharded else 2
    exchange = two_levels(weights * bytes_each, devices, per_host, inside, between, rounds)
    return step(compute, exchange, overlap)
