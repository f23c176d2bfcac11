"""Parameters of a kind of fault: what values are legal, and what holds when none is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hil.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = int | str


class Integer(NamedTuple):
    """``lowest`` to ``highest``, and whether 0 is legal; without a ``default`` it has to be given."""

    lowest: int
    highest: int
    default: int | None
    about: str
    zero: bool = True

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        legal = type(value) is int and self.lowest <= value <= self.highest and (self.zero or value != 0)
        return None if legal else f"{self.lowest} to {self.highest}{'' if self.zero else ', not 0,'}"


class Choice(NamedTuple):
    """One of ``options``."""

    options: tuple[str, ...]
    default: str | None
    about: str

    def check(self, value: Any) -> str | None:
        """What would have been legal, None for a legal value."""
        return None if value in self.options else ", ".join(self.options)


Parameter = Integer | Choice


def resolve(kind: str, legal: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Value]:
    """Every parameter of the kind with its value. Raises ``UsageError``: not known, not legal, missing."""
    for name in given:
        if name not in legal:
            known = f"{', '.join(legal)} are" if legal else "it takes none"
            raise UsageError(f"fault {kind}: parameter {name!r} is not known: {known}{' legal' if legal else ''}")
    values: dict[str, Value] = {}
    for name, parameter in legal.items():
        value = given.get(name, parameter.default)
        if value is None:
            raise UsageError(f"fault {kind} needs {name}: {parameter.about}")
        wanted = parameter.check(value)
        if wanted is not None:
            raise UsageError(f"fault {kind}: {name} {value!r}: {wanted} is legal")
        values[name] = value
    return values
