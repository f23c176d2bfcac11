"""What lock managers tell each other, and its form in bytes (docs/dlm.md has the table).

A message is its kind (1 byte), its fields in their order (little-endian, without padding), and at its end a name, where
it has one, or a list. They go through the ordered channels (`interconnect/`), so none has a checksum of its own.

A lock is known by its node and a number that this node gave it; an operation by a number that grows within a node and,
by what the node hears, beyond the numbers of others: with the node, it is the age of a request.
"""

from __future__ import annotations

import struct

from guestd.core.enumeration import Enum
from guestd.core.value import Value
from guestd.dlm import names
from guestd.dlm.modes import Mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.names import Name

VALUE_SIZE = 64
NO_MODE = 255  # in place of a mode's code
NO_MASTER = 255


class Reason(Enum):
    """Why a request or a conversion has not been granted."""

    AGAIN = 0  # it was to be granted at once or not at all
    CANCELLED = 1
    DEADLOCK = 2  # it was the youngest in a circle of requests that wait for each other


class BadMessage(ValueError):
    """Bytes that are no message; says why."""


class Message(Value):
    """Base of the messages."""


class Lookup(Message):
    """To the directory: who masters that tree? If nobody does, the sender does from now on."""

    number: int
    name: Name


class Master(Message):
    """From the directory. NO_MASTER: this node is not the one to ask; ask again later."""

    number: int
    master: int


class Remove(Message):
    """To the directory: the sender does not master that tree any more, nobody has a lock in it."""

    name: Name


class Request(Message):
    """To the master: a new lock."""

    lock: int
    operation: int
    owner: int
    mode: Mode
    noqueue: bool
    recovery: bool
    name: Name


class Convert(Message):
    """To the master: another mode for a lock that is granted."""

    lock: int
    operation: int
    mode: Mode
    noqueue: bool
    writes: bool
    value: bytes


class Release(Message):
    """To the master: the lock is given up. invalidates: its holder has ended; in PW or EX it has left no value."""

    lock: int
    operation: int
    invalidates: bool
    writes: bool
    value: bytes


class Cancel(Message):
    """To the master: the request or conversion with that number is not wanted any more, if it still waits."""

    lock: int
    operation: int
    reason: Reason


class Grant(Message):
    """From the master: that operation is granted; with the value block as it is now."""

    lock: int
    operation: int
    mode: Mode
    valid: bool
    sequence: int
    value: bytes


class Deny(Message):
    """From the master: that operation is not granted, and the lock is held in that mode (its code, or NO_MODE)."""

    lock: int
    operation: int
    reason: Reason
    granted: int


class Released(Message):
    """From the master: the lock is gone."""

    lock: int
    operation: int


class Blocking(Message):
    """From the master: somebody waits for that lock, and would have it in that mode."""

    lock: int
    mode: Mode


class Retry(Message):
    """From a node that is not the master of that lock: the directory is to be asked, and the operation sent again."""

    lock: int
    operation: int


class WhoBlocks(Message):
    """To the master of a lock that waits, in the search of (node, lock, operation): go on with whom it waits for."""

    node: int
    lock: int
    operation: int
    search: int
    waiting_node: int
    waiting_lock: int


class WhatDelays(Message):
    """To a node: that owner has a lock that is waited for; go on with the locks for which the owner itself waits."""

    node: int
    lock: int
    operation: int
    search: int
    owner: int


class SpreadBegin(Message):
    """The sender's part of a new directory for the members of that mask follows, up to its SpreadEnd.

    digest: of the members' lives. started: node (1), incarnation (4), kind of transition (1) for each node of which the
    sender has been told to re-spread.
    """

    mask: int
    digest: int
    started: bytes


class Mastered(Message):
    """The sender masters that tree."""

    name: Name


class Held(Message):
    """A lock of the sender on a resource whose master is gone. A conversion down, or a release, is taken as done."""

    lock: int
    operation: int  # the newest
    owner: int
    granted: int  # a mode's code, or NO_MODE
    wanted: int  # what the newest operation waits for, or NO_MODE
    releases: bool  # the newest operation is a release, and its answer is awaited
    noqueue: bool
    recovery: bool
    cancelled: int  # a reason's code if it is to be cancelled, or 255
    valid: bool
    sequence: int
    value: bytes
    name: Name


class LastValue(Message):
    """From a node that leaves: the value block of a resource that it masters, or that a user of it has written to."""

    valid: bool
    sequence: int
    value: bytes
    name: Name


class SpreadEnd(Message):
    """The end of the sender's part."""


FORMATS: dict[int, tuple[type[Message], str]] = {
    1: (Lookup, "<Q"),
    2: (Master, "<QB"),
    3: (Remove, "<"),
    4: (Request, "<IQQB??"),
    5: (Convert, "<IQB??64s"),
    6: (Release, "<IQ??64s"),
    7: (Cancel, "<IQB"),
    8: (Grant, "<IQB?Q64s"),
    9: (Deny, "<IQBB"),
    10: (Released, "<IQ"),
    11: (Blocking, "<IB"),
    12: (Retry, "<IQ"),
    13: (WhoBlocks, "<BIQIBI"),
    14: (WhatDelays, "<BIQIQ"),
    15: (SpreadBegin, "<QI"),
    16: (Mastered, "<"),
    17: (Held, "<IQQBB???B?Q64s"),
    18: (LastValue, "<?Q64s"),
    19: (SpreadEnd, "<"),
}
_BY_KIND = {kind: (message, struct.Struct(layout)) for kind, (message, layout) in FORMATS.items()}
_BY_CLASS = {message: (kind, layout) for kind, (message, layout) in _BY_KIND.items()}
_ENUMERATIONS = {"mode": Mode, "reason": Reason}


def encode(message: Message) -> bytes:
    """At most 1 + 111 + 255 bytes."""
    kind, layout = _BY_CLASS[type(message)]
    fields = []
    tail = b""
    for field in type(message).value_fields:
        found = getattr(message, field)
        if field == "name":
            tail = names.encode(found)
        elif field == "started":
            tail = found
        else:
            fields.append(found.value if field in _ENUMERATIONS else found)
    return bytes([kind]) + layout.pack(*fields) + tail


def decode(data: bytes) -> Message:
    """Raises BadMessage."""
    if not data or data[0] not in _BY_KIND:
        raise BadMessage(f"{data[:1]!r} is no kind of message")
    message, layout = _BY_KIND[data[0]]
    if len(data) < 1 + layout.size:
        raise BadMessage(f"{len(data)} bytes are too few for {message.__name__}")
    fields = list(layout.unpack_from(data, 1))
    tail = data[1 + layout.size :]
    try:
        for place, field in enumerate(message.value_fields):
            if field == "name":
                fields.append(names.decode(tail))
                tail = b""
            elif field == "started":
                fields.append(tail)
                tail = b""
            elif field in _ENUMERATIONS:
                fields[place] = _ENUMERATIONS[field](fields[place])
    except ValueError as why:
        raise BadMessage(f"{message.__name__}: {why}") from why
    if tail:
        raise BadMessage(f"{message.__name__} has {len(tail)} bytes too many")
    made: Message = message(*fields)
    return made
