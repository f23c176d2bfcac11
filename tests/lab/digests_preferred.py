"""A relay that makes an initiator prefer header digests which offers them, but whose options do not let it.

The tools of libiscsi all log in with ``HeaderDigest=None,CRC32C``. The same offer in the other order is as long, and
what is agreed on is told by the target and obeyed by the library, whatever it preferred.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hil.scsi.iscsi.pdu import HEADER_BYTES

_OFFERED = b"HeaderDigest=None,CRC32C\0"
_PREFERRED = b"HeaderDigest=CRC32C,None\0"


@contextmanager
def digests_preferred(target: str) -> Iterator[str]:
    """The address, HOST:PORT, at which ``target`` is reached that way."""
    host, _, port = target.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, (host, int(port))), daemon=True).start()
        yield "{}:{}".format(*server.getsockname())
        server.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept


def _accept(server: socket.socket, target: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            initiator, _ = server.accept()
            threading.Thread(target=_relay, args=(initiator, target), daemon=True).start()


def _relay(initiator: socket.socket, address: tuple[str, int]) -> None:
    with initiator, socket.create_connection(address) as target:
        back = threading.Thread(target=_pump, args=(target, initiator), daemon=True)
        back.start()
        login = b""
        while _OFFERED not in login:  # the first request has it, after the names
            more = initiator.recv(HEADER_BYTES)
            if not more:
                break
            login += more
        target.sendall(login.replace(_OFFERED, _PREFERRED))
        _pump(initiator, target)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(256 * 1024):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
