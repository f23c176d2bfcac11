"""Interconnect faults of one node: its carrier down, or a silent cut of one or both directions (spec S10.3).

* carrier: libvirt sets the link state of the node's card; the guest's driver sees it.
* silent: nftables in the bridge drops the node's frames, all of them or those from or to some others; nobody sees
  anything but silence.
* impaired: a share of the frames between some nodes is dropped. Each impairment is a table of its own, with counters:
  those that are in force at the same time do not touch each other, and each tells whether it has met a frame.

Every function verifies what it did and raises :class:`hil.errors.InvalidRun` if it did not take hold (spec S10.7).
Runs inside the bench's network namespace.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree

import libvirt

from hil.bench import namespace
from hil.bench.links import SHARE_ALL
from hil.bench.namespace import run_command
from hil.errors import InvalidRun
from hil.qemu.domain import interconnect_card, interconnect_mac

_RULES = threading.Lock()
"""Held from looking at the rules to changing them: of two who heal one cut, the second finds none."""

DIRECTIONS = {"both": ("from_node", "to_node"), "out": ("from_node",), "in": ("to_node",)}
"""Direction, as the node sees it, to the nftables sets that its tap goes into."""

# Sets of interface names; an empty set drops nothing. The forward hook sees frames from one tap to another only: the
# management bridge is another bridge and is never touched.
RULES = """\
table bridge hil {
  set from_node { type ifname; }
  set to_node { type ifname; }
  set pairs { type ifname . ifname; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname @from_node counter drop
    oifname @to_node counter drop
    iifname . oifname @pairs counter drop
  }
}
"""


def prepare() -> None:
    """Load the rule set, with nothing cut."""
    run_command(["nft", "-f", "-"], stdin=RULES)


def cut_silently(node: int, direction: str) -> None:
    """Drop ``node``'s frames in ``direction`` ("both", "in", "out"); doing it twice is fine."""
    with _RULES:
        for name in DIRECTIONS[direction]:
            run_command(["nft", "add", "element", "bridge", "hil", name, _element(node)])
        missing = [name for name in DIRECTIONS[direction] if not _is_cut(node, name)]
    if missing:
        raise InvalidRun(f"silent cut of node {node}: nftables does not show its tap in {', '.join(missing)}")


def cut_pairs(pairs: Iterable[tuple[int, int]]) -> None:
    """Drop the frames from the first to the second node of each of ``pairs``, all from the same instant on."""
    wanted = set(pairs)
    with _RULES:
        if wanted:
            run_command(["nft", "add", "element", "bridge", "hil", "pairs", _pairs(wanted)])
        missing = wanted - _cut_pairs()
    if missing:
        raise InvalidRun(f"silent cut between nodes: nftables does not show {_listed(missing)}")


def heal_silent(node: int) -> set[int]:
    """Undo every silent cut that ``node`` has a part in; which nodes are cut no more, ``node`` among them."""
    with _RULES:
        before = _cut_nodes()
        for name in (name for name in DIRECTIONS["both"] if _is_cut(node, name)):
            run_command(["nft", "delete", "element", "bridge", "hil", name, _element(node)])
        pairs = {pair for pair in _cut_pairs() if node in pair}
        if pairs:
            run_command(["nft", "delete", "element", "bridge", "hil", "pairs", _pairs(pairs)])
        after = _cut_nodes()
    if node in after:
        raise InvalidRun(f"healing node {node}: nftables still shows its tap in a cut")
    return before - after


# It drops everything, but what kernels say by themselves, the one of a machine that does nothing too, does not count.
_DATAGRAM: Final = "ether type != { arp, ip6 }"


def impair(number: int, pairs: Iterable[tuple[int, int]], share: int) -> None:
    """Drop ``share`` per mille of the frames from the first to the second node of each pair, from one instant on.

    ``number``: of the impairment, by which it is ended.
    """
    drop = "" if share >= SHARE_ALL else f"numgen random mod {SHARE_ALL} < {share} "
    table = _impairment(number)
    rules = f"""\
table bridge {table} {{
  counter met {{ }}
  counter lost {{ }}
  set pairs {{ type ifname . ifname; elements = {_pairs(pairs)}; }}
  chain watch {{
    type filter hook forward priority -10; policy accept;
    iifname . oifname @pairs {_DATAGRAM} counter name met
  }}
  chain struck {{
    {_DATAGRAM} counter name lost
    drop
  }}
  chain forward {{
    type filter hook forward priority 10; policy accept;
    iifname . oifname @pairs {drop}jump struck
  }}
}}
"""
    run_command(["nft", "-f", "-"], stdin=rules)
    if impairment_frames(number) is None:
        raise InvalidRun(f"impairment {number} of the interconnect: nftables does not show it")


def mend(number: int) -> None:
    """End an impairment; fine if there is none of that number."""
    if impairment_frames(number) is not None:
        run_command(["nft", "delete", "table", "bridge", _impairment(number)])
    if impairment_frames(number) is not None:
        raise InvalidRun(f"mending impairment {number} of the interconnect: nftables still shows it")


def impairment_frames(number: int) -> tuple[int, int] | None:
    """How many datagrams that impairment has met, and how many of them it dropped; None: it is not in force.

    All impairments count before any of them drops; of several that would drop a frame one does.
    """
    command = ["nft", "--json", "list", "counters", "table", "bridge", _impairment(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    counters = [one["counter"] for one in json.loads(done.stdout)["nftables"] if "counter" in one]
    packets = {one["name"]: int(one["packets"]) for one in counters}
    return packets.get("met", 0), packets.get("lost", 0)


def _impairment(number: int) -> str:
    return f"hil_{number}"


def set_carrier(domain: libvirt.virDomain, node: int, link: str) -> None:
    """Set the carrier of ``node``'s running machine to ``link`` ("up" or "down")."""
    domain.updateDeviceFlags(interconnect_card(node, link), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    seen = carrier(domain, node)
    if seen != link:
        raise InvalidRun(f"carrier of node {node}: asked for {link}, libvirt shows {seen}")


def carrier(domain: libvirt.virDomain, node: int) -> str:
    """What libvirt shows: "up", "down", or "absent"."""
    return _carrier(ElementTree.fromstring(domain.XMLDesc()).iter("interface"), interconnect_mac(node))


def _carrier(cards: Iterable[ElementTree.Element], mac: str) -> str:
    for card in cards:
        address, link = card.find("mac"), card.find("link")
        if address is not None and address.get("address") == mac:
            return "up" if link is None else link.get("state", "up")
    return "absent"


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    taps = [f'"{namespace.interconnect_tap(a)}" . "{namespace.interconnect_tap(b)}"' for a, b in sorted(pairs)]
    return f"{{ {', '.join(taps)} }}"


def _listed(pairs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{a} to {b}" for a, b in sorted(pairs))


def _cut_nodes() -> set[int]:
    """The nodes that have a part in any silent cut."""
    whole = {node for name in DIRECTIONS["both"] for (node,) in _elements(name)}
    return whole | {node for pair in _cut_pairs() for node in pair}


def _cut_pairs() -> set[tuple[int, int]]:
    return {(a, b) for a, b in _elements("pairs")}


def _elements(name: str) -> list[list[int]]:
    """The nodes in each element of a set."""
    listed = json.loads(run_command(["nft", "--json", "list", "set", "bridge", "hil", name]))
    found = next(one["set"] for one in listed["nftables"] if "set" in one).get("elem", [])
    taps = [element["concat"] if isinstance(element, dict) else [element] for element in found]
    return [[namespace.node_of_tap(tap) for tap in element] for element in taps]


def _element(node: int) -> str:
    return f'{{ "{namespace.interconnect_tap(node)}" }}'


def _is_cut(node: int, name: str) -> bool:
    command = ["nft", "get", "element", "bridge", "hil", name, _element(node)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
