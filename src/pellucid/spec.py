"""A spec is a named thing made of settings alone: a layer, an initializer, a loss, an optimizer, a schedule.

    @register            # or @register("leaky_relu") where the name is not simply the lower-cased class name
    class Huber(Loss):   # Loss is a family: a direct child of Spec
        delta: float = 1.0

A spec is a frozen dataclass: hashable, so that equal specs share one compiled program, and its own JSON. Field values
are coerced to their declared types when a spec is made (1, 1.0 and True are equal and hash alike, and would share a
compilation that must differ). It is written `Huber(2.0)` in Python, `huber:2` or `huber:delta=2` on the command line,
and `{"type": "huber", "delta": 2.0}` in JSON.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, dataclass_transform

from pellucid.errors import SettingError, nearest

T = TypeVar("T", bound=type)


class Spec:
    """The root of all specs. A family (`Layer`, `Loss`, ...) derives from it and holds a registry of its own."""

    family: ClassVar[str] = "spec"
    registry: ClassVar[dict[str, type["Spec"]]] = {}
    name: ClassVar[str] = ""

    def __init_subclass__(cls, family: str | None = None, **kwargs):
        super().__init_subclass__(**kwargs)
        if family:
            cls.family, cls.registry = family, {}

    def __post_init__(self):
        hints = _hints(type(self))
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = coerce(getattr(self, field.name), hints[field.name], f"{type(self).__name__}.{field.name}")
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Raise a `SettingError` where values, each of the right type, make no sense. Overridden where needed."""

    def refuse(self, field: str, expected: str) -> None:
        """Raise the error that says that `field` is out of range."""
        where = f"{type(self).__name__}({field}=...)"
        raise SettingError("a setting is out of range", where=where, expected=expected, got=getattr(self, field))

    def to_json(self, full: bool = False) -> dict[str, Any]:
        """Plain JSON values; fields that hold their default are left out unless `full`."""
        out: dict[str, Any] = {"type": self.name}
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            if full or field.default is dataclasses.MISSING or value != field.default:
                out[field.name] = _plain(value)
        return out

    @classmethod
    def of(cls, value: Any) -> Self:
        """A spec from what a person may write: a spec, its class, its name, `name:settings`, or its JSON."""
        if isinstance(value, cls):
            return value
        if isinstance(value, type) and issubclass(value, cls):
            return value()
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, Mapping):
            return cls.from_json(value)
        raise SettingError(
            f"this is no {cls.family}",
            expected=f"a {cls.family}, or its name",
            got=f"{value!r} ({type(value).__name__})",
        )

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """The registered class of this name; asked of a class within a family, only what is of that class."""
        choices = {key: found for key, found in cls.registry.items() if issubclass(found, cls)}
        found = choices.get(name.strip().lower().replace("-", "_"))
        if found is None:
            raise SettingError(f"there is no {cls.family} {name!r}", fix=nearest(name, choices))
        return typing.cast(type[Self], found)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`name`, `name:value,value` or `name:key=value`; values are read as the fields' types demand."""
        name, _, rest = text.partition(":")
        found = cls.find(name)
        fields = [f.name for f in dataclasses.fields(typing.cast(Any, found)) if not f.kw_only]  # as Python has it
        settings: dict[str, Any] = {}
        for place, part in enumerate(p for p in rest.split(",") if p.strip()):
            key, sign, value = part.partition("=")
            if not sign:
                if place >= len(fields):
                    raise SettingError(
                        f"too many settings in {text!r}", expected=f"at most {', '.join(fields) or 'none'}"
                    )
                key, value = fields[place], part
            if key.strip() in settings:
                raise SettingError(f"{key.strip()!r} is set twice in {text!r}", fix="give it once")
            settings[key.strip()] = value.strip()
        return found.make(settings)

    @classmethod
    def make(cls, settings: Mapping[str, Any]) -> Self:
        """`cls(**settings)`, with an unknown name told as such."""
        known = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
        for key in settings:
            if key not in known:
                raise SettingError(f"{cls.family} {cls.name!r} has no setting {key!r}", fix=nearest(key, known))
        missing = [
            f.name
            for f in dataclasses.fields(typing.cast(Any, cls))
            if f.name not in settings and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise SettingError(
                f"{cls.family} {cls.name!r} lacks {', '.join(missing)}", fix=f"{cls.name}:{missing[0]}=..."
            )
        return cls(**settings)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        if "type" not in data:
            raise SettingError(f"this is no {cls.family}", expected='an object with "type"', got=dict(data))
        found = cls.find(str(data["type"]))
        return found.make({k: v for k, v in data.items() if k != "type"})


@dataclass_transform(frozen_default=True)
def register(cls_or_name: Any = None) -> Any:
    """Make a class a spec of its family: a frozen dataclass, listed under its name. Re-defining replaces."""

    def decorate(cls: T, name: str | None = None) -> T:
        made = dataclasses.dataclass(frozen=True)(cls)
        made.name = name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        made.registry[made.name] = made
        _hint_cache.pop(made, None)
        return made

    if isinstance(cls_or_name, str):
        return lambda cls: decorate(cls, cls_or_name)
    return decorate(cls_or_name)


_hint_cache: dict[type, dict[str, Any]] = {}


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _hint_cache:
        _hint_cache[cls] = typing.get_type_hints(cls)
    return _hint_cache[cls]


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as the declared type, or a `SettingError` that says what was expected.

    >>> coerce("3", int, "Dense.width"), coerce(3, float, "Huber.delta"), coerce([1, 2], tuple[int, ...], "shape")
    (3, 3.0, (1, 2))
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _coerce_union(value, args, hint, where)
    if origin is Literal:
        if value in args:
            return value
        raise SettingError(
            "a setting has an unknown value", where=where, got=repr(value), fix=nearest(str(value), args)
        )
    if origin is tuple:
        return _coerce_tuple(value, args, hint, where)
    if isinstance(hint, type) and issubclass(hint, Spec):
        try:
            return hint.of(value)
        except SettingError as error:
            if error.parts["where"] is None:
                error.parts["where"] = where
            raise
    number = _number(value, hint)
    if number is not None:
        return number
    if isinstance(hint, type) and hint not in (int, float, bool) and isinstance(value, hint):
        return value
    raise _mismatch(value, hint, where)


def _number(value: Any, hint: Any) -> int | float | bool | None:
    """A bool, int or float read strictly (True is no number, 2.5 no integer), or None where it cannot be."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if hint is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        return value if isinstance(value, bool) else words.get(value.lower()) if isinstance(value, str) else None
    if hint not in (int, float) or isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else float(value)  # a float rounds large seeds
        except ValueError:
            return None
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    if hint is int:
        return int(value) if value == value // 1 else None
    return float(value)


def _coerce_union(value: Any, args: tuple, hint: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    if isinstance(value, str) and value.lower() in ("none", "null") and type(None) in args:
        return None
    for arg in args:  # what already has one of the types stays as it is, before anything is converted
        if arg is not type(None) and isinstance(arg, type) and type(value) is arg:
            return value
    problem: SettingError | None = None
    for arg in args:
        if arg is not type(None):
            try:
                return coerce(value, arg, where)
            except SettingError as error:
                problem = problem or error
    if problem is not None and len([a for a in args if a is not type(None)]) == 1:
        raise problem
    raise _mismatch(value, hint, where)


def _coerce_tuple(value: Any, args: tuple, hint: Any, where: str) -> tuple:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise _mismatch(value, hint, where)
    values = list(value)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(coerce(v, args[0], where) for v in values)
    if len(values) != len(args):
        raise _mismatch(value, hint, where)
    return tuple(coerce(v, a, where) for v, a in zip(values, args, strict=True))


def _mismatch(value: Any, hint: Any, where: str) -> SettingError:
    shown = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    shown = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}.get(shown, shown)
    return SettingError(
        "a setting has the wrong type", where=where, expected=shown, got=f"{value!r} ({type(value).__name__})"
    )
