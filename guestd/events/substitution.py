"""References to the parameters of an event in the arguments of its action (spec S8.2).

`$IN.name` and `$OUT.name` stand for a value, `$$` for a dollar. A name ends where letters, digits and underscores end.
An argument stays one argument, whatever the value is: no shell ever sees it.
"""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Given = str | int | float | bool

LEGAL = "$IN.name, $OUT.name, or $$ for a dollar"
SIZE_MAX = 64 << 10  # of all arguments together; the kernel takes 128 KiB for one


class BadReference(ValueError):
    """An argument has a dollar that begins nothing; says where, and what is legal."""


class CannotFill(ValueError):
    """There is no value for a reference, or too much comes out; says which."""


class Reference(Value):
    """One reference in an argument."""

    side: str  # IN or OUT
    name: str

    def __str__(self) -> str:
        return f"${self.side}.{self.name}"


def name_is_legal(name: object) -> bool:
    """Whether a parameter may be called that, so that a reference can name it."""
    return isinstance(name, str) and 0 < len(name) <= 64 and _name_end(name, 0) == len(name) and not name[0].isdigit()


def parts(argument: str) -> list[str | Reference]:
    """The text and the references of one argument, in their order. Raises BadReference."""
    found: list[str | Reference] = []
    at = 0
    while (dollar := argument.find("$", at)) >= 0:
        if dollar > at:
            found.append(argument[at:dollar])
        if argument.startswith("$$", dollar):
            found.append("$")
            at = dollar + 2
            continue
        side, _, _ = argument[dollar + 1 :].partition(".")
        begin = dollar + len(side) + 2
        at = _name_end(argument, begin)
        if side not in ("IN", "OUT") or not name_is_legal(argument[begin:at]):
            raise BadReference(f"{argument[dollar : dollar + 20]!r} in {argument[:80]!r} (legal: {LEGAL})")
        found.append(Reference(side, argument[begin:at]))
    if at < len(argument):
        found.append(argument[at:])
    return found


def references(arguments: Sequence[str]) -> list[Reference]:
    """All references in them. Raises BadReference."""
    return [part for argument in arguments for part in parts(argument) if isinstance(part, Reference)]


def filled(arguments: Sequence[str], inputs: Mapping[str, Given], outputs: Mapping[str, Given]) -> tuple[str, ...]:
    """The arguments with values in the place of references. Raises CannotFill, BadReference."""
    values = {"IN": inputs, "OUT": outputs}
    words = []
    for argument in arguments:
        word = ""
        for part in parts(argument):
            if isinstance(part, str):
                word += part
            elif part.name in values[part.side]:
                word += text(values[part.side][part.name])
            else:
                raise CannotFill(f"there is no value for {part}")
        words.append(word)
    size = sum(len(word.encode()) for word in words)
    if size > SIZE_MAX:
        raise CannotFill(f"the arguments have {size} bytes (legal: at most {SIZE_MAX})")
    return tuple(words)


def text(value: Given) -> str:
    """As an argument has it: true and false as TOML writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _name_end(given: str, at: int) -> int:
    while at < len(given) and (given[at] == "_" or (given[at].isascii() and given[at].isalnum())):
        at += 1
    return at
