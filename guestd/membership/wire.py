"""The form that a view has in bytes, in the commit record and in the master's datagrams alike.

offset  size
0       4     epoch
4       4     step
8       1     master (255: none)
9       1     number of configured nodes, N
10      7 x N per node: incarnation (4), state and flags (1), level (1), reach (1)
State and flags: state in bits 0-2, forced in bit 3, barrier in bits 4-7.
"""

from __future__ import annotations

import struct

from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View, empty

BARRIERS_MAX = 16

_VIEW = struct.Struct("<IIBB")
_ENTRY = struct.Struct("<IBBB")

STATE_CODES = {
    NodeState.INACTIVE: 0,
    NodeState.JOINING: 1,
    NodeState.JOINED: 2,
    NodeState.LEAVING: 3,
    NodeState.FORCED_LEAVING: 4,
}
_CODES = {state.value: code for state, code in STATE_CODES.items()}  # the hash of a string is kept
STATES_BY_CODE = {code: state for state, code in STATE_CODES.items()}


def code_of(state: NodeState) -> int:
    """As in STATE_CODES."""
    return _CODES[state.value]


def encode_view(view: View) -> bytes:
    """At most 458 bytes, for 64 nodes."""
    try:
        return view.encoded
    except AttributeError:
        encoded = _encode(view)
        object.__setattr__(view, "encoded", encoded)
        return encoded


def _encode(view: View) -> bytes:
    parts = [_VIEW.pack(view.epoch, view.step, view.master, len(view.entries))]
    for entry in view.entries:
        flags = code_of(entry.state) | entry.forced << 3 | entry.barrier << 4
        parts.append(_ENTRY.pack(entry.incarnation, flags, entry.level, entry.reach))
    return b"".join(parts)


_last = (b"", empty(0))  # each datagram of a master, and each copy of its record, brings the same view again


def decode_view(data: bytes, nodes: int) -> View:
    """Raises ValueError if these bytes are not a view of that many nodes."""
    global _last  # noqa: PLW0603 - pure all the same: bytes and what they mean
    said, view = _last
    encoded = data[: view_size(nodes)]
    if said != encoded:
        view = _decode(data, nodes)
        _last = encoded, view
    return view


def _decode(data: bytes, nodes: int) -> View:
    if len(data) < _VIEW.size + nodes * _ENTRY.size:
        raise ValueError(f"a view of {nodes} nodes does not fit in {len(data)} bytes")
    epoch, step, master, count = _VIEW.unpack_from(data)
    if count != nodes:
        raise ValueError(f"a view of {count} nodes instead of {nodes}")
    entries = []
    for node in range(nodes):
        incarnation, flags, level, reach = _ENTRY.unpack_from(data, _VIEW.size + node * _ENTRY.size)
        state = STATES_BY_CODE.get(flags & 7)
        if state is None:
            raise ValueError(f"node {node} has the unknown state code {flags & 7}")
        entries.append(Entry(state, incarnation, level, flags >> 4, reach, bool(flags & 8)))
    return View(epoch=epoch, step=step, master=master, entries=tuple(entries))


def view_size(nodes: int) -> int:
    """Bytes of an encoded view."""
    return _VIEW.size + nodes * _ENTRY.size
