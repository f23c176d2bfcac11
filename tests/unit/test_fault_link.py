"""A silent cut drops a node's frames in the asked direction, verifiably, and nothing else's.

Runs in a network namespace of its own: two veth pairs stand for two machines' cards, raw frames for their datagrams.
"""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, select, socket, sys
from hil.bench import namespace
from hil.bench.namespace import run_command
from hil.faults import link

lines = ["link add interconnect type bridge forward_delay 0", "link set interconnect up"]
for i in (0, 1):
    lines += [f"link add ic{i} type veth peer name card{i}", f"link set ic{i} master interconnect"]
    lines += [f"link set ic{i} up", f"link set card{i} up"]
run_command(["ip", "-batch", "-"], stdin="\\n".join(lines) + "\\n")
link.prepare()
cards = []
for i in (0, 1):
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    card.bind((f"card{i}", 0x88B5))
    cards.append(card)

def passes(sender):
    frame = b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, sender]) + b"\\x88\\xb5" + b"x" * 46
    cards[sender].send(frame)
    return bool(select.select([cards[1 - sender]], [], [], 0.3)[0]) and bool(cards[1 - sender].recv(100))

# A port forwards once the bridge has seen its carrier: wait for the first frame in each direction.
assert any(passes(0) for _ in range(30)) and any(passes(1) for _ in range(30))
seen = {"whole": [passes(0), passes(1)]}
for direction in ("out", "in", "both"):
    link.cut_silently(0, direction)
    link.cut_silently(0, direction)
    seen[direction] = [passes(0), passes(1)]
    seen[f"{direction} healed"] = [link.heal_silent(0), passes(0), passes(1), link.heal_silent(0)]
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, list[bool]]:
    rootless = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *rootless, "--net", sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    result: dict[str, list[bool]] = json.loads(done.stdout)
    return result


def test_frames_pass_both_ways_while_nothing_is_cut(seen: dict[str, list[bool]]) -> None:
    assert seen["whole"] == [True, True]


@pytest.mark.parametrize(
    ("direction", "from_node", "to_node"), [("out", False, True), ("in", True, False), ("both", False, False)]
)
def test_a_cut_drops_just_its_direction(
    seen: dict[str, list[bool]], direction: str, from_node: bool, to_node: bool
) -> None:
    assert seen[direction] == [from_node, to_node]


@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_a_heal_lets_everything_pass_and_says_whether_there_was_a_cut(
    seen: dict[str, list[bool]], direction: str
) -> None:
    assert seen[f"{direction} healed"] == [True, True, True, False]
