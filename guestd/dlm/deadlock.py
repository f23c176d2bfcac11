"""Finds circles of requests that wait for each other across the nodes, and breaks each once (spec S7.1, A24).

Edge chasing (Chandy, Misra and Haas 1983), with ages as in Mitchell and Merritt 1984. A request that has waited for
SEARCH_MS sends a probe after those whom it waits for: to its master, which knows who is in the way; to their nodes,
which know for what these owners wait in turn; and so on. A probe follows requests that are older than the one that sent
it only, so of a circle the youngest alone finds it: its probe comes back, and it is denied. No two searches can choose
two victims in one circle, and none needs to know all of it.

An owner waits for all of its requests that wait. A lock of a dead node is nobody's who could wait.
"""

from __future__ import annotations

from guestd.dlm.messages import Reason, WhatDelays, WhoBlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.client import Client
    from guestd.dlm.mastery import Mastery
    from guestd.dlm.site import Site

# OpenVMS begins after 10 s (DEADLOCK_WAIT), Linux's dlm leaves it to its users' timeouts. A search costs a message or
# two for each request in the way, so it may begin as soon as waiting is unusual.
SEARCH_MS = 1000


class Deadlock:
    """Of one lock manager."""

    __slots__ = ("_client", "_mastery", "_search", "_seen", "_seen_ms", "_site")

    def __init__(self, site: Site, client: Client, mastery: Mastery) -> None:
        self._site = site
        self._client = client
        self._mastery = mastery
        self._search = 0
        self._seen: dict[tuple[int, int, int, int], bool] = {}  # probes that were here: node, lock, search, owner
        self._seen_ms = 0

    def tick(self) -> None:
        """Search for each request that has waited for long, and again each time it has waited as long."""
        now_ms, node = self._site.now_ms, self._site.node
        if now_ms - self._seen_ms >= SEARCH_MS:
            self._seen_ms = now_ms
            self._seen.clear()
        if self._site.stopped:
            return
        for lock in list(self._client.locks.values()):
            if lock.waits and lock.sent_to is not None and now_ms - lock.searched_ms >= SEARCH_MS:
                lock.searched_ms = now_ms
                self._search += 1
                probe = WhoBlocks(node, lock.number, lock.operation, self._search, node, lock.number)
                self._site.send(lock.sent_to, probe)

    def who_blocks(self, message: WhoBlocks) -> None:
        """At the master of a request that waits: go on to the owners of whatever is in its way."""
        entry = self._mastery.entries.get((message.waiting_node, message.waiting_lock))
        if entry is None or entry.wanted is None:
            return
        owners: dict[tuple[int, int], bool] = {}
        for other in entry.resource.blockers(entry):
            if other.orphan_of is None:
                owners[other.node, other.owner] = True
        for node, owner in owners:
            probe = WhatDelays(message.node, message.lock, message.operation, message.search, owner)
            self._site.send(node, probe)

    def what_delays(self, message: WhatDelays) -> None:
        """At the node of such an owner: go on to the masters of what it waits for; or the probe has come back."""
        key = (message.node, message.lock, message.search, message.owner)
        if key in self._seen:
            return
        self._seen[key] = True
        age = (message.operation, message.node)
        for lock in list(self._client.locks.values()):
            if lock.owner != message.owner or not lock.waits or lock.sent_to is None:
                continue
            own_age = (lock.operation, self._site.node)
            if own_age == age and lock.number == message.lock:
                self._client.cancel(lock.number, Reason.DEADLOCK)
            elif own_age < age:
                probe = WhoBlocks(
                    message.node, message.lock, message.operation, message.search, self._site.node, lock.number
                )
                self._site.send(lock.sent_to, probe)
