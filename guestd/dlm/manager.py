"""The distributed lock manager of one node (spec S7.1): one way in for its users, its peers, the membership and time.

    manager = LockManager(cluster_id, node, incarnation)
    lock = manager.lock(owner, (b"volume", b"file"), Mode.EX)
    manager.tick(now_ms); manager.heard(payload, now_ms)      # as they come
    manager.told([(Change(…), STOP)]); manager.recovering([…])  # from the membership
    for node, payload in manager.datagrams(): …                # after each of these
    for notice in manager.take_notices(): …                   # Granted, Denied, Blocks, Gone
    for step in manager.take_acknowledged(): …                # changes that this node is done with

Pure: no clock, no randomness, no I/O. The same calls give the same bytes.
"""

from __future__ import annotations

from guestd.dlm import messages
from guestd.dlm.client import Client, LockError
from guestd.dlm.deadlock import Deadlock
from guestd.dlm.directory import Directory
from guestd.dlm.mastery import Mastery
from guestd.dlm.messages import BadMessage, Message, Reason
from guestd.dlm.recovery import Recovery
from guestd.dlm.site import Site
from guestd.dlm.spread import Spread
from guestd.interconnect.channels import Channels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.change import Change
    from guestd.dlm.modes import Mode
    from guestd.dlm.names import Name
    from guestd.dlm.notices import Notice
    from guestd.dlm.recovery import Life
    from guestd.dlm.spread import Step

__all__ = ["LockError", "LockManager"]

_OPERATIONS = dict.fromkeys((messages.Request, messages.Convert, messages.Release, messages.Cancel))
_QUESTIONS = dict.fromkeys((messages.Lookup, messages.Remove))
_OF_A_PART = dict.fromkeys(
    (messages.SpreadBegin, messages.Mastered, messages.Held, messages.LastValue, messages.SpreadEnd)
)


class LockManager:
    """One life of one node."""

    def __init__(self, cluster_id: bytes, node: int, incarnation: int) -> None:
        self._site = Site(node)
        self.channels = Channels(cluster_id, node, incarnation)
        self.mastery = Mastery(self._site)
        self.client = Client(self._site, self.mastery)
        self.directory = Directory(self._site)
        self.spread = Spread(self._site, self.client, self.mastery, self.directory, self.channels)
        self._recovery = Recovery(self._site, self.mastery)
        self._deadlock = Deadlock(self._site, self.client, self.mastery)
        self._questions: list[tuple[int, Message]] = []  # to the directory, while this node has stopped
        self._acknowledged: list[Step] = []
        self.bad_count = 0
        self.touched = False  # something has come in since its user set this back

    @property
    def stopped(self) -> bool:
        """Whether a change of the members is under way: operations wait for its end."""
        return self._site.stopped

    @property
    def members(self) -> dict[int, int]:
        """Those over whom the directory is spread, with their incarnations."""
        return dict(self._site.members)

    # -- users

    def lock(
        self,
        owner: int,
        name: Name,
        mode: Mode,
        *,
        parent: int | None = None,
        noqueue: bool = False,
        recovery: bool = False,
    ) -> int:
        """Ask for a new lock; its number, and later Granted or Denied. Never granted before this has returned.

        owner: whoever waits when one of its requests waits, for the search for deadlocks; any number of 64 bits.
        parent: a granted lock of this node on the resource above. noqueue: at once or not at all. recovery: serves the
        recovery after a dead node, and passes what is held back for it. Raises LockError, or ValueError for a bad name.
        """
        self.touched = True
        return self.client.request(owner, name, mode, parent, noqueue=noqueue, recovery=recovery)

    def convert(self, lock: int, mode: Mode, *, noqueue: bool = False, value: bytes | None = None) -> None:
        """Ask for another mode; Granted or Denied follows, and until then its holder may rely on `modes.common` of
        both.

        value: 64 bytes for the value block, when a lock in PW or EX goes down or stays. Raises LockError.
        """
        self.touched = True
        self.client.convert(lock, mode, noqueue=noqueue, value=value)

    def unlock(self, lock: int, *, value: bytes | None = None, invalidate: bool = False) -> None:
        """Give a granted lock up; Gone follows. value: as with `convert`. Raises LockError.

        invalidate: its holder has ended. Held in PW or EX, the value block is not valid then (as $DEQ of OpenVMS with
        LCK$M_INVVALBLK).
        """
        self.touched = True
        self.client.release(lock, value=value, invalidate=invalidate)

    def cancel(self, lock: int) -> None:
        """Give up what a lock waits for: Denied follows, or Granted if that was under way. Raises LockError."""
        self.touched = True
        self.client.cancel(lock, Reason.CANCELLED)

    def take_notices(self) -> list[Notice]:
        """What there is to tell the users since the last call."""
        site = self._site
        if site.outbox or self.spread.open:
            self._drain()
        taken, site.notices = site.notices, []
        return taken

    # -- the membership

    def found(self, lives: dict[int, int]) -> None:
        """The members of this level, with their incarnations, when this node's own join comes to it."""
        self.spread.found(lives)

    def recovering(self, lives: list[Life], below: list[Life] | None = None) -> None:
        """The dead lives after which not all levels on all nodes have recovered yet; before `told` of the same view.

        below: those of them after which guestd's own levels have not; None: all of them.
        """
        self.touched = True
        self._recovery.under_way(lives, lives if below is None else below)
        self._drain()

    def told(self, steps: list[Step]) -> None:
        """Changes of the members have come to a barrier; `take_acknowledged` says when this node is done with it."""
        self.touched = True
        self._acknowledged += self.spread.told(steps)
        if not self.spread.is_current(self._site.node):
            self._questions = []  # void: they were sent before their senders' parts
        self._drain()

    def passed(self, change: Change) -> None:
        """A change that this node was told of has gone on without it (`level.py`)."""
        self.touched = True
        stopped = self._site.stopped
        self.spread.passed(change)
        if stopped and not self._site.stopped:
            self._go_on()
        self._drain()

    def no_leave_spreads(self) -> None:
        """The membership says that no leave stands at the second barrier; before `told` of the same view."""
        self.spread.no_leave_spreads()

    def take_acknowledged(self) -> list[Step]:
        """Barriers of changes that this node is done with, since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    # -- peers, and time

    def heard(self, payload: bytes, now_ms: int) -> None:
        """A datagram of the channels has come in."""
        self.touched = True
        self._site.now_ms = now_ms
        sender, received = self.channels.heard(payload)
        for data in received:
            try:
                message = messages.decode(data)
            except BadMessage:
                self.bad_count += 1
                continue
            self._take(sender, message)
            self._drain()

    def tick(self, now_ms: int) -> None:
        """A heartbeat period has passed."""
        self._site.now_ms = now_ms
        again = self.channels.tick()
        self.client.tick()
        self._deadlock.tick()
        if again or self._site.outbox or self._site.notices or self.spread.open:
            self.touched = True
            self._drain()

    def datagrams(self) -> list[tuple[int, bytes]]:
        """What is to be sent, and to which node. To be called after every other call."""
        self._drain()
        return self.channels.flush()

    # -- inner workings

    def _drain(self) -> None:
        """What goes to this node itself is taken at once; the rest goes into the channels."""
        site = self._site
        while True:
            while site.outbox:
                batch, site.outbox = site.outbox, []
                for node, message in batch:
                    if node == site.node:
                        self._take(node, message)
                    else:
                        self.channels.send(node, messages.encode(message))
            if not self.spread.open:  # by far the most times
                return
            done = self.spread.ends()
            if not done:
                return
            self._acknowledged += done
            if not site.stopped:
                self._go_on()

    def _go_on(self) -> None:
        """All that has waited for the end of the changes."""
        questions, self._questions = self._questions, []
        for sender, message in questions:
            self._ask(sender, message)
        self.mastery.go_on()
        self.client.go_on()

    def _take(self, sender: int, message: Message) -> None:
        kind = type(message)
        if kind in _OPERATIONS:
            self.mastery.take(sender, message)  # type: ignore[arg-type]
        elif kind is messages.Grant:  # the most frequent answer
            self.client.granted(sender, message)  # type: ignore[arg-type]
        elif kind in _QUESTIONS:
            if not self.spread.is_current(sender):
                return
            if self._site.stopped:
                self._questions.append((sender, message))
            else:
                self._ask(sender, message)
        elif kind in _OF_A_PART:
            self.spread.hear(sender, message)
        elif isinstance(message, messages.WhoBlocks):
            self._deadlock.who_blocks(message)
        elif isinstance(message, messages.WhatDelays):
            self._deadlock.what_delays(message)
        else:
            self._answered(sender, message)

    def _ask(self, sender: int, message: Message) -> None:
        if sender not in self._site.members:
            return
        if isinstance(message, messages.Lookup):
            self.directory.look_up(sender, message)
        elif isinstance(message, messages.Remove):
            self.directory.remove(sender, message)

    def _answered(self, sender: int, message: Message) -> None:
        client = self.client
        if isinstance(message, messages.Master):
            client.master_is(message)
        elif isinstance(message, messages.Deny):
            client.denied(sender, message)
        elif isinstance(message, messages.Released):
            client.released(sender, message)
        elif isinstance(message, messages.Blocking):
            client.blocks(sender, message)
        elif isinstance(message, messages.Retry):
            client.retry(sender, message)
