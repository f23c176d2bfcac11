"""What an initiator with digests sends and expects, computed without the library that the target uses."""

from __future__ import annotations

from hil.scsi.iscsi import pdu as p
from tests.unit.test_scsi_command_line import Client


def _byte(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # the generator of RFC 7143 13.1, bits in reverse order
    return crc


TABLE = [_byte(number) for number in range(256)]


def digest(data: bytes) -> bytes:
    """The 4 bytes of a CRC32C as they are sent."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def protected(raw: bytes, *, header: bool, data: bool) -> bytes:
    """A PDU, padding included, with its digests."""
    first = 48 + raw[4] * 4
    found = raw[:first] + digest(raw[:first]) * header + raw[first:]
    return found + digest(raw[first:]) * (data and len(raw) > first)


class DigestClient(Client):
    """Puts digests into what it sends, and checks those of every answer."""

    def __init__(self, address: str, *, header: bool = True, data: bool = True) -> None:
        super().__init__(address)
        self.digests = {"header": header, "data": data}
        self.in_force = False

    def log_in(self, name: str, *keys: str) -> int:
        chosen = {True: "CRC32C", False: "None"}
        offers = (f"{key.capitalize()}Digest={chosen[wanted]}" for key, wanted in self.digests.items())
        status = super().log_in(name, *offers, *keys)
        self.in_force = True
        return status

    def send(self, request: p.Pdu, data: bytes = b"") -> tuple[p.Pdu, bytes]:
        if not self.in_force:
            return super().send(request, data)
        self.socket.sendall(protected(p.build(request, data), **self.digests))
        return self.receive()

    def receive(self) -> tuple[p.Pdu, bytes]:
        if not self.in_force:
            return super().receive()
        raw = self._exactly(48)
        if self.digests["header"]:
            assert self._exactly(4) == digest(raw)
        header = p.parse(raw)
        assert header is not None
        length = header.lengths & 0xFFFFFF
        data = self._exactly(length + 3 & ~3)
        if self.digests["data"] and data:
            assert self._exactly(4) == digest(data)
        return header, data[:length]
