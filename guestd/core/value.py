"""Immutable values with named fields.

They are dataclasses to the type checker (`dataclass_transform`), and look like `@dataclass(frozen=True, slots=True)` to
the reader. At run time they are built by the few lines below: importing `dataclasses` costs as much as everything else
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
        cls = super().__new__(mcs, name, bases, space)
        cls.value_fields = own
        cls.value_defaults = defaults
        return cls

    value_fields: tuple[str, ...]
    value_defaults: dict[str, Any]


class Value(metaclass=ValueType):
    """Base of all values: equal by type and fields, hashable, never changed after it was made."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        cls = type(self)
        if len(positional) > len(cls.value_fields):
            raise TypeError(f"{cls.__name__} takes {len(cls.value_fields)} fields, got {len(positional)}")
        put = object.__setattr__
        for field, value in zip(cls.value_fields, positional, strict=False):
            put(self, field, value)
        for field in cls.value_fields[len(positional) :]:
            if field in named:
                put(self, field, named.pop(field))
            elif field in cls.value_defaults:
                put(self, field, cls.value_defaults[field])
            else:
                raise TypeError(f"{cls.__name__} lacks the field {field}")
        if named:
            raise TypeError(
                f"{cls.__name__} has no field {', '.join(sorted(named))} (it has: {', '.join(cls.value_fields)})"
            )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: values are immutable, use replace()")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, field) for field in type(self).value_fields)

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
