"""`hil` on a running cluster: what it asks of the bench, what it shows; the machines are a fake's."""

import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.bench import address
from hil.bench.address import running_clusters
from hil.cli import main
from hil.cli.access import ssh_command
from hil.client import Cluster
from hil.errors import GuestdExited
from tests.unit.fake_bench import FakeBench, fake_bench

_numbers = itertools.count()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBench]:
    name = f"t-cli-{os.getpid()}-{next(_numbers)}"
    with fake_bench(name, tmp_path / "run") as bench:
        # Other clusters may run on this machine; here only this one counts.
        monkeypatch.setattr(address, "running_clusters", lambda: [n for n in running_clusters() if n == name])
        bench.all_joined()
        yield bench


def hil(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


FROZEN = "node 1: frozen (process); `hil thaw 1` lets it go on"


@pytest.mark.parametrize(
    ("line", "call", "told"),
    [
        ("power off 1", ("power_off", {"nodes": [1]}), "node 1: powered off"),
        ("power off n1", ("power_off", {"nodes": [1]}), "node 1: powered off"),
        ("power on 2 0 2", ("power_on", {"nodes": [0, 2]}), "nodes 0, 2: powered on"),
        ("power cycle all", ("power_cycle", {"nodes": [0, 1, 2]}), "nodes 0, 1, 2: power-cycled"),
        ("reset 1", ("reset", {"nodes": [1]}), "node 1: reset"),
        ("link cut 1", ("cut_link", {"nodes": [1], "how": "carrier"}), "node 1: interconnect cut, no carrier"),
        ("link cut 1 --silent", ("cut_link", {"nodes": [1], "how": "silent"}), "node 1: interconnect cut silently"),
        (
            "link cut 1 --silent --direction in --from 0,2",
            ("cut_link", {"nodes": [1], "how": "silent", "direction": "in", "others": [0, 2]}),
            "node 1: interconnect cut silently, in only, from nodes 0, 2",
        ),
        ("split 0,2 1", ("split", {"groups": [[0, 2], [1]]}), "split: nodes 0, 2 | node 1"),
        ("freeze 2", ("freeze", {"nodes": [2], "how": "vcpu"}), "node 2: frozen (vcpu); `hil thaw 2` lets it go on"),
        ("freeze 1 --how process", ("freeze", {"nodes": [1], "how": "process"}), FROZEN),
        ("thaw 1", ("thaw", {"nodes": [1]}), "node 1: goes on"),
        ("link heal 1", ("heal_link", {"nodes": [1]}), "node 1: interconnect healed"),
    ],
)
def test_a_verb_reaches_exactly_the_nodes_that_were_named(
    capsys: pytest.CaptureFixture[str], bench: FakeBench, line: str, call: tuple[str, object], told: str
) -> None:
    assert hil(capsys, *line.split()) == (0, f"{told}\n", "")
    assert bench.calls == [call]


@pytest.mark.parametrize(
    "line",
    [
        "power off 3",
        "power cycle x",
        "reset 7",
        "shutdown -- -1",
        "link cut 3",
        "link cut 1 --silent --from 3",
        "split 0 1,3",
        "freeze 3",
        "thaw 3",
        "panic 99",
        "console n3",
        "ssh 5",
    ],
)
def test_an_unknown_node_is_told_with_those_that_exist(
    capsys: pytest.CaptureFixture[str], bench: FakeBench, line: str
) -> None:
    status, out, err = hil(capsys, *line.split())
    assert (status, out) == (2, "")
    assert "in this cluster; there are: 0, 1, 2" in err
    assert bench.calls == []


def test_what_was_off_already_is_told(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    bench.log.emit("machine-stopped", node=1, detail="destroyed")
    told = "node 1: was off already\nnodes 0, 2: powered off\n"
    assert hil(capsys, "power", "off", "all") == (0, told, "")


def test_ssh_to_a_machine_that_crashed_says_how_to_start_it(
    capsys: pytest.CaptureFixture[str], bench: FakeBench
) -> None:
    bench.panic_node(1, "no")
    assert hil(capsys, "ssh", "1") == (2, "", "hil: node 1's machine is crashed; `hil power cycle 1` starts it\n")


def test_all_stands_alone(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    assert hil(capsys, "power", "off", "all", "1") == (2, "", "hil: all 1: `all` stands alone\n")


def test_shutdown_returns_when_the_machine_is_off(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    def halt(call: str, arguments: dict[str, Any]) -> None:
        bench.log.emit("machine-stopped", node=2, detail="shutdown")

    bench.on_call = halt
    assert hil(capsys, "shutdown", "2") == (0, "node 2: left the cluster and is off\n", "")


def test_shutdown_of_a_node_that_crashes_instead_is_a_broken_laboratory(
    capsys: pytest.CaptureFixture[str], bench: FakeBench
) -> None:
    bench.on_call = lambda *_: bench.panic_node(2, "no")
    status, _, err = hil(capsys, "shutdown", "2")
    assert status == 3
    assert "crashed instead" in err


def test_panic_returns_when_libvirt_has_reported_the_crash(
    capsys: pytest.CaptureFixture[str], bench: FakeBench
) -> None:
    bench.on_call = lambda _, arguments: bench.panic_node(0, arguments["reason"])
    assert hil(capsys, "panic", "0", "--reason", "test of time") == (0, "node 0: panicked: test of time\n", "")


def test_status_shows_nodes_levels_master_epoch_and_what_only_acknowledges(
    capsys: pytest.CaptureFixture[str], bench: FakeBench
) -> None:
    bench.log.emit("fault-injected", node=1, fault="link-silent")
    bench.panic_node(2, "found itself forced out")
    status, out, err = hil(capsys, "status")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"cluster {bench.name}: 3 of 3 nodes joined, epoch 1, master n0"
    assert lines[1].split() == ["40"]
    assert lines[2].split() == ["0", "10", "20", "30", "event-"]
    titles = ["node", "machine", "guestd", "inc", "state", "epoch", "membership", "DLM*", "VDM*", "SFS*", "manager*"]
    assert lines[3].split() == titles
    assert lines[4].split() == ["n0", "running", "running", "1", "joined", "1", *["joined"] * 5]
    assert lines[5].split() == ["n1", "running", "running", "1", "joined", "1", *["joined"] * 5]
    assert lines[6].split()[:4] == ["n2", "crashed", "absent", "1"]
    assert lines[7:] == [
        "n1: link-silent",
        "n2: panic: found itself forced out",
        "* acknowledges only: DLM, VDM, SFS, event-manager",
    ]
    assert max(map(len, lines)) <= 80


def test_status_tells_why_a_machine_was_refused(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:  # A16
    bench.log.emit("refused", node=1, reason="another machine runs as node 1")
    bench.log.emit("guestd-exited", node=1, status=2)
    lines = hil(capsys, "status")[1].splitlines()
    assert "n1: refused: another machine runs as node 1; guestd ended with status 2" in lines
    told = json.loads(hil(capsys, "status", "--json")[1])
    assert [node["refused"] for node in told["nodes"]] == [None, "another machine runs as node 1", None]
    with Cluster.connect(bench.name) as cluster, pytest.raises(GuestdExited, match="another machine runs as node 1"):
        cluster.wait_joined(timeout=5)


def test_status_tells_that_the_disk_is_dead(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    bench.log.emit("disk-exited", status=-9)
    _, out, _ = hil(capsys, "status")
    assert "broken: the SCSI target of the shared disk ended with status -9" in out
    _, out, _ = hil(capsys, "status", "--json")
    assert json.loads(out)["broken"] is not None


def test_status_as_json_has_stable_keys(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    status, out, _ = hil(capsys, "status", "--json")
    told = json.loads(out)
    assert status == 0
    assert sorted(told) == sorted(
        [
            "accelerator",
            "broken",
            "cluster",
            "data_disks",
            "election",
            "epoch",
            "faults",
            "fence",
            "master",
            "members",
            "n",
            "nodes",
            "run_dir",
            "services",
            "subsystems",
            "t",
            "timing",
            "timing_factor",
        ]
    )
    assert (told["fence"], told["election"]) == ("scsi", "paxos")
    assert (told["cluster"], told["epoch"], told["master"], told["members"]) == (bench.name, 1, 0, [0, 1, 2])
    assert told["subsystems"]["10"] == {"name": "DLM", "real": False}
    assert sorted(told["nodes"][1]) == sorted(
        [
            *("id", "power", "guestd", "incarnation", "state", "epoch", "levels", "waiting", "panic_reason", "refused"),
            *("silent_luns", "not_begun"),
        ]
    )
    assert told["nodes"][1]["levels"] == dict.fromkeys(["0", "10", "20", "30", "40"], "joined")


def test_events_as_json_are_the_stream_itself(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    status, out, _ = hil(capsys, "events", "--json")
    assert status == 0
    written = (bench.run_dir / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in out.splitlines()] == [json.loads(line) for line in written]


def test_events_since_a_number_are_those_after_it(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    last = bench.log.emit("power", action="off", nodes=[0, 1])["n"]
    status, out, _ = hil(capsys, "events", "--since", str(last - 1))
    assert status == 0
    assert out.split() == [str(last), out.split()[1], "-", "power", "action=off", "nodes=[0,1]"]


def test_the_console_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    (bench.run_dir / "console-n1.log").write_bytes(b"Linux\r\nhil: guestd: PANIC: no\r\n")
    assert hil(capsys, "console", "1") == (0, "Linux\nhil: guestd: PANIC: no\n", "")


def test_following_a_console_ends_with_the_cluster(capfd: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    (bench.run_dir / "console-n1.log").write_text("Linux\n")
    bench.log.close()
    assert main.main(["console", "1", "-f"]) == 0


def test_ssh_to_a_machine_that_is_off_says_how_to_start_it(
    capsys: pytest.CaptureFixture[str], bench: FakeBench
) -> None:
    bench.log.emit("machine-stopped", node=1, detail="destroyed")
    assert hil(capsys, "ssh", "1") == (2, "", "hil: node 1's machine is off; `hil power on 1` starts it\n")


def test_ssh_gets_its_connection_from_the_bench_and_trusts_nothing_else(bench: FakeBench, tmp_path: Path) -> None:
    cluster = Cluster.connect(bench.name)
    command = ssh_command(cluster.nodes[1], tmp_path, ["uname", "-r"])
    assert command[-4:] == ["root@10.78.0.2", "--", "uname", "-r"]
    assert f"ProxyCommand='{sys.executable}' -m hil.cli.proxy {bench.name} 1" in command
    assert {"ProxyUseFdpass=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"} <= set(command)
    cluster.close()


def test_the_proxy_hands_the_connected_socket_over(bench: FakeBench) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-m", "hil.cli.proxy", bench.name, "2"]
            tree = str(Path(__file__).resolve().parents[2])
            done = subprocess.run(
                command, stdout=theirs.fileno(), env=os.environ | {"PYTHONPATH": tree}, check=False, timeout=30
            )
        assert done.returncode == 0
        _, (descriptor,), _, _ = socket.recv_fds(ours, 16, 1)
        with socket.socket(fileno=descriptor) as connection:
            assert connection.recv(100) == b"ssh of node 2"


def test_down_names_the_evidence_and_twice_is_fine(capsys: pytest.CaptureFixture[str], bench: FakeBench) -> None:
    assert hil(capsys, "down", bench.name) == (0, f"cluster {bench.name} is down; evidence: {bench.run_dir}\n", "")
    assert hil(capsys, "down", bench.name) == (0, f"cluster {bench.name} is not running\n", "")
