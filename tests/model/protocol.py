"""The election as a model: lives of nodes on the shared disk, around a contest (`paxos_model.py`, `dekker_model.py`).

A step is one command of one node at the disk together with what the node does upon its answer, or a write that lands.
What is not modelled as a step of its own, and why nothing is lost by it:

* Freezing. No node ever has to take a step, so each may stop anywhere for ever.
* A crash is one step with the restart. A node that has crashed and not restarted does what a frozen one does: nothing.
* The pause between an answer and the next write. Whether the disk accepts a write depends on the writer's registration
  alone. If that goes in the pause the write is refused; in the model it is aborted in the queue. Neither lands.
* Losing one's key. The node is taken for panicked at once: nothing that it still could do would be accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from tests.model.checker import Step
from tests.model.disk import (
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER_AND_IGNORE,
    RESERVE,
    Disk,
    Nexus,
    Registrations,
    Write,
    key_of,
    may_write,
    put,
    serve,
)
from tests.model.rules import Bounds, Rules

Life = tuple[int, int]  # a node, and which life of it

MUTUAL_EXCLUSION = "mutual exclusion (S3.2)"
AGREEMENT = "agreement (S3.2)"
FENCE = "fence (S6.2)"
PROMISE = "no lost promise (S6.3)"
NO_LOST_VIEW = "no lost view (S3.3)"
CLAIMS = frozenset({MUTUAL_EXCLUSION, AGREEMENT, FENCE, PROMISE, NO_LOST_VIEW})


class Commit(NamedTuple):
    """A commit record: `members` is the life of every node that is a member, 0 for others; `base` the epoch before."""

    epoch: int
    owner: int
    life: int
    members: tuple[int, ...]
    base: int


class Node(NamedTuple):
    """One node. `at` is what it does next, or waits for."""

    at: str
    life: int
    view: Commit
    blocks: tuple[Any, ...]  # contest records by node, as last seen; the own one as last written
    bid: Any = None
    burned: int = 0  # the epoch that was decided for somebody else
    region: int = 0  # the next one to read
    victims: tuple[Life, ...] = ()  # still to be fenced
    forced: tuple[Life, ...] = ()  # all that this epoch forces out
    passed: tuple[Life, ...] = ()  # fenced during the contest (mode dekker)


class State(NamedTuple):
    """Everything, and what the claims need to remember: commits that landed and values that were decided, by epoch, and
    lives that were fenced."""

    disk: Disk
    nodes: tuple[Node, ...]
    restarts: int
    lost: int
    committed: tuple[Commit | None, ...]
    fenced: tuple[Life, ...] = ()
    decided: tuple[Life | None, ...] = ()  # for whom a bid ended, by epoch


class Protocol:
    """What both modes share. The subclass is the contest."""

    def __init__(self, rules: Rules, bounds: Bounds, claims: frozenset[str] = CLAIMS) -> None:
        self.rules = rules
        self.bounds = bounds
        self.claims = claims
        nobody: tuple[None, ...] = (None,) * bounds.nodes
        self._nobody = nobody
        self._first_view = Commit(0, 0, 1, (1,) * bounds.nodes, 0)

    # ---- the contest ----------------------------------------------------------------------------------------------

    def enter(self, n: int, node: Node) -> Node | None:
        """The node begins to contend: the node with `at` = "issue", or None if it cannot or the bounds forbid it."""
        raise NotImplementedError

    def written(self, n: int, node: Node) -> Node:
        """The contest record has landed: what comes next; `at` is "reading", "up" or "taken"."""
        raise NotImplementedError

    def have_read(self, n: int, node: Node) -> Node:
        """All regions were read for the contest: `at` is "issue", "won", "wait" or "up"."""
        raise NotImplementedError

    def decided(self, n: int, node: Node) -> Life | None:
        """For whom the epoch is decided by what this node has read now."""
        return None

    def waiting(self, state: State, n: int, node: Node) -> Iterator[tuple[str, Node]]:
        """What a node may do that waits in the contest."""
        return iter(())

    def told(self, node: Node) -> str:
        """The record that is about to be written, in words."""
        raise NotImplementedError

    def breaks_promise(self, old: Any, new: Any) -> bool:
        """Whether that record must never follow that one."""
        return False

    def to_force_out(self, n: int, node: Node) -> tuple[Life, ...]:
        """Lives that the winner must force out, whomever else it suspects."""
        return node.passed

    # ---- the checker's side ---------------------------------------------------------------------------------------

    def initial(self) -> State:
        """All nodes are members, registered, and have seen the newest view, of epoch 0."""
        nodes = self.bounds.nodes
        keys = tuple((self.nexus(n, 1), key_of(n, 1)) for n in range(nodes))
        registrations = Registrations(keys)
        if self.rules.reservation:
            served = serve(registrations, RESERVE, keys[0][0], keys[0][1], kind=self.rules.reservation)
            assert served is not None
            registrations = served[0]
        disk = Disk(registrations, self._nobody, self._nobody)
        node = Node("up", 1, self._first_view, self._nobody)
        bounds = self.bounds
        return State(
            disk, (node,) * nodes, bounds.restarts, bounds.lost, (None,) * bounds.epochs, (), (None,) * bounds.epochs
        )

    def steps(self, state: State) -> Iterator[Step[State]]:
        """All that may happen next."""
        for write in state.disk.queue:
            yield self._land(state, write)
        for n, node in enumerate(state.nodes):
            if state.restarts and (node.at != self.rules.boot[0] or node.life == 1):
                again = self._blank(self.rules.boot[0], node.life + 1)
                yield self._then(f"n{n} crashes and boots: life {again.life}", state, n, again, restarts=-1)
            yield from self._steps_of(state, n, node)

    def nexus(self, n: int, life: int) -> Nexus:
        """As what the disk knows that life."""
        return n, life if self.rules.nexus_per_life else 0

    # ---- one node's steps -----------------------------------------------------------------------------------------

    def _steps_of(self, state: State, n: int, node: Node) -> Iterator[Step[State]]:
        match node.at:
            case "up":
                yield from self._idle(state, n, node)
            case "reading":
                yield from self._read(state, n, node)
            case "fence":
                yield from self._fence(state, n, node)
            case "verify":
                yield from self._verify(state, n, node)
            case "reread":
                seen = self._see_all(n, node, state.disk)
                what = f"n{n} reads all regions once more{self._news(node, seen)}"
                if seen.at == "reread":
                    yield self._commit(state, n, seen, f"{what},")
                else:
                    yield self._then(what, state, n, seen)
            case "taken":
                yield from self._won(state, n, node, f"n{n} does not read again: owns")
            case "wait":
                for what, after in self.waiting(state, n, node):
                    yield self._then(f"n{n} {what}", state, n, after)
            case "abort" | "register" | "read":
                yield self._boot(state, n, node)

    def _idle(self, state: State, n: int, node: Node) -> Iterator[Step[State]]:
        seen = self._see_all(n, node, state.disk)
        if seen != node:
            yield self._then(f"n{n} reads all regions{self._news(node, seen)}", state, n, seen)
        if not self.rules.contest:
            if node.view.epoch < self.bounds.epochs:
                yield from self._won(state, n, node._replace(bid=(node.view.epoch + 1,)), f"n{n} takes")
            return
        entered = self.enter(n, node)
        if entered is not None:
            yield self._issue_contest(state, n, entered, f"n{n} bids for epoch {self._epoch(entered)}:")

    def _read(self, state: State, n: int, node: Node) -> Iterator[Step[State]]:
        """The next region, or all at once. One's own is known from memory: nobody else writes it."""
        if self.bounds.by_region:
            seen = self._see(n, node, state.disk, node.region)
            following = node.region + 1 + (node.region + 1 == n)
            what = f"n{n} reads the region of n{node.region}"
        else:
            seen, following, what = self._see_all(n, node, state.disk), self.bounds.nodes, f"n{n} reads all regions"
        if following >= self.bounds.nodes:
            seen = self._see(n, seen, state.disk, n)
        if seen.at != "reading":
            yield self._then(f"{what}{self._news(node, seen)}", state, n, seen)
        elif following < self.bounds.nodes:
            yield self._then(what, state, n, seen._replace(region=following))
        else:
            yield from self._have_read(state, n, seen._replace(region=0), what)

    def _have_read(self, state: State, n: int, node: Node, what: str) -> Iterator[Step[State]]:
        after, life, broken = self.have_read(n, node), self.decided(n, node), None
        if life is not None:
            epoch = self._epoch(node)
            other = state.decided[epoch - 1]
            if AGREEMENT in self.claims and other not in (None, life):
                broken = f"{AGREEMENT}: epoch {epoch} is decided for {_life(other)} and for {_life(life)}"
            what = f"{what}: decided for {_life(life)}"
            state = state._replace(decided=put(state.decided, epoch - 1, life))
        if after.at == "issue":
            yield self._issue_contest(state, n, after, f"{what},")
        elif after.at == "won":
            for step in self._won(state, n, after, f"{what}, owns"):
                yield step._replace(broken=broken)
        else:
            lost = ", gives way" if after.at == "up" else ", waits"
            yield self._then(f"{what}{lost}", state, n, after)._replace(broken=broken)

    def begin_reading(self, n: int, node: Node) -> Node:
        """The first region of a read."""
        return node._replace(at="reading", region=int(n == 0) if self.bounds.by_region else 0)

    def _issue_contest(self, state: State, n: int, node: Node, what: str) -> Step[State]:
        told = self.told(node)
        return self._issue(state, n, node, Write(n, node.life, "contest", node.blocks[n]), f"{what} issues {told}")

    def _won(self, state: State, n: int, node: Node, what: str) -> Iterator[Step[State]]:
        """The epoch is this node's: it may suspect whomever it likes."""
        epoch = self._epoch(node)
        must = self.to_force_out(n, node) if self.rules.force_owner else node.passed
        others = [(m, life) for m, life in enumerate(node.view.members) if m != n and life and (m, life) not in must]
        for count in range(len(others) + 1):
            for more in combinations(others, count):
                forced = tuple(sorted((*must, *more)))
                fenced = node.passed if self.rules.fence_first else ()
                to_fence = tuple(life for life in forced if life not in fenced)
                chosen = node._replace(forced=forced, victims=to_fence)
                told = f"{what} epoch {epoch}, forces out {_lives(forced)}"
                if self.rules.fence_first and to_fence and self.rules.fence != "none":
                    yield self._then(told, state, n, chosen._replace(at="fence"))
                else:
                    yield self._commit(state, n, chosen, f"{told},")

    def _commit(self, state: State, n: int, node: Node, what: str) -> Step[State]:
        members = list(put(node.view.members, n, node.life))
        for m, life in node.forced:
            if members[m] == life:
                members[m] = 0
        commit = Commit(self._epoch(node), n, node.life, tuple(members), node.view.epoch)
        write = Write(n, node.life, "commit", commit)
        return self._issue(state, n, node, write, f"{what} issues its commit of epoch {commit.epoch}")

    def _issue(self, state: State, n: int, node: Node, write: Write, what: str) -> Step[State]:
        if not may_write(state.disk.registrations, self.nexus(n, node.life)):
            return self._then(f"{what}: refused, panics", state, n, self._blank("dead", node.life))
        return self._then(what, state, n, node._replace(at="writing"), state.disk.accept(write))

    def _fence(self, state: State, n: int, node: Node) -> Iterator[Step[State]]:
        victim, life = node.victims[0]
        action = PREEMPT_AND_ABORT if self.rules.fence == "PREEMPT AND ABORT" else PREEMPT
        registrations = state.disk.registrations
        own, key = key_of(n, node.life), key_of(victim, life)
        if self.rules.fence_all:
            key = next(iter(registrations.keys_of(victim)), key)
        what = f"n{n} sends {self.rules.fence} for life {key & 0xFF} of n{victim}"
        after, fenced = self._fence_answered(node)
        served = serve(registrations, action, self.nexus(n, node.life), own, key)
        told = "" if served else ": RESERVATION CONFLICT"
        yield self._fence_ended(self._served(state, served), n, after, fenced, f"{what}{told}")
        if state.lost:
            yield self._fence_ended(state._replace(lost=state.lost - 1), n, after, fenced, f"{what}: lost on its way")

    def _fence_answered(self, node: Node) -> tuple[Node, Life | None]:
        if self.rules.verified:
            return node._replace(at="verify"), None
        return node._replace(victims=node.victims[1:]), node.victims[0]

    def _verify(self, state: State, n: int, node: Node) -> Iterator[Step[State]]:
        victim, life = node.victims[0]
        registrations = state.disk.registrations
        there = registrations.registered(key_of(victim, life))
        if self.rules.fence_all:
            there = bool(registrations.keys_of(victim))
        if there:
            yield self._then(f"n{n} still finds the key of n{victim} by READ KEYS", state, n, node._replace(at="fence"))
            return
        after = node._replace(victims=node.victims[1:])
        told = f"n{n} verifies by READ KEYS that the key of life {life} of n{victim} is gone"
        yield self._fence_ended(self._with_fenced(state, (victim, life)), n, after, (victim, life), told)

    def _fence_ended(self, state: State, n: int, node: Node, fenced: Life | None, what: str) -> Step[State]:
        """One victim less, perhaps the last."""
        if fenced is None or node.victims:
            return self._then(what, state, n, node if fenced is None else node._replace(at="fence"))
        if self._in_contest(node):
            return self._then(what, state, n, self.begin_reading(n, node._replace(passed=(*node.passed, fenced))))
        if not self.rules.fence_first:
            return self._then(what, state, n, self._rest(node))
        if self.rules.reread and self._epoch(node) > node.view.epoch + 1:
            # The owner of an epoch between may have committed before it was fenced: that view is to be gone on from.
            return self._then(what, state, n, node._replace(at="reread"))
        return self._commit(state, n, node, f"{what},")

    def _in_contest(self, node: Node) -> bool:
        """Whether the fence was for the contest itself, before anything was won."""
        return not node.forced

    # ---- a new life -----------------------------------------------------------------------------------------------

    def _boot(self, state: State, n: int, node: Node) -> Step[State]:
        registrations = state.disk.registrations
        nexus, own = self.nexus(n, node.life), key_of(n, node.life)
        order = self.rules.boot
        following = (*order, "up")[order.index(node.at) + 1]
        if node.at == "register":
            served = serve(registrations, REGISTER_AND_IGNORE, nexus, 0, own)
            told = f"n{n} registers the key of life {node.life}"
            return self._then(told, self._served(state, served), n, node._replace(at=following))
        if node.at == "abort":
            before = registrations.key(nexus)
            left = [key for key in registrations.keys_of(n) if key != own]
            key = left[0] if self.rules.nexus_per_life and left else before
            told = f"n{n} aborts what its earlier life left in the queue"
            if not before:
                return self._then(f"{told}: no key, nothing there", state, n, node._replace(at=following))
            served = serve(registrations, PREEMPT_AND_ABORT, nexus, before, key)
            again = "abort" if len(left) > 1 and self.rules.nexus_per_life else following
            return self._then(told, self._served(state, served), n, node._replace(at=again))
        disk = state.disk
        broken = None
        if self.rules.records in ("erased", "repaired"):
            if PROMISE in self.claims and self.breaks_promise(disk.contests[n], None):
                broken = f"{PROMISE}: n{n} erased its record"
            disk = disk._replace(contests=put(disk.contests, n, None))
        seen = self._see_all(n, node, disk)
        own_record = None if self.rules.records == "forgotten" else disk.contests[n]
        seen = seen._replace(at=following, blocks=put(seen.blocks, n, own_record))
        if self.rules.records == "repaired":  # `Election.burn_next`: it was damaged, and nobody knows what it said
            latest = max((block.epoch for block in seen.blocks if block is not None), default=0)
            seen = seen._replace(burned=max(seen.view.epoch + 1, latest))
        news = {"erased": ", erases its own", "repaired": ", finds its own damaged and begins it anew"}
        what = f"n{n} reads its own records and all others'{news.get(self.rules.records, '')}"
        return self._then(what, state, n, seen, disk)._replace(broken=broken)

    # ---- what a node takes in -------------------------------------------------------------------------------------

    def _see_all(self, n: int, node: Node, disk: Disk) -> Node:
        for region in range(self.bounds.nodes):
            node = self._see(n, node, disk, region)
        return node

    def _see(self, n: int, node: Node, disk: Disk, region: int) -> Node:
        """One region: the contest record and the commit record. One's own contest record is known from memory."""
        if region != n and node.blocks[region] != disk.contests[region]:
            node = node._replace(blocks=put(node.blocks, region, disk.contests[region]))
        commit = disk.commits[region]
        return node if commit is None else self._adopt(n, node, commit)

    def _adopt(self, n: int, node: Node, commit: Commit) -> Node:
        """The newest view counts. Who finds itself forced out panics; who bid for that epoch gives way."""
        if node.at == "dead" or commit.epoch <= node.view.epoch:
            return node
        if node.view.members[n] == node.life != commit.members[n]:
            return self._blank("dead", node.life)
        if node.bid is not None and commit.epoch >= self._epoch(node):
            node = self._rest(node)
        return node._replace(view=commit)

    def _epoch(self, node: Node) -> int:
        return int(node.bid[0])

    def _rest(self, node: Node) -> Node:
        """Nothing under way."""
        return node._replace(at="up", bid=None, region=0, victims=(), forced=(), passed=())

    def _news(self, before: Node, after: Node) -> str:
        if after.at == "dead":
            return ": finds itself forced out, panics"
        return f": epoch {after.view.epoch}" if after.view is not before.view else ""

    def _blank(self, at: str, life: int) -> Node:
        return Node(at, life, self._first_view, self._nobody)

    # ---- what happens at the disk ---------------------------------------------------------------------------------

    def _served(self, state: State, served: tuple[Registrations, frozenset[Nexus]] | None) -> State:
        """The service action was done: writes are aborted, and who has no key any more is as good as panicked."""
        if served is None:
            return state
        registrations, aborted = served
        disk = state.disk
        queue = tuple(one for one in disk.queue if self.nexus(one.node, one.life) not in aborted)
        nodes = tuple(self._served_to(registrations, queue, m, node) for m, node in enumerate(state.nodes))
        return state._replace(disk=disk._replace(registrations=registrations, queue=queue), nodes=nodes)

    def _served_to(self, registrations: Registrations, queue: tuple[Write, ...], m: int, node: Node) -> Node:
        if node.at in (*self.rules.boot, "dead"):
            return node
        waits = any(one.node == m and one.life == node.life for one in queue)
        refused = self.rules.reservation and not registrations.registered(key_of(m, node.life))
        if not waits and (refused or node.at == "writing"):
            return self._blank("dead", node.life)
        return node

    def _land(self, state: State, write: Write) -> Step[State]:
        n, disk = write.node, state.disk.land(write)
        told = f"commit of epoch {write.value.epoch}" if write.record == "commit" else "contest record"
        late = "" if state.nodes[n].life == write.life else ", late"
        what = f"the {told} of life {write.life} of n{n} lands{late}"
        broken = self._broken(state, write)
        after = state._replace(disk=disk)
        if write.record == "commit":
            after = self._with_commit(after, write.value)
        node = after.nodes[n]
        if node.life == write.life and node.at == "writing":
            node = self._landed(n, node, write)
        return Step(what, self._clean(after._replace(nodes=put(after.nodes, n, node))), broken)

    def _landed(self, n: int, node: Node, write: Write) -> Node:
        if write.record == "contest":
            return self.written(n, node)
        if self.rules.fence_first or not node.forced or self.rules.fence == "none":
            return self._rest(node)._replace(view=write.value)
        return node._replace(at="fence", view=write.value)

    def _with_commit(self, state: State, commit: Commit) -> State:
        """From now on everybody may believe it: recovery after those who are not in it may begin."""
        committed = put(state.committed, commit.epoch - 1, commit)
        before = self._first_view if commit.base == 0 else state.committed[commit.base - 1]
        state = state._replace(committed=committed)
        for m, life in enumerate(before.members if before else ()):
            if life and commit.members[m] != life:
                state = self._with_fenced(state, (m, life))
        return state

    def _with_fenced(self, state: State, life: Life) -> State:
        return state._replace(fenced=tuple(sorted({*state.fenced, life})))

    def _broken(self, state: State, write: Write) -> str | None:
        """Which claim that write breaks by landing."""
        claims = self.claims
        who = f"life {write.life} of n{write.node}"
        if FENCE in claims and (write.node, write.life) in state.fenced:
            return f"{FENCE}: a write of {who} landed after it was fenced or forced out"
        if write.record == "contest":
            if PROMISE in claims and self.breaks_promise(state.disk.contests[write.node], write.value):
                return f"{PROMISE}: the record of {who} contradicts the one before it"
            return None
        commit: Commit = write.value
        other = state.committed[commit.epoch - 1]
        if MUTUAL_EXCLUSION in claims and other is not None and other != commit:
            return f"{MUTUAL_EXCLUSION}: n{other.owner} and n{commit.owner} have committed epoch {commit.epoch}"
        if NO_LOST_VIEW in claims and self._loses_a_view(state, commit):
            return f"{NO_LOST_VIEW}: the commits do not follow one another at epoch {commit.epoch}"
        return None

    def _loses_a_view(self, state: State, commit: Commit) -> bool:
        between = state.committed[commit.base : commit.epoch - 1]
        later = [other for other in state.committed if other is not None and other.base < commit.epoch < other.epoch]
        return any(between) or bool(later)

    def _then(
        self, what: str, state: State, n: int, node: Node, disk: Disk | None = None, *, restarts: int = 0
    ) -> Step[State]:
        nodes = put(state.nodes, n, node)
        after = state._replace(disk=disk or state.disk, nodes=nodes, restarts=state.restarts + restarts)
        return Step(what, self._clean(after))

    def _clean(self, state: State) -> State:
        """Forget of the fenced those that cannot write any more: nothing depends on them."""
        if not state.fenced:
            return state
        queued = {(one.node, one.life) for one in state.disk.queue}
        alive = {(m, node.life) for m, node in enumerate(state.nodes) if node.at != "dead"}
        return state._replace(fenced=tuple(life for life in state.fenced if life in queued or life in alive))


def _life(life: Life | None) -> str:
    return "nobody" if life is None else f"life {life[1]} of n{life[0]}"


def _lives(lives: tuple[Life, ...]) -> str:
    return " and ".join(f"n{n}" for n, _ in lives) or "nobody"
