"""The trees that this node masters: takes the operations of all nodes on them, and answers.

What comes while the lock manager has stopped is kept and taken when it goes on. An operation on a tree that this node
does not master is answered by Retry: the directory knows better. One that comes twice, since its sender was sent on
from somebody else meanwhile, is known by its number.
"""

from __future__ import annotations

from guestd.dlm.directory import directory_node
from guestd.dlm.messages import (
    NO_MODE,
    Blocking,
    Cancel,
    Convert,
    Deny,
    Grant,
    Reason,
    Release,
    Released,
    Remove,
    Request,
    Retry,
)
from guestd.dlm.modes import WRITES
from guestd.dlm.newest import is_newer
from guestd.dlm.resource import Entry, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.messages import LastValue
    from guestd.dlm.names import Name
    from guestd.dlm.site import Site

    Operation = Request | Convert | Release | Cancel


class Mastery:
    """This node as a master."""

    __slots__ = ("_kept", "_site", "entries", "trees")

    def __init__(self, site: Site) -> None:
        self._site = site
        self.trees: dict[bytes, dict[Name, Resource]] = {}  # root -> its resources that somebody has or wants
        self.entries: dict[tuple[int, int], Entry] = {}  # (node, lock)
        self._kept: list[tuple[int, Operation]] = []  # operations that came while this node had stopped

    def begin(self, root: bytes) -> None:
        """The directory has made this node the master of that tree, which nobody had before."""
        self.trees.setdefault(root, {})

    def resource(self, name: Name) -> Resource:
        """The resource of that name in a tree that this node masters; made anew if nobody had a lock on it."""
        tree = self.trees[name[0]]
        if name not in tree:
            made = tree[name] = Resource(name)
            # Its last master may have been a node that has died, and with it who held it, and its value.
            made.withheld = list(self._site.recovering(name[0]))
            made.valid = not made.withheld
        return tree[name]

    def take(self, sender: int, operation: Operation) -> None:
        """One operation of a member."""
        self._site.clock = max(self._site.clock, operation.operation)
        if self._site.stopped:
            self._kept.append((sender, operation))
        elif sender in self._site.members:
            self._take(sender, operation)

    def keep(self, sender: int, operation: Operation) -> None:
        """An operation that its node has told of with its lock (`Held`): to be taken with the others that wait."""
        self._site.clock = max(self._site.clock, operation.operation)
        self._kept.append((sender, operation))

    def forget(self, node: int) -> None:
        """That node is a member no more; nothing of it that waits here is of any use."""
        self._kept = [(sender, operation) for sender, operation in self._kept if sender != node]

    def go_on(self) -> None:
        """The lock manager grants again: take what has come meanwhile, and look at every resource."""
        kept, self._kept = self._kept, []
        for sender, operation in kept:
            if sender in self._site.members:
                self._take(sender, operation)
        for root in list(self.trees):
            for resource in list(self.trees[root].values()):
                self.settle(resource)
            self._close(root)

    def settle(self, resource: Resource) -> None:
        """Something was given up: grant what can be granted, tell who is in the way, forget what nobody needs."""
        if resource.converting or resource.waiting:
            for entry in resource.settle():
                self._grant(entry)
            for holder, wanted in resource.notices():
                self._site.send(holder.node, Blocking(holder.lock, wanted))
        if resource.empty:
            self.trees[resource.name[0]].pop(resource.name, None)
            self._close(resource.name[0])

    def _take(self, sender: int, operation: Operation) -> None:
        entry = self.entries.get((sender, operation.lock))
        if isinstance(operation, Request):
            if entry is None:
                self._request(sender, operation)
        elif isinstance(operation, Cancel):
            if entry is not None and entry.operation == operation.operation and entry.resource.cancel(entry):
                self._deny(entry, operation.reason)
                self.settle(entry.resource)
        elif entry is None:
            self._site.send(sender, Retry(operation.lock, operation.operation))
        elif operation.operation > entry.operation and entry.wanted is None:
            entry.operation = operation.operation
            if entry.granted in WRITES:
                if operation.writes:
                    entry.resource.write(operation.value)
                elif isinstance(operation, Release) and operation.invalidates:
                    entry.resource.valid = False
            if isinstance(operation, Convert):
                self._convert(entry, operation)
            else:
                self._drop(entry)
                self._site.send(sender, Released(operation.lock, operation.operation))
            self.settle(entry.resource)

    def _request(self, sender: int, operation: Request) -> None:
        if operation.name[0] not in self.trees:
            self._site.send(sender, Retry(operation.lock, operation.operation))
            return
        resource = self.resource(operation.name)
        entry = Entry(resource, sender, operation.lock, operation.owner, recovery=operation.recovery)
        entry.operation = operation.operation
        self.entries[sender, operation.lock] = entry
        self._answer(entry, resource.request(entry, operation.mode, noqueue=operation.noqueue))
        self.settle(resource)

    def _convert(self, entry: Entry, operation: Convert) -> None:
        self._answer(entry, entry.resource.convert(entry, operation.mode, noqueue=operation.noqueue))

    def _answer(self, entry: Entry, outcome: bool | None) -> None:
        """outcome: None if it waits."""
        if outcome:
            self._grant(entry)
        elif outcome is False:
            self._deny(entry, Reason.AGAIN)

    def _grant(self, entry: Entry) -> None:
        assert entry.granted is not None, "a grant without a mode"
        found = entry.resource
        grant = Grant(entry.lock, entry.operation, entry.granted, found.valid, found.sequence, found.value)
        self._site.send(entry.node, grant)

    def _deny(self, entry: Entry, reason: Reason) -> None:
        if entry.granted is None:
            self.entries.pop((entry.node, entry.lock), None)
        granted = NO_MODE if entry.granted is None else entry.granted.value
        self._site.send(entry.node, Deny(entry.lock, entry.operation, reason, granted))

    def _drop(self, entry: Entry) -> None:
        entry.resource.release(entry)
        self.entries.pop((entry.node, entry.lock), None)

    def purge(self, node: int) -> None:
        """That node has left, and needed none of its locks any more; to be settled when the lock manager goes on."""
        for entry in [one for one in self.entries.values() if one.node == node and one.orphan_of is None]:
            self._drop(entry)

    def learn(self, last: LastValue) -> None:
        """What a user of a node that leaves has left, by an operation that this master may not have taken, or has not
        left: it held PW or EX to the end."""
        resource = self.trees.get(last.name[0], {}).get(last.name)
        if resource is not None and is_newer(last, resource):
            resource.value, resource.sequence, resource.valid = last.value, last.sequence, last.valid

    def bury(self, node: int, incarnation: int) -> None:
        """That node has died: what it waited for is forgotten, what it held is an orphan (spec S7.1)."""
        for entry in [one for one in self.entries.values() if one.node == node and one.orphan_of is None]:
            del self.entries[entry.node, entry.lock]
            entry.resource.orphan(entry, (node, incarnation))

    def _close(self, root: bytes) -> None:
        """Nobody has a lock in that tree: it has no master any more."""
        if root in self.trees and not self.trees[root]:
            del self.trees[root]
            self._site.send(directory_node(root, self._site.members), Remove((root,)))
