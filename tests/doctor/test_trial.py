"""Trials: paired branches, and what counts as help."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.doctor.finding import Finding, Remedy
from pellucid.doctor.trial import best, candidates, helps, try_remedies

SLOWER = Remedy({"learning_rate": 0.001}, "a smaller step")
WORDS = Remedy({}, "look at your data")
BROKEN = Remedy({"network": "cnn"}, "a network that cannot read these data")
RELU = Remedy({"activation": "relu"}, "ReLU")


class Trainer:
    """Branches with known losses; each costs a second of a clock that only they move."""

    def __init__(self, effect, seconds=100.0):
        self.effect, self.left, self.asked = effect, seconds, []

    def branch(self, settings, seed, steps):
        self.left -= 1
        self.asked.append((tuple(settings), seed, steps))
        return self.effect(settings, seed)

    def seconds_left(self):
        return self.left


def finding(problem, *remedies, severity="warning"):
    return Finding(problem, severity, "so it is", remedies=remedies)


def test_candidates_are_what_settings_can_do_each_once_and_no_notes():
    found = [
        finding("learning_rate_too_high", SLOWER, WORDS),
        finding("dead_units", SLOWER, RELU),
        finding("overfitting", BROKEN, severity="note"),
    ]
    pairs = candidates(found)
    assert [(f.problem, r) for f, r in pairs] == [("learning_rate_too_high", SLOWER), ("dead_units", RELU)]


def test_every_remedy_is_paired_with_no_change_by_seed():
    trainer = Trainer(lambda settings, seed: 1.0 + 0.01 * seed - (0.5 if "learning_rate" in settings else 0.0))
    [slower, relu] = try_remedies(trainer, [SLOWER, RELU], steps=50, seeds=3)
    assert slower.without == (1.0, 1.01, 1.02) and slower.treated == (0.5, 0.51, 0.52)
    assert slower.helps and slower.steps == 50
    # what is no better with one seed cannot help any more, and costs nothing with the others
    assert relu.without == relu.treated == (1.0,) and not relu.helps
    assert [a[1] for a in trainer.asked] == [0, 0, 0, 1, 1, 2, 2]


def test_time_ends_the_rounds_but_not_before_one_is_whole():
    trainer = Trainer(lambda settings, seed: 0.5 if settings else 1.0, seconds=4.0)
    [trial] = try_remedies(trainer, [SLOWER], steps=50, seeds=3)
    assert len(trial.treated) == len(trial.without) == 2
    [trial] = try_remedies(Trainer(lambda settings, seed: 1.0, seconds=0.0), [SLOWER], steps=50)
    assert len(trial.treated) == 1


def test_what_cannot_be_tried_is_left_out_and_what_diverges_does_not_help():
    trainer = Trainer(lambda settings, seed: math.nan if "network" in settings else math.inf if settings else 1.0)
    [trial] = try_remedies(trainer, [BROKEN, SLOWER], steps=50)
    assert trial.remedy == SLOWER and not trial.helps


def test_of_equal_helpers_the_deeper_cause_is_chosen_and_of_unequal_ones_the_better():
    high, dead = finding("learning_rate_too_high", SLOWER), finding("dead_units", RELU)
    pairs = candidates([high, dead])
    equal = try_remedies(Trainer(lambda s, seed: 0.5 if s else 1.0), [SLOWER, RELU], 50)
    choice = best(pairs, equal)
    assert choice is not None and choice.finding == high and choice.trial.remedy == SLOWER
    better = try_remedies(Trainer(lambda s, seed: 0.1 if "activation" in s else 0.5 if s else 1.0), [SLOWER, RELU], 50)
    choice = best(pairs, better)
    assert choice is not None and choice.finding == dead
    assert best(pairs, try_remedies(Trainer(lambda s, seed: 1.0), [SLOWER, RELU], 50)) is None


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3), st.integers(0, 1000))
def test_noise_alone_hardly_ever_helps_and_a_large_gain_always_does(without, seed):
    noise = np.random.default_rng(seed).normal(0, 0.01, 3)
    assert helps(without, [w / 10 for w in without])
    assert not helps(without, [w + abs(n) for w, n in zip(without, noise, strict=True)])
    assert not helps(without, [w * 0.99 for w in without])  # one per cent is no repair
    exploded = [w * 10.0**i for i, w in enumerate(without)]
    assert helps(exploded, [0.1, 0.11, 0.1]) and not helps(exploded, [0.1, 0.11, 3 * exploded[2]])
