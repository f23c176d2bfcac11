"""The capture of the interconnect: what was sent, when it was sent, in a form that others read; on both back ends."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hil.evidence import layout, pcap
from tests.unit.sim_cluster import started

ROOT = Path(__file__).parents[2]


class Frame(NamedTuple):
    time_s: float
    data: bytes


def frames(data: bytes) -> Iterator[Frame]:
    """As the format's description has it, not as we write it."""
    magic, major, minor, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B23C4D, 2, 4, 1)
    place = 24
    while place < len(data):
        seconds, nanoseconds, kept, size = struct.unpack_from("<IIII", data, place)
        assert kept == size
        yield Frame(seconds + nanoseconds / 1e9, data[place + 16 : place + 16 + kept])
        place += 16 + kept


def test_a_datagram_is_a_frame_with_right_lengths_and_checksum() -> None:
    frame = pcap.datagram(2, 0, b"payload")
    assert frame[:14].hex() == "525400770001" + "525400770003" + "0800"
    ip, udp = frame[14:34], frame[34:]
    assert sum(struct.unpack("!10H", ip)) % 0xFFFF == 0  # RFC 1071: with its checksum it comes to nothing
    assert (ip[0], int.from_bytes(ip[2:4], "big"), ip[9]) == (0x45, len(frame) - 14, 17)
    assert (list(ip[12:16]), list(ip[16:20])) == ([10, 77, 0, 3], [10, 77, 0, 1])
    assert (struct.unpack("!HHHH", udp[:8]), udp[8:]) == ((7400, 7400, 15, 0), b"payload")
    everybody = pcap.datagram(0, None, b"")
    assert (everybody[:6], list(everybody[30:34])) == (b"\xff" * 6, [10, 77, 0, 255])


def test_a_simulated_run_has_its_datagrams_on_the_clock_of_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started(1, capture=True) as cluster:
        cluster.cut_link(cluster.nodes[1], "silent")
        cut_s = cluster.view.t
        cluster.pass_time(0.5)
    found = list(frames((cluster.run_dir / layout.CAPTURE).read_bytes()))
    events = [json.loads(line) for line in (cluster.run_dir / layout.EVENTS).read_text().splitlines()]
    (ended,) = [event for event in events if event["kind"] == "capture-ended"]
    assert (len(found), ended["dropped"]) == (ended["frames"], 0)
    assert [frame.time_s for frame in found] == sorted(frame.time_s for frame in found)
    assert found[-1].time_s <= events[-1]["t"]
    senders = {frame.data[11] - 1 for frame in found if frame.time_s > cut_s}
    assert senders == {0, 1, 2}  # what is sent into a cut is seen, too


def test_without_being_asked_nothing_is_captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started(1) as cluster:
        pass
    assert not (cluster.run_dir / layout.CAPTURE).exists()


PROGRAM = """
import contextlib, json, socket, struct, sys, time
from pathlib import Path
from hil.bench import namespace
from hil.bench.capture import captured
from hil.bench.log import EventLog
from hil.bench.namespace import run_command
from hil.bench import interconnect as link

lines = ["link add interconnect type bridge forward_delay 0", "link set interconnect up"]
for i in (0, 1):
    lines += [f"link add ic{i} type veth peer name card{i}", f"link set ic{i} master interconnect"]
    lines += [f"link set ic{i} up", f"link set card{i} up"]
run_command(["ip", "-batch", "-"], stdin="\\n".join(lines) + "\\n")
link.prepare()
run = Path(sys.argv[1])
log = EventLog(run / "events.jsonl", 2)
cards = []
for i in (0, 1):
    card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    card.bind((f"card{i}", 0x88B5))
    cards.append(card)
macs = [card.getsockname()[4] for card in cards]

def send(sender, text):
    cards[sender].send(macs[1 - sender] + macs[sender] + b"\\x88\\xb5" + text.ljust(46, b"."))

def arrives(text, within_s=10):
    cards[1].settimeout(within_s)
    with contextlib.suppress(TimeoutError):
        while True:
            if text in cards[1].recv(100):
                return True
    return False

# A port forwards once the bridge has seen its carrier.
assert any(send(0, b"hello") or arrives(b"hello", 0.2) for _ in range(50))
with captured(run, log):
    send(1, b"so that the bridge knows where")
    before = log.emit("before")["t"]
    for number in range(600):
        send(0, b"number %d." % number)
        assert arrives(b"number %d." % number)
    after = log.emit("after")["t"]
    link.cut_silently(0, "both")
    send(0, b"into a cut")
    assert not arrives(b"into a cut", 0.2)
print(json.dumps([before, after]))
"""


def test_a_bench_captures_every_frame_of_its_bridge_once_as_it_was_sent(tmp_path: Path) -> None:
    apart = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    command = [*apart, sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    found = [frame for frame in frames((tmp_path / layout.CAPTURE).read_bytes()) if frame.data[12:14] == b"\x88\xb5"]
    numbered = [frame for frame in found if frame.data[14:].startswith(b"number ")]
    assert [frame.data[14:].partition(b".")[0] for frame in numbered] == [b"number %d" % n for n in range(600)]
    assert all(before - 0.01 <= frame.time_s <= after + 0.01 for frame in numbered)
    assert len([frame for frame in found if b"into a cut" in frame.data]) == 1
    events = [json.loads(line) for line in (tmp_path / layout.EVENTS).read_text().splitlines()]
    assert [event["kind"] for event in events] == ["capture-started", "before", "after", "capture-ended"]
    assert events[-1]["frames"] >= len(found)
    assert events[-1]["dropped"] == 0


def test_an_interface_that_is_not_there_is_no_capture_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hil.evidence.capture", "--interface", "nosuch0", "--zero-ns", "0"]
    done = subprocess.run(
        [*command, "--file", str(tmp_path / "a.pcap")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "hil.evidence.capture: " in done.stderr
