"""Reservation keys: one per life of a node (spec S6.3), so that a key says whose it is.

bits 63 to 48   "HL"
bits 47 to 32   node
bits 31 to 0    incarnation
"""

from __future__ import annotations

_MAGIC = int.from_bytes(b"HL", "big")


def key_of(node: int, incarnation: int) -> int:
    """The key of that life."""
    return _MAGIC << 48 | node << 32 | incarnation


def life_of(key: int) -> tuple[int, int] | None:
    """(node, incarnation) of a key; None for one that no node of ours has made."""
    return (key >> 32 & 0xFFFF, key & 0xFFFFFFFF) if key >> 48 == _MAGIC else None


def shown(key: int) -> str:
    """As sg_persist prints it."""
    return f"0x{key:x}"
