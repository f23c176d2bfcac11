"""Faults of the disk as a real guest meets them; verbs, events and ledger agree (spec S10.4)."""

import json
import time

import pytest

from hil import Cluster
from hil.cli import main
from hil.client.node import Node
from hil.errors import UsageError

pytestmark = pytest.mark.lab

FREE = 40_000
"""From this block on the disk is nobody's."""
AREA = (FREE, FREE + 999)
"""Faults are for these blocks only: the cluster itself goes on."""


@pytest.fixture
def node(cluster: Cluster) -> Node:
    cluster.disk.heal()
    return cluster.nodes[1]


def dd_write(node: Node, block: int, text: str, count: int = 1, *, flush: bool = False) -> int:
    """``count`` blocks that begin with ``text``; the exit status."""
    conversion = "sync,fsync" if flush else "sync"
    one = f"(for i in $(seq {count}); do printf '%-512s' {text}; done)"
    return int(node.ssh(f"{one} | dd of=/dev/sda bs=512 seek={block} conv={conversion} oflag=direct").exited)


def dd_read(node: Node, block: int) -> str | None:
    """The text at the beginning of a block; None: the kernel refuses."""
    done = node.ssh(f"dd if=/dev/sda bs=512 skip={block} count=1 iflag=direct")
    return done.stdout.replace("\0", "").strip() if done.exited == 0 else None


def ledger_of(cluster: Cluster, node: Node, since: int) -> list[str]:
    """What its commands on the area were."""
    return [
        entry.name.split()[0]
        for entry in cluster.disk.ledger()
        if entry.order >= since and entry.nexus.number == node.id and entry.faults
    ]


def test_an_error_reaches_the_guests_program_and_is_gone_when_healed(cluster: Cluster, node: Node) -> None:
    for sense in ("medium", "hardware"):
        with cluster.disk.inject("error", node, lba=AREA, sense=sense) as fault:
            assert dd_write(node, FREE, "refused") != 0
            assert dd_read(node, FREE) is None
            fault.wait_struck()
        assert dd_write(node, FREE, sense) == 0
        assert dd_read(node, FREE) == dd_read(cluster.nodes[0], FREE) == sense


def test_a_busy_disk_is_asked_again_by_the_guest(cluster: Cluster, node: Node) -> None:
    # Writes only: guestd has the whole cache of the disk written down now and then, and this area with it.
    cluster.disk.inject("error", node, lba=AREA, direction="write", count=2, sense="busy")
    since = cluster.disk.status()["commands"]
    assert dd_write(node, FREE + 1, "patience") == 0
    assert dd_read(node, FREE + 1) == "patience"
    assert ledger_of(cluster, node, since) == ["WRITE", "WRITE"]


def test_lost_and_misdirected_writes_are_what_the_guest_does_not_notice(cluster: Cluster, node: Node) -> None:
    other = cluster.nodes[0]
    assert dd_write(node, FREE + 10, "before") == 0
    with cluster.disk.inject("lost", node, lba=AREA, direction="write"):
        assert dd_write(node, FREE + 10, "lost") == 0
    assert dd_read(other, FREE + 10) == "before"
    with cluster.disk.inject("misdirected", node, lba=AREA, shift=5):
        assert dd_write(node, FREE + 10, "astray") == 0
    assert (dd_read(other, FREE + 10), dd_read(other, FREE + 15)) == ("before", "astray")
    [entry] = [entry for entry in cluster.disk.ledger() if entry.placed and entry.lba == FREE + 10][-1:]
    assert entry.placed is not None
    assert [(piece.lba, piece.length) for piece in entry.placed] == [(FREE + 15, 512)]


def test_a_torn_write_leaves_its_end_as_it_was(cluster: Cluster, node: Node) -> None:
    other = cluster.nodes[0]

    def write_two(first: str, second: str) -> int:
        two = f"printf '%-512s%-512s' {first} {second}"
        return int(node.ssh(f"{two} | dd of=/dev/sda bs=1024 seek={(FREE + 20) // 2} oflag=direct").exited)

    assert write_two("1", "2") == 0
    with cluster.disk.inject("torn", node, lba=AREA, sectors=1):
        assert write_two("one", "two") == 0
    assert (dd_read(other, FREE + 20), dd_read(other, FREE + 21)) == ("one", "2")


def test_a_stale_path_shows_the_past_and_flipped_bits_are_seen(cluster: Cluster, node: Node) -> None:
    other = cluster.nodes[0]
    assert dd_write(other, FREE + 30, "past") == 0
    with cluster.disk.inject("stale", node, lba=AREA):
        assert dd_write(other, FREE + 30, "present") == 0
        assert (dd_read(node, FREE + 30), dd_read(other, FREE + 30)) == ("past", "present")
    assert dd_read(node, FREE + 30) == "present"
    with cluster.disk.inject("flip", node, lba=AREA, direction="read", bits=100, seed=1):
        sums = [n.ssh(f"dd if=/dev/sda bs=512 skip={FREE + 30} count=1 iflag=direct | md5sum") for n in (node, other)]
        assert sums[0].stdout != sums[1].stdout


def test_a_reset_connection_is_made_anew_by_qemu_and_the_guest_goes_on(cluster: Cluster, node: Node) -> None:
    for when in ("before", "after"):
        cluster.disk.inject("reset", node, lba=AREA, direction="write", count=1, when=when)
        since = cluster.disk.status()["commands"]
        assert dd_write(node, FREE + 40, when) == 0
        assert dd_read(node, FREE + 40) == when
        struck = [entry for entry in cluster.disk.ledger() if entry.order >= since and entry.faults]
        assert [(entry.status, entry.changed) for entry in struck] == [(0x40, when == "after")]
    cluster.wait_joined()


def test_a_slow_path_is_slow_and_a_hanging_one_goes_on_when_healed(cluster: Cluster, node: Node) -> None:
    with cluster.disk.inject("slow", node, lba=AREA, ms=700):
        since = cluster.disk.status()["commands"]
        assert dd_write(node, FREE + 50, "slow") == 0
    took = [
        entry.completion_ns - entry.arrival_ns
        for entry in cluster.disk.ledger()
        if entry.order >= since and entry.faults
    ]
    assert took
    assert all(ns >= 700e6 for ns in took)
    fault = cluster.disk.inject("hang", node, lba=AREA, direction="write")  # a flush is of every block
    script = f"echo hung | dd of=/dev/sda bs=512 seek={FREE + 51} conv=sync oflag=direct"
    assert node.ssh(f"sh -c '{script}; echo $? >/run/hung' </dev/null >/dev/null 2>&1 &").exited == 0
    fault.wait_struck()
    [about] = cluster.disk.status()["faults"]
    assert [(held["node"], held["operation"], held["lba"]) for held in about["held"]] == [
        (node.id, "WRITE (10)", FREE + 51)
    ]
    assert node.ssh("cat /run/hung").exited != 0
    assert fault.heal() == 1
    assert node.ssh("until [ -s /run/hung ]; do sleep 0.1; done; cat /run/hung").stdout.strip() == "0"
    assert dd_read(cluster.nodes[0], FREE + 51) == "hung"


def test_a_power_failure_takes_what_was_not_flushed(cluster: Cluster, node: Node) -> None:
    survivor = cluster.nodes[0]
    for block in (60, 61, 62):
        assert dd_write(survivor, FREE + block, "old", flush=True) == 0
    cluster.disk.inject("volatile-cache")
    try:
        assert dd_write(survivor, FREE + 62, "survivors") == 0
        assert dd_write(node, FREE + 63, "seen") == 0
        assert dd_read(survivor, FREE + 63) == "seen"
        assert dd_write(node, FREE + 61, "flushed", flush=True) == 0
        # Then the power at once: now and then an event manager flushes what it has written, and with it everything.
        assert dd_write(node, FREE + 60, "cached") == 0
        cluster.power_off([node])
        found = [dd_read(survivor, FREE + block) for block in (60, 61, 62)]
        assert found == ["old", "flushed", "survivors"]
    finally:
        cluster.disk.heal()
    events = [event for event in cluster.events() if event["kind"] == "power" and event.get("cache_blocks_lost")]
    assert events[-1]["cache_blocks_lost"] >= 1


def test_a_fault_that_a_kind_does_not_know_is_refused_and_nothing_is_injected(cluster: Cluster, node: Node) -> None:
    with pytest.raises(UsageError, match="parameter 'sectors' is not known: it takes none"):
        cluster.disk.inject("hang", node, sectors=1)
    with pytest.raises(UsageError, match=r"fault 'melt' does not exist: hang, delay-writes"):
        cluster.disk.inject("melt", cluster.nodes)
    with pytest.raises(UsageError, match="hil up --keep-data"):
        cluster.disk.crash_states()
    assert cluster.disk.status()["faults"] == []


def test_the_verbs_as_a_person_types_them(cluster: Cluster, node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    def hil(*arguments: str, status: int = 0) -> str:
        assert main.main(["disk", *arguments, "--name", cluster.name]) == status
        said = capsys.readouterr()
        return said.out + said.err

    # Writes only: what guestd flushes now and then is of every block.
    slow = ("slow", "all", "--ms", "1", "--lba", f"{AREA[0]}-{AREA[1]}", "--direction", "write")
    assert "node 0: disk slow (fault " in hil(*slow)
    told = json.loads(hil("status", "--json"))
    assert [(fault["node"], fault["fault"], fault["parameters"]["ms"]) for fault in told["faults"]] == [
        (0, "slow", 1), (1, "slow", 1),
    ]  # fmt: skip
    assert dd_write(node, FREE + 70, "slow") == 0
    assert "n1 slow            struck 1; ms 1, spread fixed" in hil("status")
    assert "WRITE (10)" in hil("ledger", "--node", "1", "--lba", str(FREE + 70), "--writes")
    first, second = (fault["number"] for fault in told["faults"])
    assert f"healed: fault {first}; 0 held commands go on" in hil("heal", "0")
    assert "no disk fault 99 of these nodes; there are: " in hil("heal", "1", "--fault", "99", status=2)
    assert f"healed: fault {second}; 0 held commands go on" in hil("heal", "all")
    assert "no disk fault to heal" in hil("heal", "all")
    assert "fault slow needs ms" in hil("slow", "1", status=2)
    assert "in this cluster; there are: 0, 1" in hil("hang", "7", status=2)
    assert "hil up --keep-data" in hil("at", "1", "--out", "nowhere.raw", status=2)
    kinds = [event["kind"] for event in cluster.events() if event.get("number") == second]
    assert kinds == ["fault-injected", "fault-struck", "fault-healed"]


def test_a_fault_for_a_time_is_seen_to_end(cluster: Cluster, node: Node) -> None:
    begun = time.monotonic()
    fault = cluster.disk.inject("error", node, lba=AREA, seconds=1.5)
    assert f"disk-error #{fault.numbers[0]}" in cluster.view.faults[node.id]
    cluster.wait(
        lambda view: "the fault is still there" if view.faults.get(node.id) else None, 30, about="fault of 1.5 s ends"
    )
    assert time.monotonic() - begun >= 1.5
    assert dd_write(node, FREE + 80, "healed") == 0
