"""The capture of the interconnect as a file that tcpdump and Wireshark read (pcap, with nanoseconds).

Its times are those of the run's events: seconds since the bench started. `tcpdump -tt` shows them.
"""

from __future__ import annotations

import struct
from typing import Final

_MAGIC: Final = 0xA1B23C4D  # of times in nanoseconds
_ETHERNET: Final = 1
SNAP_BYTES: Final = 65_535
_HEADER: Final = struct.Struct("<IHHiIII")
_RECORD: Final = struct.Struct("<IIII")
_SECOND_NS: Final = 1_000_000_000

_MAC: Final = bytes.fromhex("525400770000")
"""Of the interconnect's cards, but for the last byte (``hil.qemu.domain.interconnect_mac``)."""
_BROADCAST: Final = bytes.fromhex("ffffffffffff")
_NETWORK: Final = bytes((10, 77, 0))
_PORT: Final = 7400
_IPV4, _UDP = 0x0800, 17
_IP: Final = struct.Struct("!BBHHHBBH4s4s")


def header() -> bytes:
    """The beginning of the file."""
    return _HEADER.pack(_MAGIC, 2, 4, 0, 0, SNAP_BYTES, _ETHERNET)


def record(time_ns: int, frame: bytes, size: int | None = None) -> bytes:
    """One frame; ``size``: of the whole, if this is its beginning only."""
    seconds, nanoseconds = divmod(max(0, time_ns), _SECOND_NS)
    kept = frame[:SNAP_BYTES]
    return _RECORD.pack(seconds & 0xFFFFFFFF, nanoseconds, len(kept), len(frame) if size is None else size) + kept


def datagram(sender: int, receiver: int | None, payload: bytes) -> bytes:
    """The frame that carries a node's datagram to another one, or (None) to all, as guests send it."""
    last = 255 if receiver is None else receiver + 1
    source, target = _NETWORK + bytes((sender + 1,)), _NETWORK + bytes((last,))
    udp = struct.pack("!HHHH", _PORT, _PORT, 8 + len(payload), 0)  # 0: no checksum
    ip = _IP.pack(0x45, 0, 20 + len(udp) + len(payload), 0, 0, 64, _UDP, 0, source, target)
    ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
    to = _BROADCAST if receiver is None else _MAC[:5] + bytes((receiver + 1,))
    return to + _MAC[:5] + bytes((sender + 1,)) + struct.pack("!H", _IPV4) + ip + udp + payload


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
