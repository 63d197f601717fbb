"""The picture of a network: every layer is in it or in a fold, sums add up, names are escaped."""

import re
from xml.etree import ElementTree

import jax
import pytest

import pellucid as pc
from pellucid.network.adapt import built
from pellucid.network.architecture import Arriving
from pellucid.network.composite import replace_layers, walk
from pellucid.network.summary import rows
from pellucid.views.network_picture import WIDTH, network_picture
from pellucid.views.network_tree import Fold, Leaf, tree

MADE = {
    "mlp": (lambda: pc.mlp((8,) * 12), (5,)),
    "cnn": (lambda: pc.cnn((8, 16)), (16, 16, 1)),
    "resnet": (lambda: pc.resnet(18), (16, 16, 3)),
    "lstm": (lambda: pc.lstm(8), (6, 4)),
    "transformer": (lambda: pc.transformer(layers=5, heads=2, width=8), (6, 4)),
}


@pytest.fixture(scope="module", params=MADE)
def table(request):
    """(the layer table, the kinds of composites) of each architecture."""
    make, shape = MADE[request.param]
    x = jax.ShapeDtypeStruct((1, *shape), "float32")
    layer = built(make().layer, Arriving.of(x))
    layer = replace_layers(layer, lambda part: pc.Output(3) if isinstance(part, pc.Output) else part)
    found = rows(pc.Network(layer), x)
    leaves = {row["path"] for row in found}
    return found, {path: str(part.name) for path, part in walk(layer) if path not in leaves}


def counted(nodes):
    """Layers of a tree, folds unfolded."""
    own = lambda node: 0 if isinstance(node, Fold) else len(node.rows)  # noqa: E731
    inside = lambda node: 0 if isinstance(node, Leaf) else counted(node.parts)  # noqa: E731
    return sum((own(n) + inside(n)) * (n.times if isinstance(n, Fold) else 1) for n in nodes)


def test_nothing_is_lost_on_the_way_to_the_tree(table):
    found, kinds = table
    nodes = tree(found, kinds)
    assert counted(nodes) == len(found)
    assert sum(node.parameters for node in nodes) == sum(row["parameters"] for row in found)


def test_the_picture_is_well_formed_and_stays_inside_its_frame(table):
    svg = ElementTree.fromstring(network_picture(*table)).find("svg")
    width, height = map(float, svg.get("viewBox").split()[2:])
    assert width == WIDTH and svg.get("aria-label").startswith("The network, from input to output")
    for rect in svg.iter("rect"):
        x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        assert min(x, y) >= -0.1 and x + w <= width and y + h <= height
    for text in svg.iter("text"):
        x, y = float(text.get("x")), float(text.get("y"))
        assert min(x, y) >= 0 and x <= width and y <= height


def test_what_repeats_is_folded():
    row = {"layer": "dense", "output": [8], "parameters": 72}
    many = [row | {"path": f"hidden{i}"} for i in range(1, 201)]
    picture = network_picture(many, {})
    assert "× 200" in picture and "hidden1 to hidden200" in picture and len(picture) < 5_000
    changed = [*many[:100], many[100] | {"output": [9]}, *many[101:]]
    assert re.findall(r"× (\d+)", network_picture(changed, {})) == ["100", "99"]


def test_names_are_escaped():
    row = {"path": "<script>/a&b", "layer": "dense", "output": [2], "parameters": 1}
    picture = network_picture([row], {"<script>": "<x>"})
    ElementTree.fromstring(picture)
    assert "<script>" not in picture and "<x>" not in picture
