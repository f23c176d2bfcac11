"""Enumerations: a fixed set of named constants, each with a value.

To the type checker and the reader they are ``enum.Enum``. At run time the few lines below take its place: importing
``enum`` (with ``functools``, ``collections``, ``types``) is a third of guestd's imports, and guestd starts on emulated
processors. A member's hash is its place in its class, so that nothing depends on PYTHONHASHSEED.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import enum

    class Enum(enum.Enum):
        """Defined here and no alias: who compiles these modules (mypyc) takes as a base what the checker sees."""
else:

    class EnumType(type):
        """Turns the public constants of a class body into members, in their order."""

        def __new__(mcs, name, bases, space):
            names = [key for key, value in space.items() if key[0] != "_" and not hasattr(value, "__get__")]
            values = {key: space.pop(key) for key in names}
            cls = super().__new__(mcs, name, bases, {"__slots__": (), **space} if bases else space)
            cls._members = {}
            for place, (key, value) in enumerate(values.items()):
                if value in cls._members:
                    raise ValueError(f"{name}.{key} and {cls._members[value]} have the same value")
                member = object.__new__(cls)
                for field, content in (("name", key), ("value", value), ("_place", place)):
                    object.__setattr__(member, field, content)
                cls._members[value] = member
                type.__setattr__(cls, key, member)
            return cls

        def __call__(cls, value):
            try:
                return cls._members[value]
            except KeyError:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}") from None

        def __iter__(cls):
            return iter(cls._members.values())

        def __len__(cls):
            return len(cls._members)

        def __setattr__(cls, name, value):
            if name != "_members":
                raise AttributeError(f"{cls.__name__}.{name} cannot be changed")
            super().__setattr__(name, value)

    class Enum(metaclass=EnumType):
        """Base of all enumerations; members are compared by identity."""

        __slots__ = ("_place", "name", "value")

        def __setattr__(self, name, _value):
            raise AttributeError(f"{self!r}.{name} cannot be changed")

        def __hash__(self):
            return self._place

        def __repr__(self):
            return f"<{self}: {self.value!r}>"

        def __str__(self):
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self):  # copies and pickles are the member itself
            return type(self), (self.value,)


__all__ = ["Enum"]
