"""How what waits to be sent is handed to the socket: in few calls, at the price of one copy.

A call to send costs as much as a copy of some 64 KiB, and answers come in pieces of 48 bytes (headers) and a few KiB
(data of a read): one call for each of them would cost more than all the rest of a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JOINED_BYTES_MAX: Final = 128 * 1024


def joined(pieces: Sequence[bytes | memoryview], bytes_max: int = JOINED_BYTES_MAX) -> Iterator[bytes | memoryview]:
    """The same bytes in fewer pieces: neighbours are joined up to ``bytes_max``; a longer one stays as it is."""
    run: list[bytes | memoryview] = []
    run_bytes = 0
    for piece in pieces:
        if run_bytes + len(piece) > bytes_max and run:
            yield _join(run)
            run, run_bytes = [], 0
        run.append(piece)
        run_bytes += len(piece)
    if run:
        yield _join(run)


def _join(run: list[bytes | memoryview]) -> bytes | memoryview:
    return run[0] if len(run) == 1 else b"".join(run)
