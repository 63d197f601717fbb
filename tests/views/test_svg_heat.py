"""Heat maps: colours mean the same in every run; what is unusual stays visible."""

import re

import numpy as np
import pytest

from pellucid.views.svg_heat import BROKEN, FIRE, Colours, heat_map

SIZES = Colours(1e-4, 1e4, ("vanished", "1", "exploded"))


def brightness(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def fills(html: str) -> list[str]:
    return re.findall(r'fill="(#\w+)"><title>', html)


def test_a_colour_means_the_same_whatever_stands_beside_it():
    alone = fills(heat_map(["a"], [0], [[0.5]], title="t", x_label="x", colours=SIZES))
    among = fills(heat_map(["a", "b"], [0], [[0.5, 1e9]], title="t", x_label="x", colours=SIZES))
    assert alone[0] == among[0] and among[1] == FIRE[-1]


def test_vanishing_is_dark_and_exploding_bright():
    values = [0.0, 1e-9, 1e-3, 1e-1, 1.0, 10.0, 1e3, 1e7]
    names = [f"l{i}" for i in range(len(values))]
    drawn = [brightness(c) for c in fills(heat_map(names, [0], [values], title="t", x_label="x", colours=SIZES))]
    assert drawn == sorted(drawn) and drawn[0] < 0.01 and drawn[-1] > 0.9


def test_one_spike_among_many_samples_is_drawn_and_told():
    values = np.ones((5_000, 2))
    values[1234, 0], values[777, 1] = 5e3, np.nan
    html = heat_map(["a", "b"], list(range(5_000)), values, title="t", x_label="update", colours=SIZES)
    assert "1 to 5e+03" in html and fills(html).count(BROKEN) == 1 and "not finite" in html


def test_the_scale_is_a_ratio_and_hovering_tells_the_value():
    html = heat_map(["a"], [0], [[3e-5]], title="t", x_label="x", colours=SIZES, scale=3e-5)
    assert fills(html) == fills(heat_map(["a"], [0], [[1.0]], title="t", x_label="x", colours=SIZES))
    assert "3e-05" in html


@pytest.mark.parametrize("values", [np.zeros((0, 1)), [[np.nan]], [[-1.0]], [[0.0]]])
def test_any_values_are_drawn_and_names_escaped(values):
    html = heat_map(["<b>"], list(range(len(values))), values, title="<b>", x_label="x", colours=SIZES)
    assert "<b>" not in html and html.startswith("<figure")


def test_many_layers_stay_small():
    g = np.random.default_rng(0)
    values = 10 ** g.uniform(-6, 6, (1_000, 64))  # the worst case: no neighbours are alike
    html = heat_map([f"l{i}" for i in range(64)], range(1_000), values, title="t", x_label="x", colours=SIZES)
    assert len(html) < 450_000
