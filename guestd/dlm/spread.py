"""What a change of the members does to the lock manager: stop, re-spread the directory, master anew what lost its
master.

One way for all changes (spec S7.1). Join: the directory is spread over one more. Leave: who leaves sends its value
blocks, and whoever has locks in its trees brings them to their new master. Forced leave: the same, without anything
from the dead node, whose own locks at living masters become orphans (`recovery.py`).

At the first barrier a node stops: it sends no operation, grants nothing, answers no question to the directory. When all
have, each tells every member its part (`part.py`): the trees that it masters, to their new directory nodes; and its
locks in trees whose master is gone, to the directory nodes of these trees, which become their masters. When a node has
the parts of all, made for the same members, it acknowledges the second barrier, and goes on if no other change is open.

Changes overlap, and a node may miss one that another one has begun with. So a part counts only if it was made for the
very members that the receiver knows, by a sender that had been told of all changes that the receiver works on. Whoever
begins anew sends its part anew; who had already ended the former round is safe, because:

* a tree that some node masters is in that node's part, and wins over locks that are brought to a new master for it;
* a node whose lock was brought somewhere, by a round that it cannot know to have ended for others, brings it again in
  the next one, until its master has spoken (`Client.unconfirmed`);
* what a master has told of its value blocks when it left is kept (`_last_values`) until whoever follows it has taken
  over: that one may leave in turn before it has heard of them. A master that serves tells its own when it leaves, so
  the last that was told of a resource is true; but not after a death, which may be a master's or a writer's.

A question to the directory that was sent before the sender's part is void on both sides, and asked again.
"""

from __future__ import annotations

from guestd.core.value import replace
from guestd.dlm.change import SPREAD, STOP, Change
from guestd.dlm.directory import directory_node
from guestd.dlm.lock_messages import held
from guestd.dlm.messages import Held, LastValue, Mastered, SpreadBegin, SpreadEnd
from guestd.dlm.modes import WRITES
from guestd.dlm.newest import is_newer
from guestd.dlm.part import Part, begin_of
from guestd.dlm.remaster import Remaster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.client import Client
    from guestd.dlm.directory import Directory
    from guestd.dlm.mastery import Mastery
    from guestd.dlm.messages import Message
    from guestd.dlm.names import Name
    from guestd.dlm.part import Item
    from guestd.dlm.site import Site
    from guestd.interconnect.channels import Channels

    Step = tuple[Change, int]  # and its barrier

_WRITES = [mode.value for mode in WRITES]


class Spread:
    """The changes of one node's lock manager."""

    __slots__ = (
        "_channels",
        "_client",
        "_directory",
        "_last_values",
        "_mastery",
        "_parts",
        "_site",
        "_started",
        "open",
    )

    def __init__(self, site: Site, client: Client, mastery: Mastery, directory: Directory, channels: Channels) -> None:
        self._site = site
        self._client = client
        self._mastery = mastery
        self._directory = directory
        self._channels = channels
        self.open: dict[int, Step] = {}  # by node: told and not done with
        self._started: dict[int, Change] = {}  # by node: the last change that this node was told to re-spread for
        self._parts: dict[int, Part] = {}  # the newest of each node
        self._last_values: dict[Name, LastValue] = {}  # of masters that have left, whose trees may have no master yet

    def found(self, lives: dict[int, int]) -> None:
        """The members as this node finds them when its own join comes to the lock manager."""
        self._site.members = dict(lives)
        for node in sorted(lives):
            self._channels.open(node, lives[node])

    def told(self, steps: list[Step]) -> list[Step]:
        """Changes have come to a barrier; returns those that are acknowledged at once."""
        done = []
        for change, barrier in steps:
            if barrier == STOP:
                self._stop(change)
                done.append((change, barrier))
            else:
                self._apply(change)
        self._site.stopped = True
        if any(barrier == SPREAD for _, barrier in steps):
            done += self._begin()
        return done

    def passed(self, change: Change) -> None:
        """The members need no part of this node for that change any more, whether they had it or not."""
        if change.node in self.open and self.open[change.node][0] == change:
            del self.open[change.node]
            self._site.stopped = bool(self.open)

    def no_leave_spreads(self) -> None:
        """No leave stands at the second barrier of this level: all that were to take trees over have done so."""
        if not self.open:
            self._last_values.clear()

    def ends(self) -> list[Step]:
        """The changes that this node is done with now: all parts are there."""
        spreading = [change for change, barrier in self.open.values() if barrier == SPREAD]
        node = self._site.node
        if not spreading or node not in self._site.members:
            return []
        leaving = [change.node for change in spreading if change.kind == "leave"]
        if not all(self.is_current(peer) for peer in (*self._site.members, *leaving)):
            return []
        self._finish(leaving)
        for change in spreading:
            del self.open[change.node]
            if change.kind == "leave":
                self._channels.close(change.node)
        if not self.open:
            self._parts.clear()  # nobody can be ahead: this node would have been told to stop
        self._site.stopped = bool(self.open)
        return [(change, SPREAD) for change in spreading]

    def hear(self, sender: int, message: Message) -> None:
        """One message of a part."""
        if isinstance(message, SpreadBegin):
            self._parts[sender] = Part(message)
        elif sender in self._parts:
            if isinstance(message, SpreadEnd):
                self._parts[sender].complete = True
            elif isinstance(message, (Mastered, Held, LastValue)):
                self._parts[sender].add(message)

    def is_current(self, peer: int) -> bool:
        """Whether that node's part is here, made for what this node works on. Always, if it works on nothing."""
        spreading = [change for change, barrier in self.open.values() if barrier == SPREAD]
        if not spreading:
            return True
        part = self._parts.get(peer)
        if part is None or not part.complete:
            return False
        if peer not in self._site.members:  # leaves: its part does not depend on who stays
            return all(part.covers(change) for change in spreading if change.node == peer)
        own = begin_of(self._site.members, ())
        same = (part.begin.mask, part.begin.digest) == (own.mask, own.digest)
        return same and all(part.covers(change) for change in spreading)

    # -- the first barrier

    def _stop(self, change: Change) -> None:
        self.open[change.node] = change, STOP
        if change.kind == "join":
            self._channels.open(change.node, change.incarnation)
        elif change.kind == "forced-leave":
            self._lose(change)

    def _lose(self, change: Change) -> None:
        """Nothing of a dead node counts any more, whatever is under way."""
        self._channels.close(change.node)
        self._parts.pop(change.node, None)
        self._mastery.forget(change.node)
        self._mastery.bury(change.node, change.incarnation)
        self._last_values.clear()

    # -- the second barrier

    def _apply(self, change: Change) -> None:
        self.open[change.node] = change, SPREAD
        self._started[change.node] = change
        if change.kind == "join":
            self._channels.open(change.node, change.incarnation)
            self._site.members[change.node] = change.incarnation
            return
        self._site.members.pop(change.node, None)
        if change.kind == "forced-leave":
            self._lose(change)
        else:
            self._mastery.forget(change.node)
            self._mastery.purge(change.node)

    def _begin(self) -> list[Step]:
        """Tell the others this node's part; who is not among them (yet, or any more) has nothing to wait for."""
        site = self._site
        self._client.void_questions()
        done = []
        own = self.open.get(site.node)
        if own is not None and own[1] == SPREAD and own[0].kind == "leave":
            self._say_last()
        if site.node not in site.members:
            done = [(change, barrier) for change, barrier in self.open.values() if barrier == SPREAD]
            for change, _ in done:
                del self.open[change.node]
            return done
        begin = begin_of(site.members, [self._started[node] for node in sorted(self._started)])
        items: dict[int, list[Item]] = {node: [] for node in sorted(site.members)}
        for root in self._mastery.trees:
            items[directory_node(root, site.members)].append(Mastered((root,)))
        self._client.lose_sent(site.members)
        for root in self._client.by_root:
            self._bring(root, items)
        for node, said in items.items():
            for message in (begin, *said, SpreadEnd()):
                site.send(node, message)
        return done

    def _bring(self, root: bytes, items: dict[int, list[Item]]) -> None:
        """The locks in that tree go to its new master, if its old one is gone or has not spoken yet.

        So do those whose master is not known at the moment (the directory has been asked), for it may be gone.
        """
        client, site = self._client, self._site
        master = client.masters.get(root)
        if master is None and all(lock.mode is None for lock in client.by_root[root].values()):
            return  # no master has anything of it
        if master in site.members and root not in client.unconfirmed:
            client.send_again(root, master)
            return
        to = directory_node(root, site.members)
        client.masters[root] = to
        client.unconfirmed[root] = True
        for lock in client.by_root[root].values():
            items[to].append(held(lock))
            if lock.pending:
                lock.sent_to = to

    def _say_last(self) -> None:
        """This node leaves: the value blocks that it knows best go to all, of whom some master these trees.

        Also to those whose join is at its first barrier. They may hear of its second one and of this leave at once, and
        wait for this node's part, which is told nothing any more (spec S4.9). None is forgotten: before a join has
        passed its first barrier this node must have heard of it, or have acknowledged its own leave.
        """
        site, mastery = self._site, self._mastery
        begin = begin_of(site.members, [self._started[node] for node in sorted(self._started)])
        resources = [resource for tree in mastery.trees.values() for resource in tree.values()]
        values = [LastValue(one.valid, one.sequence, one.value, one.name) for one in resources]
        values += self._left_by_users()
        joining = [change.node for change, barrier in self.open.values() if (change.kind, barrier) == ("join", STOP)]
        for node in sorted({*site.members, *joining}):
            for message in (begin, *values, SpreadEnd()):
                site.send(node, message)
        self._client.drop_all()
        mastery.trees.clear()
        mastery.entries.clear()

    def _left_by_users(self) -> list[LastValue]:
        """What masters may not know of the value blocks: what users have left by operations that nobody has answered,
        and that those who hold PW or EX to the end, as programs may, leave none."""
        values = []
        for lock in self._client.locks.values():
            told = held(lock)
            writes_to_the_end = told.granted in _WRITES
            if writes_to_the_end or (lock.pending and (lock.writes or lock.invalidates)):
                valid = told.valid and not writes_to_the_end
                values.append(LastValue(valid, told.sequence, told.value, told.name))
        return values

    def _finish(self, leaving: list[int]) -> None:
        """All parts are there: this node's part of the directory, and the trees that it masters from now on."""
        known: dict[bytes, int] = {}
        for node in sorted(self._site.members):
            for root in self._parts[node].mastered:
                known[root] = node
        self._remember(leaving)
        remaster = Remaster(self._site, self._mastery, self._last_values)
        for node in sorted(self._site.members):
            for lock in self._parts[node].held:
                if lock.name[0] in known:
                    remaster.send_on(node, lock)
                else:
                    remaster.take(node, lock)
        for root in remaster.settle():
            known[root] = self._site.node
        for node in leaving:
            for value in self._parts[node].last_values:
                self._mastery.learn(value)
        self._directory.masters = known

    def _remember(self, leaving: list[int]) -> None:
        """What those who leave have said of their value blocks; as not valid if one had not heard of each death."""
        deaths = [change for change, _ in self.open.values() if change.kind == "forced-leave"]
        told: dict[Name, LastValue] = {}
        for node in leaving:
            part = self._parts[node]
            unaware = not all(part.covers(death) for death in deaths)  # who died may have been about to write
            for value in part.last_values:
                known = replace(value, valid=False) if unaware else value
                if value.name not in told or is_newer(known, told[value.name]):
                    told[value.name] = known
        self._last_values.update(told)
