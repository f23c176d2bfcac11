"""Clusters that begin from saved machines: nothing is shared that must not be, and what is damaged is made anew."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil import warm
from hil.client import Cluster
from hil.config import make_config

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No machine is saved yet; images, packages and what was measured are the user's."""
    theirs = warm.directory().parent
    mine = tmp_path_factory.mktemp("cache") / "hil"
    mine.mkdir()
    for path in theirs.iterdir():
        if path.name != warm.directory().name:
            (mine / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(mine.parent))
        yield warm.directory()


@contextmanager
def up(*, cold: bool = False) -> Iterator[Cluster]:
    config = make_config(name=f"t-warm-{os.getpid()}-{next(_numbers)}", nodes=2)
    cluster = Cluster.up(config, cold=cold)
    try:
        cluster.wait_joined()
        yield cluster
    finally:
        cluster.down()


def starts(cluster: Cluster) -> list[bool]:
    """Of each first start of a node, whether it was from a saved machine."""
    events = [event for event in cluster.events() if event["kind"] == "machine-starting"]
    return [event.get("saved", False) for event in sorted(events[:2], key=lambda event: int(event["node"]))]


def randomness(cluster: Cluster) -> list[str]:
    """What each node drew from its kernel's generator, first when it began and then when somebody logs in."""
    first = [str(event["start"]) for event in cluster.events() if event["kind"] == "guestd-started"]
    return first + [node.ssh("head -c 8 /dev/urandom | od -An -tx1").stdout.replace(" ", "") for node in cluster.nodes]


def test_a_cold_start_uses_and_makes_no_saved_machine(cache: Path) -> None:
    with up(cold=True) as cluster:
        assert starts(cluster) == [False, False]
        clock = cluster.nodes[0].ssh("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").stdout
        # A clock whose rate was measured during the boot would be kept, wrong, by every machine that is saved.
        expected = {"tcg": "hpet", "kvm": "kvm-clock"}
        assert clock.strip() == expected[cluster.settings["settings"]["accelerator"]]
    assert not cache.exists()


def test_the_first_start_saves_its_nodes_and_later_ones_begin_from_them() -> None:
    with up() as cluster:
        assert starts(cluster) == [False, False]
        assert [event["saved"] for event in cluster.events() if event["kind"] == "machine-saved"] == [True, True]
        drawn = randomness(cluster)
    assert [entry.node for entry in warm.entries()] == [0, 1]
    assert sum(entry.size for entry in warm.entries()) < 200_000_000

    for _ in range(2):
        with up() as cluster:
            assert starts(cluster) == [True, True]
            drawn += randomness(cluster)
            for node in cluster.nodes:
                clock_s = float(node.ssh("python3 -IS -c 'import time; print(time.time())'").stdout)
                assert abs(clock_s - time.time()) < 5  # an emulated node takes its time to answer
                assert node.view.incarnation == 1
            told = [event for event in cluster.events() if event["kind"] in ("events-lost", "garbage", "machine-saved")]
            assert told == []
    assert [len(one.strip()) for one in drawn] == [16] * 12
    assert len(set(drawn)) == len(drawn), "two nodes, or two starts, share their randomness"


def test_a_power_cycle_and_a_reset_are_real_boots_of_this_cluster() -> None:
    with up() as cluster:
        assert starts(cluster) == [True, True]
        for node in cluster.nodes:
            if node.id == 0:
                cluster.power_cycle([node])
            else:
                cluster.reset(node)
            cluster.wait_joined()
            started = [event for event in cluster.events() if event["kind"] == "guestd-started"][-1]
            assert started["node"] == node.id
            assert started["stages"].keys() >= {"initramfs", "modules", "root", "python"}
            assert node.view.incarnation == 2
            assert node.ssh("hostname").stdout.strip() == f"n{node.id}"


def test_the_machine_that_was_saved_can_be_reset_and_leaves_like_any_other(cache: Path) -> None:
    warm.discard(warm.entries()[1].path.name)
    with up() as cluster:
        assert starts(cluster) == [True, False]
        cluster.reset(cluster.nodes[1])  # its firmware still has the initrd of a machine that waits
        cluster.wait_joined()
        assert cluster.nodes[1].view.incarnation == 2
        cluster.shutdown(cluster.nodes[1])
        cluster.wait_off(cluster.nodes[1])


def truncate(memory: Path) -> None:
    os.truncate(memory, 1000)


def of_another_format(memory: Path) -> None:
    """Whole by its digest, and nothing that libvirt can restore."""
    name = memory.parent.name
    warm.discard(name)
    with warm.saving(name, 0, "?") as path:
        path.write_bytes(b"no machine")


@pytest.mark.parametrize("damage", [truncate, of_another_format])
def test_a_damaged_entry_is_found_out_and_made_anew(damage: Callable[[Path], None]) -> None:
    entry = warm.entries()[0]
    damage(entry.path / warm.MEMORY)
    with up() as cluster:
        assert not starts(cluster)[0] or any(
            event["kind"] == "machine-stopped" and event["detail"] == "failed" for event in cluster.events()
        )
        assert [event["node"] for event in cluster.events() if event["kind"] == "machine-saved"] == [0]
    with up() as cluster:
        assert starts(cluster) == [True, True]
