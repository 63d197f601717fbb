"""Problems to look at, each with its cure: two sets of choices, and what to look for.

A preset shows its problem within `updates` updates: the doctor names one of `problems`, or (where a learner has to
see it for themselves) the measure that the tests take says so; with the cure it is gone after as many.
"""

from dataclasses import dataclass
from typing import Any

from pellucid.playground.choices import Choices


@dataclass(frozen=True)
class Preset:
    """look: what to look for.   lesson: why the cure cures.   pace: updates a picture, at which it is seen best."""

    name: str
    title: str
    look: str
    lesson: str
    choices: Choices
    cure: Choices
    problems: tuple[str, ...]
    updates: int
    pace: int = 5

    def to_json(self) -> dict[str, Any]:
        from pellucid.playground.choices import written

        return {
            "name": self.name, "title": self.title, "look": self.look, "lesson": self.lesson, "pace": self.pace,
            "updates": self.updates, "choices": written(self.choices), "cure": written(self.cure),
        }  # fmt: skip


def _preset(
    name: str, title: str, look: str, lesson: str, start: dict[str, Any], cure: dict[str, Any],
    problems: tuple[str, ...], updates: int, pace: int = 5,
) -> Preset:  # fmt: skip
    choices = Choices(**start)
    return Preset(name, title, look, lesson, choices, choices.replace(**cure), problems, updates, pace)


_ALL = (
    _preset(
        "overfitting", "Overfitting",
        "The training loss falls and falls, the validation loss turns and rises: the border bends around single wrong "
        "labels. Turn the label noise down to 0, and see how much of it goes.",
        "Weights kept small (L2) leave the network no strength for such bends: the border follows the many points, "
        "not the few wrong ones.",
        {"data": "gaussians", "noise": 0.5, "label_noise": 0.2, "points": 120, "validation": 0.5,
         "widths": (16, 16, 16), "activations": ("relu",), "optimizer": "adam", "learning_rate": 0.01},
        {"l2": 0.1, "widths": (4,)}, ("overfitting", "label_noise", "random_labels"), 1500, 10,
    ),
    _preset(
        "underfitting", "Underfitting",
        "Training and validation are poor alike, and stay so: one neuron can draw one soft edge, and a spiral needs "
        "many.",
        "More neurons, and features that suit the data, give the network something to build the spiral from.",
        {"data": "spiral", "noise": 0.0, "points": 500, "widths": (1,), "optimizer": "adam", "learning_rate": 0.03},
        {"widths": (8, 8), "features": ("x1", "x2", "sin(x1)", "sin(x2)")}, ("underfitting",), 1500, 20,
    ),
    _preset(
        "vanishing", "Vanishing gradient",
        "Look at the gradient that flows back: each layer of sigmoids passes on a fraction of it, and the first layers "
        "stand still.",
        "ReLU has slope 1 where it is on, so the gradient arrives; weights that suit it (He) keep its size.",
        {"data": "circles", "widths": (8,) * 6, "activations": ("sigmoid",), "optimizer": "sgd", "learning_rate": 0.1},
        {"activations": ("relu",), "learning_rate": 0.03}, ("vanishing_gradients",), 1000, 10,
    ),
    _preset(
        "exploding", "Exploding gradient",
        "Weights far too large: each layer multiplies what passes several times over, forward and back. Step through "
        "the first updates one by one: the loss grows until no number can hold it.",
        "Initial weights that suit the activation (He for ReLU) keep signals and gradients at the same size in every "
        "layer.",
        {"data": "circles", "widths": (8,) * 5, "activations": ("relu",), "initials": ("large",), "optimizer": "sgd",
         "learning_rate": 0.03},
        {"initials": ("he",)},
        ("exploding_gradients", "bad_initial_weights", "nonfinite_loss"), 500, 1,
    ),
    _preset(
        "dead", "Dead units",
        "The pictures of the hidden neurons are blank: their biases are so far below zero that ReLU is off for every "
        "point. Where it is off its slope is 0, so nothing can wake them.",
        "Biases that begin at 0 leave each ReLU on for about half of the points.",
        {"data": "circles", "widths": (8, 8), "activations": ("relu",), "initials": ("negative",), "optimizer": "adam",
         "learning_rate": 0.01},
        {"initials": ("he",)}, ("dead_units", "bad_initial_weights"), 500, 5,
    ),
    _preset(
        "too-large", "Step too large",
        "The loss leaps up and down, or runs off: each update overshoots the valley that it aims for.",
        "A hundredth of the step goes downhill all the way.",
        {"data": "moons", "widths": (8, 8), "activations": ("relu",), "optimizer": "momentum", "learning_rate": 3.0},
        {"learning_rate": 0.03}, ("learning_rate_too_high", "nonfinite_loss", "exploding_gradients", "oscillation"),
        300, 1,
    ),
    _preset(
        "too-small", "Step too small",
        "The curve is a flat line: every update goes the right way, and hardly anywhere.",
        "A step a thousand times as large takes the same way in a hundredth of the time.",
        {"data": "moons", "widths": (8, 8), "activations": ("relu",), "optimizer": "sgd", "learning_rate": 1e-5},
        {"learning_rate": 0.1}, ("learning_rate_too_low",), 1000, 10,
    ),
    _preset(
        "linear", "A stack without activations",
        "Four layers, and the border is a straight line all the same: a product of matrices is a matrix.",
        "One bend in each neuron, and the layers can do what one alone cannot.",
        {"data": "circles", "widths": (8, 8, 8, 8), "activations": ("identity",), "optimizer": "adam",
         "learning_rate": 0.01},
        {"activations": ("tanh",)}, ("no_nonlinearity",), 600, 5,
    ),
    _preset(
        "xor", "A perceptron at XOR",
        "No hidden layer, and half of the points are wrong whatever the weights: no straight line parts XOR "
        "(Minsky & Papert 1969).",
        "Two hidden layers, or the feature x1·x2: then a line parts it.",
        {"data": "xor", "noise": 0.0, "widths": (), "optimizer": "adam", "learning_rate": 0.03},
        {"widths": (4, 4)}, ("underfitting", "no_nonlinearity"), 800, 5,
    ),
    _preset(
        "equal", "All weights equal",
        "All weights begin at 0.3: every neuron of a layer does the same, gets the same gradient, and stays the same: "
        "six pictures, and one neuron's work. With zeros it is worse still: nothing but the last bias moves.",
        "Weights that begin at random make the neurons different, and each finds work of its own.",
        {"data": "circles", "widths": (6, 4), "activations": ("tanh",), "initials": ("equal",), "optimizer": "adam",
         "learning_rate": 0.03},
        {"initials": ("glorot",)}, ("symmetric_units", "bad_initial_weights"), 600, 5,
    ),
)  # fmt: skip

PRESETS = {preset.name: preset for preset in _ALL}
