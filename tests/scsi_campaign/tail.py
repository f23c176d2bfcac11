"""A ledger that grows, read piece by piece."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from hil.scsi.ledger import NexusName, Record
from hil.scsi.ledger_reader import read_records


class Tail:
    """``more`` gives what is new. The names of all nexuses have to come first, as with portals that name them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = b""
        self._end = 0

    def more(self) -> list[Record]:
        """Raises ``NotALedger``."""
        with self._path.open("rb") as file:
            file.seek(self._end)
            data = self._names + file.read()
        found: list[Record] = []
        names_end = end = len(self._names)
        for end, record in read_records(BytesIO(data), str(self._path)):
            if end > len(self._names):
                found.append(record)
            if isinstance(record, NexusName):
                names_end = end
        self._end += end - len(self._names)
        self._names = data[:names_end]
        return found
