"""Whom a master admits (spec S3.1, S4.10, S5.4): everybody who waits and hears, and is heard by, every live member.

Less would admit a node only to force it out again at once.
"""

from __future__ import annotations

from guestd.membership.connectivity import mask_of
from guestd.membership.states import NodeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.observer import Observer
    from guestd.membership.view import View


def joiners(view: View, observer: Observer) -> dict[int, int]:
    """Nodes to admit, all at once, with the incarnation to admit."""
    if len(view.live()) == len(view.entries):
        return {}
    me = observer.node
    insiders = [me, *(node for node in view.live() if node != me)]
    admitted: dict[int, int] = {}
    for node, peer in enumerate(observer.peers):
        beat = peer.heartbeat
        entry = view.entries[node]
        if node in insiders or entry.state is not NodeState.INACTIVE or beat is None:
            continue
        waits = beat.intent == "join" and beat.incarnation > entry.incarnation and observer.moves(node)
        waits = waits and not observer.gasped(node, beat.incarnation)  # it would have to be forced out at once
        if waits and peer.heard_incarnation == beat.incarnation and _hears_all(observer, node, insiders):
            admitted[node] = beat.incarnation
            insiders.append(node)
    return admitted


def _hears_all(observer: Observer, node: int, insiders: list[int]) -> bool:
    """Whether that node and each insider hear each other, by their newest datagrams."""
    if mask_of(insiders) & ~observer.peers[node].heard_hears or not observer.hears() >> node & 1:
        return False
    return all(observer.peers[insider].heard_hears >> node & 1 for insider in insiders if insider != observer.node)
