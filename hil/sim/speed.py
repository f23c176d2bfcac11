"""What makes guestd fast in the simulator, and nothing else: the same values and the same records, made in less time.

guestd's values are made and compared by means that take little time to import, which counts in a guest. Here each class
gets a constructor and a comparison that are compiled for it, and an attempt to change
a value is not refused (mypy and the tests of guestd see to that). And a datagram or a heartbeat is decoded by every
stack that it comes to; here all stacks are in one process, so it is decoded once. Values are immutable, decoding is a
pure function of the bytes: nobody can tell the difference (``tests/unit/test_sim_determinism.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TypeVar

from guestd.core.value import Value
from guestd.membership import datagram, records, regions
from hil.compiled.use import in_use

_T = TypeVar("_T")
_KEPT: Final = 512
_MISSING: Final = object()


@contextmanager
def installed() -> Iterator[None]:
    """Within the block, in this process; afterwards everything is as guestd made it. Not to be nested.

    Compiled modules have all of it already (:mod:`hil.compiled`).
    """
    if in_use():
        yield
        return
    before: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, made: Any) -> None:
        before.append((where, name, vars(where).get(name, _MISSING)))
        setattr(where, name, made)

    # The guard against changes makes every assignment slow, those in a constructor too.
    put(Value, "__setattr__", object.__setattr__)
    for cls in _subclasses(Value):
        # What a class defines itself is left alone.
        if cls.value_fields and cls.value_constructor_made:
            put(cls, "__init__", constructor(cls))
        if cls.value_fields and "__eq__" not in vars(cls):
            equal, hashed = comparison(cls)
            put(cls, "__eq__", equal)
            put(cls, "__hash__", hashed)
    for module, name in ((datagram, "decode"), (regions, "decode_ballot")):
        put(module, name, remembering(getattr(module, name)))
    put(regions, "decode_heartbeat", remembering_by_node(records.decode_heartbeat))
    try:
        yield
    finally:
        for where, name, found in reversed(before):
            if found is _MISSING:
                delattr(where, name)
            else:
                setattr(where, name, found)


@cache
def constructor(cls: type[Value]) -> Callable[..., None]:
    """An ``__init__`` that does what ``Value.__init__`` does for that class, while its values can be changed."""
    fields = cls.value_fields
    defaults = {f"default_{field}": value for field, value in cls.value_defaults.items()}
    seen_default = False
    parameters = []
    for field in fields:
        if field in cls.value_defaults:
            seen_default = True
            parameters.append(f"{field}=default_{field}")
        else:
            # A field without a default may follow one with, as Value has it: then its absence is found at the call.
            parameters.append(f"{field}=missing" if seen_default else field)
    lines = [f"def __init__(self, {', '.join(parameters)}):"]
    lines += [f"    self.{field} = {field}" for field in fields]
    lacking = [field for field, text in zip(fields, parameters, strict=True) if text.endswith("=missing")]
    lines += [
        f"    if {field} is missing: raise TypeError('{cls.__name__} lacks the field {field}')" for field in lacking
    ]
    space: dict[str, Any] = {**defaults, "missing": _MISSING}
    exec("\n".join(lines), space)
    made: Callable[..., None] = space["__init__"]
    return made


@cache
def comparison(cls: type[Value]) -> tuple[Callable[..., bool], Callable[..., int]]:
    """``__eq__`` and ``__hash__`` that do what those of ``Value`` do for that class."""
    same = " and ".join(f"self.{field} == other.{field}" for field in cls.value_fields)
    values = "".join(f"self.{field}, " for field in cls.value_fields)
    lines = ["def __eq__(self, other):", f"    return self is other or (type(other) is cls and {same})"]
    lines += ["def __hash__(self):", f"    return hash(({values}))"]
    space: dict[str, Any] = {"cls": cls}
    exec("\n".join(lines), space)
    return space["__eq__"], space["__hash__"]


def remembering(decode: Callable[..., Any]) -> Callable[..., Any]:
    """A decoder that looks first whether it has decoded the same before."""
    known: dict[tuple[Any, ...], Any] = {}

    def remembered(*arguments: Any) -> Any:
        found = known.get(arguments, _MISSING)
        if found is _MISSING:
            found = decode(*arguments)
            if len(known) >= _KEPT:
                known.clear()
            known[arguments] = found
        return found

    return remembered


def remembering_by_node(decode: Callable[[bytes, int, bytes], _T]) -> Callable[[bytes, int, bytes], _T]:
    """The same for a sector that its node writes anew all the time: only its last contents, which all nodes read."""
    known: dict[int, tuple[bytes, bytes, _T]] = {}

    def remembered(cluster_id: bytes, node: int, data: bytes) -> _T:
        last = known.get(node)
        if last is not None and last[1] == data and last[0] == cluster_id:
            return last[2]
        found = decode(cluster_id, node, data)
        known[node] = cluster_id, data, found
        return found

    return remembered


def _subclasses(cls: type[Value]) -> list[type[Value]]:
    found = list(cls.__subclasses__())
    for one in found:
        found += _subclasses(one)
    return found
