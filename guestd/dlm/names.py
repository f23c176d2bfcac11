"""Names of resources: a root and, below it, sub-resources, as of a volume, a file, a record.

A tree is mastered as a whole, and the directory knows its root only. Locking a sub-resource takes a lock on the
resource above it, by the same node.

In bytes: number of parts (1), then for each part its size (1) and its bytes.
"""

from __future__ import annotations

PARTS_MAX = 8
PART_SIZE_MAX = 64
NAME_SIZE_MAX = 255  # as encoded
PROGRAM = b"program:"  # what the roots of programs begin with; the others are guestd's own levels'

TYPE_CHECKING = False
if TYPE_CHECKING:
    Name = tuple[bytes, ...]


def check(name: Name) -> None:
    """Raises ValueError for what is no name, and says what is legal."""
    sizes = [len(part) for part in name]
    if not 1 <= len(name) <= PARTS_MAX or not all(1 <= size <= PART_SIZE_MAX for size in sizes):
        raise ValueError(f"{name!r} (legal: 1 to {PARTS_MAX} parts of 1 to {PART_SIZE_MAX} bytes)")
    if 1 + len(name) + sum(sizes) > NAME_SIZE_MAX:
        raise ValueError(f"{name!r} takes {1 + len(name) + sum(sizes)} bytes (legal: {NAME_SIZE_MAX})")


def encode(name: Name) -> bytes:
    """At most NAME_SIZE_MAX bytes."""
    return b"".join([bytes([len(name)]), *(bytes([len(part)]) + part for part in name)])


def decode(data: bytes) -> Name:
    """Raises ValueError if these bytes are not exactly one name."""
    parts = []
    offset = 1
    for _ in range(data[0] if data else 0):
        size = data[offset] if offset < len(data) else 0
        parts.append(data[offset + 1 : offset + 1 + size])
        offset += 1 + size
    name = tuple(parts)
    check(name)
    if encode(name) != data:
        raise ValueError(f"{len(data)} bytes are not one name")
    return name


def shown(name: Name) -> str:
    """For people: the parts with slashes between them, other bytes than printable ASCII escaped."""
    return "/".join(repr(part)[2:-1] for part in name)
