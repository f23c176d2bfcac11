"""Where and under what conditions an event group is enabled (spec S8.4)."""

from __future__ import annotations

from guestd.core.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.events.group import Group


class Circumstances(Value):
    """What conditions ask for, as this node knows it."""

    members: tuple[int, ...]  # nodes
    registered: dict[
        str, tuple[int, ...]
    ]  # service -> the nodes on which it is registered; those without may be left out


def why_not(group: Group, node: int, circumstances: Circumstances) -> str:
    """Why the group is not to be enabled on that node; "": it is."""
    members = len(circumstances.members)
    if group.where == "registered" and node not in circumstances.registered.get(group.service, ()):
        return f"service {group.service!r} is not registered here"
    if group.where == "nodes" and node not in group.nodes:
        return f"where: nodes {', '.join(map(str, group.nodes))}"
    if members < group.members_min:
        return f"members_min: {members} of {group.members_min} nodes are members"
    if group.service_registered and not circumstances.registered.get(group.service_registered):
        return f"service_registered: {group.service_registered!r} is registered nowhere"
    return ""
