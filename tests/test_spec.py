import dataclasses
import json
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import SettingError
from pellucid.spec import Spec, coerce, register


class Shape(Spec, family="shape"):
    pass


class Round(Shape):
    """A class within the family, not listed itself."""

    family = "round shape"


@register
class Circle(Round):
    radius: float = 1.0
    filled: bool = False
    copies: int | None = None

    def check(self):
        if self.radius < 0:
            self.refuse("radius", "a number >= 0")


@register("sq")
class Square(Shape):
    side: int
    colour: Literal["red", "blue"] = "red"


@register
class RingStack(Shape):
    ring: Round = Circle()
    sizes: tuple[int, ...] = ()
    named: tuple[tuple[str, Shape], ...] = ()
    size: tuple[int, float] | None = None


# -- making ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (Circle(2), Circle(2.0)),
        (Circle("2"), Circle(2.0)),
        (Circle(np.float32(2)), Circle(2.0)),
        (Circle(jnp.float32(2)), Circle(2.0)),
        (Circle(filled="yes"), Circle(filled=True)),
        (Circle(copies="none"), Circle()),
        (Circle(copies=3.0), Circle(copies=3)),
        (Square("4", "blue"), Square(4, "blue")),
        (RingStack("circle:3", [1, 2.0], [["a", "sq:2"]]), RingStack(Circle(3), (1, 2), (("a", Square(2)),))),
        (RingStack(size=["1", 2]), RingStack(size=(1, 2.0))),
    ],
)
def test_values_take_the_declared_types(made, expected):
    assert made == expected
    assert hash(made) == hash(expected)
    for field in dataclasses.fields(made):
        assert type(getattr(made, field.name)) is type(getattr(expected, field.name))


def test_names_follow_the_class_unless_given():
    assert {"circle": Circle, "sq": Square, "ring_stack": RingStack}.items() <= Shape.registry.items()
    assert "circle" not in Spec.registry


def test_defining_again_replaces():
    @register("again")
    class First(Shape):
        a: int = 1

    @register("again")
    class Second(Shape):
        b: int = 2

    assert Shape.of("again") == Second()
    with pytest.raises(SettingError, match="has no setting 'a'"):
        Shape.of("again:a=1")


def test_a_large_seed_keeps_its_digits():
    assert coerce("9007199254740993", int, "seed") == 9007199254740993
    assert coerce("1e3", int, "steps") == 1000


# -- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("circle", Circle()),
        (" Circle ", Circle()),
        ("circle:2", Circle(2)),
        ("circle:radius=2", Circle(2)),
        ("circle:2,true", Circle(2, True)),
        ("circle: 2 , copies = 3", Circle(2, copies=3)),
        ("ring-stack", RingStack()),
        ("sq:3,blue", Square(3, "blue")),
    ],
)
def test_a_spec_is_read_from_text(text, expected):
    assert Shape.of(text) == expected


def test_of_takes_a_spec_a_class_or_json():
    assert Shape.of(Circle(2)) == Shape.of({"type": "circle", "radius": 2}) == Circle(2)
    assert Shape.of(Circle) == Circle()


def test_a_class_within_a_family_finds_only_its_own():
    assert Round.of("circle") == Circle()
    with pytest.raises(SettingError, match="there is no round shape 'sq'"):
        Round.of("sq")


@pytest.mark.parametrize(
    "spec", [Circle(), Circle(0.1, True, 4), Square(2), RingStack(Circle(2), (1,), (("a", Square(1)),), (1, 2))]
)
def test_json_round_trip(spec):
    data = json.loads(json.dumps(spec.to_json()))
    back = Shape.from_json(data)
    assert back == spec
    assert hash(back) == hash(spec)


def test_json_leaves_defaults_out():
    assert Circle().to_json() == {"type": "circle"}
    assert Square(1).to_json() == {"type": "sq", "side": 1}
    assert RingStack(Circle(2)).to_json() == {"type": "ring_stack", "ring": {"type": "circle", "radius": 2.0}}


# -- refusing -------------------------------------------------------------------------------------------------------


def text(*lines: str) -> str:
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Shape.of("cirle"), text("there is no shape 'cirle'", "  fix:      did you mean 'circle'?")),
        (
            lambda: Shape.of("circle:radus=2"),
            text("round shape 'circle' has no setting 'radus'", "  fix:      did you mean 'radius'?"),
        ),
        (lambda: Shape.of("sq:1,red,2"), text("too many settings in 'sq:1,red,2'", "  expected: at most side, colour")),
        (
            lambda: Shape.of("circle:2,radius=3"),
            text("'radius' is set twice in 'circle:2,radius=3'", "  fix:      give it once"),
        ),
        (lambda: Shape.of("sq"), text("shape 'sq' lacks side", "  fix:      sq:side=...")),
        (lambda: Shape.of(3), text("this is no shape", "  expected: a shape, or its name", "  got:      3 (int)")),
        (
            lambda: Shape.from_json({"radius": 2}),
            text("this is no shape", '  expected: an object with "type"', "  got:      {'radius': 2}"),
        ),
        (
            lambda: Circle(-1),
            text(
                "a setting is out of range",
                "  where:    Circle(radius=...)",
                "  expected: a number >= 0",
                "  got:      -1.0",
            ),
        ),
        (
            lambda: Circle("big"),
            text(
                "a setting has the wrong type",
                "  where:    Circle.radius",
                "  expected: a number",
                "  got:      'big' (str)",
            ),
        ),
        (
            lambda: Square(2.5),
            text(
                "a setting has the wrong type",
                "  where:    Square.side",
                "  expected: a whole number",
                "  got:      2.5 (float)",
            ),
        ),
        (
            lambda: Square(1, "rad"),
            text(
                "a setting has an unknown value",
                "  where:    Square.colour",
                "  got:      'rad'",
                "  fix:      did you mean 'red'?",
            ),
        ),
        (
            lambda: RingStack("cirkle"),
            text(
                "there is no round shape 'cirkle'", "  where:    RingStack.ring", "  fix:      did you mean 'circle'?"
            ),
        ),
    ],
)
def test_errors_say_where_what_and_how(make, expected):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int), (True, float), (1, bool), ("maybe", bool), (float("nan"), float), ("nan", float),
        (float("inf"), int), (None, int), ("3.5", int), (2, str), ("ab", tuple[str, ...]), ({"a": 1}, tuple[str, ...]),
        ([1], tuple[int, int]), (np.ones(2), float), ("x", int | None),
    ],
)  # fmt: skip
def test_what_is_not_of_the_type_is_refused(value, hint: Any):
    with pytest.raises(SettingError, match="a setting has the wrong type"):
        coerce(value, hint, "here")


def test_settings_without_a_name_fill_the_places_that_python_would_fill():
    from pellucid.train.optimizers import Optimizer
    from pellucid.train.schedules import Schedule

    assert Optimizer.of("momentum:0.1,0.95").numbers()["momentum"] == 0.95
    assert Schedule.of("cosine:0.1") == Schedule.of({"type": "cosine", "final": 0.1})
