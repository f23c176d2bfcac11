"""What a node does that is not a member: ask to be admitted, wait, or form the cluster (spec S3.1, S4.10, S5.4)."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.membership.connectivity import best_group, mask_of, nodes_of
from guestd.membership.states import NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.core.timing import Timing
    from guestd.membership.observer import Observer
    from guestd.membership.view import View


class Decision(Value):
    """form: bid now. Otherwise wait, and say for what, if it is worth saying."""

    form: bool
    waiting_for: str | None = None


def decide(view: View, observer: Observer, timing: Timing) -> Decision:
    """What to do about a newest view in which this life of this node is not a member."""
    me = observer.node
    members = [node for node in view.live() if node != me]
    alive = [node for node in members if observer.shows_life(node, view.entries[node].incarnation)]
    if alive:
        return Decision(False, _why_not_admitted(view, observer, alive, timing))
    unknown = [node for node in members if observer.peers[node].incarnation <= view.entries[node].incarnation]
    if unknown and observer.watched_ms < timing.death_ms:
        return Decision(False, f"a sign of life of {_named(unknown)} of the last membership")
    return _who_forms(view, observer, timing)


def _who_forms(view: View, observer: Observer, timing: Timing) -> Decision:
    """The lowest node of the largest group of newcomers that hear each other.

    Others may still come for a while, unless all are there.
    """
    if _all_are_here(view, observer):
        return Decision(True) if observer.node == 0 else Decision(False, "node 0 to form the cluster")
    if observer.watched_ms < timing.settle_ms:
        return Decision(False)
    me = observer.node
    hears = {me: observer.hears()}
    for node, peer in enumerate(observer.peers):
        beat = peer.heartbeat
        known = view.entries[node].incarnation
        if node == me or beat is None or beat.intent != "join" or beat.incarnation <= known:
            continue
        if observer.moves(node):
            hears[node] = beat.hears
    group = nodes_of(best_group(mask_of(sorted(hears)), hears, None))
    if me not in group:
        return Decision(False, f"the interconnect: {_named(group)} can form the cluster and cannot be heard")
    if group[0] == me or observer.watched_ms >= timing.patience_ms:
        return Decision(True)
    return Decision(False, f"node {group[0]} to form the cluster")


def _all_are_here(view: View, observer: Observer) -> bool:
    """Whether every configured node has begun a new life on the disk and says that it hears all others.

    That it says so may be known by datagram only: what is on the disk of it is a little older. Safety does not rest on
    this; two that form are a race, which the election decides.
    """
    everybody = (1 << len(observer.peers)) - 1
    if observer.hears() != everybody:
        return False
    for node, peer in enumerate(observer.peers):
        beat = peer.heartbeat
        if node == observer.node:
            continue
        if beat is None or not observer.moves(node) or beat.incarnation <= view.entries[node].incarnation:
            return False
        says = (peer.heard_incarnation, peer.heard_intent, peer.heard_hears)
        if beat.intent != "join" or says != (beat.incarnation, "join", everybody):
            return False
    return True


def _why_not_admitted(view: View, observer: Observer, alive: list[int], timing: Timing) -> str | None:
    me = observer.node
    if view.entries[me].state is not NodeState.INACTIVE:
        return "the end of its own forced leave"
    unheard = [node for node in alive if not observer.hears() >> node & 1]
    if unheard and observer.watched_ms >= timing.settle_ms:
        return f"the interconnect: {_named(unheard)} on the disk cannot be heard"
    deaf = [node for node in alive if not observer.peers[node].heard_hears >> me & 1]
    if deaf and observer.watched_ms >= timing.settle_ms:
        return f"the interconnect: {_named(deaf)} cannot hear this node"
    return None


def _named(nodes: list[int]) -> str:
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"
