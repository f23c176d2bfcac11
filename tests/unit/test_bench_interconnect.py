"""A silent cut drops a node's frames in the asked direction, from the asked others, verifiably, and nothing else's.

Runs in a network namespace of its own: three veth pairs stand for three machines' cards, raw frames for their
datagrams.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import json, select, socket, sys
from hil.bench import namespace
from hil.bench.namespace import run_command
from hil.bench import interconnect

lines = ["link add interconnect type bridge forward_delay 0", "link set interconnect up"]
for i in (0, 1, 2):
    lines += [f"link add ic{i} type veth peer name card{i}", f"link set ic{i} master interconnect"]
    lines += [f"link set ic{i} up", f"link set card{i} up"]
run_command(["ip", "-batch", "-"], stdin="\\n".join(lines) + "\\n")
interconnect.prepare()
cards = []
for i in (0, 1, 2):
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    card.bind((f"card{i}", 0x88B5))
    cards.append(card)

def hear(sender):
    frame = b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, sender]) + b"\\x88\\xb5" + b"x" * 46
    cards[sender].send(frame)
    others = [i for i in (0, 1, 2) if i != sender]
    heard = [i for i in others if select.select([cards[i]], [], [], 0.2)[0]]
    for i in heard:
        cards[i].recv(100)
    return heard

def all_hear():
    return [hear(sender) for sender in (0, 1, 2)]

# A port forwards once the bridge has seen its carrier: wait for the first frame in each direction.
assert all(any(len(hear(sender)) == 2 for _ in range(30)) for sender in (0, 1, 2))
seen = {"whole": all_hear()}
for direction in ("out", "in", "both"):
    interconnect.cut_silently(0, direction)
    interconnect.cut_silently(0, direction)
    seen[direction] = all_hear()
    seen[f"{direction} healed"] = [sorted(interconnect.heal_silent(0)), all_hear(), sorted(interconnect.heal_silent(0))]
interconnect.cut_pairs([(0, 1)])
interconnect.cut_pairs([(0, 1), (1, 2)])
seen["pairs"] = all_hear()
seen["pairs, healed in part"] = [sorted(interconnect.heal_silent(0)), all_hear()]
interconnect.cut_silently(2, "in")
seen["pairs healed"] = [sorted(interconnect.heal_silent(1)), sorted(interconnect.heal_silent(2)), all_hear()]

interconnect.impair(1, [(0, 1)], 1000)
interconnect.impair(2, [(0, 1), (1, 0), (2, 0)], 1000)
seen["impaired"] = [interconnect.impairment_frames(1), all_hear(), interconnect.impairment_frames(1)]
seen["impaired, both met"] = interconnect.impairment_frames(2)
cards[0].send(b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, 0]) + b"\\x08\\x06" + b"x" * 46)
cards[0].send(b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, 0]) + b"\\x88\\xb5" + b"x" * 46)
while not select.select([cards[2]], [], [], 0.2)[0]:
    pass
cards[2].recv(100)
seen["after ARP"] = interconnect.impairment_frames(2)
interconnect.mend(2)
interconnect.mend(2)
seen["mended in part"] = [all_hear(), interconnect.impairment_frames(2)]
interconnect.mend(1)
seen["mended"] = all_hear()
interconnect.impair(3, [(0, 1)], 300)
heard = 0
for _ in range(400):
    cards[0].send(b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, 0]) + b"\\x88\\xb5" + b"x" * 46)
    if _ % 50 == 49:
        while select.select([cards[1]], [], [], 0.2)[0]:
            cards[1].recv(100)
            heard += 1
seen["lossy"] = [heard, interconnect.impairment_frames(3)]
interconnect.mend(3)
print(json.dumps(seen))
"""
WHOLE = [[1, 2], [0, 2], [0, 1]]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """Which nodes hear node 0, node 1 and node 2; healed: also which nodes are cut no more."""
    rootless = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *rootless, "--net", sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_frames_pass_both_ways_while_nothing_is_cut(seen: dict[str, Any]) -> None:
    assert seen["whole"] == WHOLE


@pytest.mark.parametrize(
    ("direction", "heard"),
    [("out", [[], [0, 2], [0, 1]]), ("in", [[1, 2], [2], [1]]), ("both", [[], [2], [1]])],
)
def test_a_cut_drops_just_its_direction(seen: dict[str, Any], direction: str, heard: list[list[int]]) -> None:
    assert seen[direction] == heard


@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_a_heal_lets_everything_pass_and_says_whether_there_was_a_cut(seen: dict[str, Any], direction: str) -> None:
    assert seen[f"{direction} healed"] == [[0], WHOLE, []]


def test_a_cut_between_nodes_leaves_the_others_alone(seen: dict[str, Any]) -> None:  # A7
    assert seen["pairs"] == [[2], [0], [0, 1]]


def test_impairments_of_one_link_end_one_by_one_and_each_counts_what_it_has_met(seen: dict[str, Any]) -> None:
    before, heard, (met, lost) = seen["impaired"]
    assert (before, heard, met) == ([0, 0], [[2], [2], [1]], 1)
    other_met, other_lost = seen["impaired, both met"]
    assert other_met == 3
    assert lost + other_lost == 3  # both have met a frame, and one of them has dropped it
    assert seen["after ARP"][0] == 4, "a kernel's own frame is no datagram"
    assert seen["mended in part"] == [[[2], [0, 2], [0, 1]], None]
    assert seen["mended"] == WHOLE


def test_an_impairment_drops_its_share(seen: dict[str, Any]) -> None:
    heard, (met, lost) = seen["lossy"]
    assert met == 400
    assert met - lost == heard
    assert 60 < lost < 180  # 120; seven standard deviations


def test_a_heal_undoes_what_a_node_has_a_part_in_and_names_those_that_are_whole_again(seen: dict[str, Any]) -> None:
    assert seen["pairs, healed in part"] == [[0], [[1, 2], [0], [0, 1]]]
    assert seen["pairs healed"] == [[1], [2], WHOLE]
