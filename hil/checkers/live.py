"""The claims about a run that goes on: a violation ends the scenario at once, not when the scenario ends.

Events are told to the checkers as they are read, the disk's ledger as it grows; that costs some microseconds each. In
this order something may look wrong that is not: the bench reads each node's line by itself. So what a checker finds is
a suspicion, and all that has come so far is judged as a recording (:mod:`hil.checkers.recorded`), in an order that may
have been. Only what is violated there is told. If nothing is, the checkers go on from that order.

What needs the contents of the disk, or an end at rest, is judged when the scenario ends, as is all of it once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.disk_order import FactReader, concerns
from hil.checkers.merging import ENDS, GAPS, HEAD, Item, Recorded, RecordedLife
from hil.checkers.recorded import Telling, tell
from hil.checkers.recording import Recording
from hil.checkers.untrue import why_untrue
from hil.errors import ClaimFailed
from hil.evidence.layout import LEDGER
from hil.scsi.ledger_reader import Follower
from hil.scsi.ledger_records import NotALedger
from hil.view import BENCH_KINDS, MALFORMED, RECORDING

if TYPE_CHECKING:
    from typing import BinaryIO

    from hil.view import Event

SUSPICIONS_MAX: Final = 32
"""That come to nothing. Each costs a judgement of all so far; a stream that rouses more is judged at its end only."""


class LiveClaims:
    """Of one run. After a violation, or where nothing can be judged, it is silent."""

    def __init__(self, directory: Path, first: Event, *, fence: str, election: str) -> None:
        """``first``: the event that the stream begins with; ``fence`` and ``election``: of the cluster file."""
        self.suspicions = 0
        """How many came to nothing."""
        self.violation: ClaimFailed | None = None
        self._directory = directory
        self._recording = Recording(
            nodes=first["nodes"],
            events=[first],
            records=None,
            fence=fence,
            election=election,
            cluster_id=bytes.fromhex(first.get("cluster_id", "")),
            where=str(directory),
        )
        self._over = first.get("recording") != RECORDING
        self._facts = FactReader(first["nodes"], self._recording.cluster_id, None)
        self._file: BinaryIO | None = None
        self._follower: Follower | None = None
        self._lives = [RecordedLife(node, 0) for node in range(first["nodes"])]
        self._lost: set[int] = set()  # nodes of whose present life events are missing
        self._telling = Telling(Recorded(self._recording))

    def close(self) -> None:
        """Let go of the ledger."""
        self._over = True
        if self._file is not None:
            self._file.close()
            self._file = self._follower = None

    def tell(self, event: Event) -> None:
        """The next event of the stream. Raises :class:`hil.errors.ClaimFailed` for a claim that does not hold."""
        if self._over:
            return
        self._recording.events.append(event)
        if event["kind"] == "bench-stopping" or why_untrue([event]) is not None:
            self.close()
            return
        try:
            item = self._item(event)
            if item is not None:
                self._telling.event(item)
        except MALFORMED:  # whatever a guest says: the judgement at the end names it
            self.close()
            return
        self._settle()

    def look(self) -> None:
        """Read what has come into the disk's ledger. Raises :class:`hil.errors.ClaimFailed` as :meth:`tell` does."""
        if self._over or not self._follows():
            return
        self._read_on()
        self._settle()

    def _follows(self) -> bool:
        """Whether there is a ledger yet."""
        if self._follower is None:
            path = self._directory / LEDGER
            try:
                self._file = path.open("rb")
                self._follower = Follower(self._file, str(path))
            except (OSError, NotALedger):
                if self._file is not None:
                    self._file.close()
                return False
            self._recording.records = []
            # What needs the ledger is judged from here on; all that was told is told again with it.
            self._telling = tell(self._recording)
        return True

    def _read_on(self) -> None:
        assert self._follower is not None
        assert isinstance(self._recording.records, list)
        for _, record in self._follower.more():
            if concerns(record):
                self._recording.records.append(record)
                if (fact := self._facts.fact(record)) is not None:
                    self._telling.fact(fact)

    def _item(self, event: Event) -> Item | None:
        """What a checker is told of the event; None: nothing."""
        node, kind = event.get("node"), event["kind"]
        if not isinstance(node, int) or not 0 <= node < len(self._lives):
            return None
        if kind == "guestd-started":
            self._lost.discard(node)
            self._lives[node] = RecordedLife(node, self._lives[node].life + 1)
        elif kind in GAPS:
            self._lost.add(node)
        if (kind in BENCH_KINDS and kind not in ENDS) or not self._lives[node].life:
            return None
        if node in self._lost and kind not in ENDS:
            return None
        fields: dict[str, Any] = {key: value for key, value in event.items() if key not in HEAD}
        return Item(event, self._lives[node], fields)

    def _settle(self) -> None:
        """If there is a suspicion: judge all that has come."""
        if not self._telling.violated:
            return
        if self._follower is not None:
            self._read_on()  # who tells of a command tells it after the command is in the ledger
        judged = tell(self._recording)
        if judged.violated:
            self.close()
            self.violation = ClaimFailed(judged.judgement().failure())
            raise self.violation
        self._telling = judged
        self.suspicions += 1
        if self.suspicions > SUSPICIONS_MAX:
            self.close()
