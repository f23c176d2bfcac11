"""Immutable values with named fields.

They are dataclasses to the type checker (`dataclass_transform`), and look like `@dataclass(frozen=True, slots=True)` to
the reader. At run time they are built by the lines below: importing `dataclasses` costs as much as everything else
that guestd imports, and guestd starts on emulated processors, where it would be half a second of every boot.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    _V = TypeVar("_V", bound="Value")
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


_LACKS = object()  # stands for a field that was not given

# The constructor of two fields; that of another number is made like it.
_TEMPLATE = """\
def __init__(self, {parameters}*more, **others):
    if more or others or {lacking}:
        refuse(self, ({fields}), more, others)
"""
_templates: dict[int, Any] = {}


def _refuse(value: Value, given: tuple[object, ...], more: tuple[object, ...], others: dict[str, object]) -> None:
    """Say why these are not the fields of that value."""
    cls = type(value)
    fields = cls.value_fields
    if more:
        raise TypeError(f"{cls.__name__} takes {len(fields)} fields, got {len(fields) + len(more)}")
    if others:
        raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(others))} (it has: {', '.join(fields)})")
    lacking = next(field for field, found in zip(fields, given, strict=True) if found is _LACKS)
    raise TypeError(f"{cls.__name__} lacks the field {lacking}")


def _constructor(fields: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """One is compiled for each number of fields, and each class gets a copy of it with its own names: to compile one
    for each class takes much longer.
    """
    count = len(fields)
    if count not in _templates:
        names = [f"field{place}" for place in range(count)]
        lacking = " or ".join([f"{name} is lacks" for name in names] or ["False"])
        listed = "".join([f"{name}, " for name in names])
        text = _TEMPLATE.format(parameters=listed, lacking=lacking, fields=listed)
        text += "".join(f"    put(self, {name!r}, {name})\n" for name in names)
        space: dict[str, Any] = {"put": object.__setattr__, "refuse": _refuse, "lacks": _LACKS}
        exec(text, space)
        _templates[count] = space["__init__"]
    template = _templates[count]
    code = template.__code__
    own = {f"field{place}": field for place, field in enumerate(fields)}
    code = code.replace(
        co_varnames=tuple([own.get(name, name) for name in code.co_varnames]),
        co_consts=tuple([own.get(const, const) for const in code.co_consts]),
    )
    given = tuple([defaults.get(field, _LACKS) for field in fields])
    return type(template)(code, template.__globals__, "__init__", given)


def _first(self: Value, *given: Any, **named: Any) -> None:
    """Of a class of which no value has been made yet: most of them never see one in the start of a node."""
    cls = type(self)
    made = _constructor(cls.value_fields, cls.value_defaults)
    type.__setattr__(cls, "__init__", made)
    made(self, *given, **named)


@dataclass_transform(frozen_default=True)
class ValueType(type):
    """Turns annotated class attributes into slots, and their values into defaults."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> ValueType:
        own = tuple(space.get("__annotations__", ()))
        defaults = {field: space.pop(field) for field in own if field in space}
        # `kept`: room for what is worked out from the fields, by the class itself; no part of the value.
        space["__slots__"] = own + tuple(space.pop("kept", ()))
        for base in bases:
            if isinstance(base, ValueType):
                own = (*base.value_fields, *own)
                defaults = {**base.value_defaults, **defaults}
        made = "__init__" not in space
        if made:
            space["__init__"] = _first  # in each class: one that is derived must not find that of another one
        cls = super().__new__(mcs, name, bases, space)
        cls.value_fields = own
        cls.value_defaults = defaults
        cls.value_constructor_made = made
        return cls

    value_fields: tuple[str, ...]
    value_defaults: dict[str, Any]
    value_constructor_made: bool  # by this class, and not by the value's own


class Value(metaclass=ValueType):
    """Base of all values: equal by type and fields, hashable, never changed after it was made."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: values are immutable, use replace()")

    def _values(self) -> tuple[object, ...]:
        return tuple([getattr(self, field) for field in type(self).value_fields])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self).value_fields)
        return f"{type(self).__name__}({shown})"


def replace(value: _V, **changes: Any) -> _V:
    """The same value with some fields changed. Raises TypeError for a field that the value does not have."""
    cls = type(value)
    return cls(**{**{field: getattr(value, field) for field in cls.value_fields}, **changes})
