"""A whole living cluster is saved, killed, and goes on; what cannot be saved or restored is refused by name."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil import checkpoint
from hil.client import Cluster
from hil.config import make_config
from hil.errors import LaboratoryError, UnknownCheckpoint, UsageError
from hil.scenario import ScenarioCluster
from hil.scsi.ledger import read_ledger

NODES = 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of three joined nodes; the cluster is gone."""
    cluster = ScenarioCluster.up(make_config(name=f"t-saved-{os.getpid()}", nodes=NODES))
    try:
        cluster.wait_joined()
        path = tmp_path_factory.mktemp("checkpoints") / "joined"
        before = cluster.view.n
        standing = cluster.view.epoch, cluster.view.master
        assert cluster.checkpoint(path) == path
        with pytest.raises(UsageError, match="checkpoint joined exists"):
            cluster.checkpoint(path)
        assert lives_on(cluster) == standing, "the cluster goes on after it was saved"
        assert not [event for event in cluster.events(before) if event["kind"] in ("silent", "events-lost", "garbage")]
    finally:
        cluster.down()
    yield path
    shutil.rmtree(path)


def standing(saved: Path) -> tuple[int, int | None]:
    """Epoch and master at the time of the checkpoint."""
    manifest = checkpoint.load(saved, verify=False).manifest
    return manifest.epoch, manifest.master


@contextmanager
def restored(saved: Path, name: str) -> Iterator[ScenarioCluster]:
    cluster = ScenarioCluster.restored(saved, f"{name}-{os.getpid()}")
    try:
        yield cluster
    finally:
        cluster.down()


def lives_on(cluster: Cluster, rounds: int = 3) -> tuple[int, int | None]:
    """Epoch and master after every node has written its heartbeat some more times; a quiet cluster has no events."""
    ledger = cluster.run_dir / "ledger.bin"
    have = sum(1 for _ in read_ledger(ledger))
    deadline = time.monotonic() + 120
    while True:
        new = [one.nexus.number for one in itertools.islice(read_ledger(ledger), have, None) if one.writes]
        if min(map(new.count, range(NODES))) >= rounds:
            break
        assert time.monotonic() < deadline, f"not every node has written: {new}"
        time.sleep(0.1)
    cluster.catch_up()
    assert [node.view.state for node in cluster.nodes] == ["joined"] * NODES
    return cluster.view.epoch, cluster.view.newest.master


def guest_numbers(events: list[dict[str, Any]], node: int) -> list[int]:
    """The guest's own numbers of all its events since its guestd started."""
    numbers = [event["guest_n"] for event in events if event.get("node") == node and "guest_n" in event]
    return numbers[len(numbers) - numbers[::-1].index(1) - 1 :]


def test_a_restored_cluster_goes_on_as_if_nothing_had_happened(saved: Path) -> None:
    with restored(saved, "t-goes-on") as cluster:
        assert lives_on(cluster) == standing(saved)
        assert [node.view.incarnation for node in cluster.nodes] == [1] * NODES
        cluster.shutdown(cluster.nodes[2])  # orders are still numbered as the guest expects
        cluster.wait_off(cluster.nodes[2])
        events = list(cluster.events())
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)
    assert not [event for event in events if event["kind"] in ("silent", "events-lost", "garbage", "panic")]
    for node in range(NODES):
        assert guest_numbers(events, node) == list(range(1, len(guest_numbers(events, node)) + 1))
    old = json.loads((saved / "events.jsonl").read_text().splitlines()[1])
    assert events[1] == old
    assert events[0]["cluster"] == cluster.name


def power_failure_of_one(cluster: ScenarioCluster) -> None:
    victim = cluster.any_other(cluster.nodes[0])
    cluster.power_off([victim])
    cluster.wait_state(victim, "inactive")
    cluster.power_on([victim])
    cluster.wait_joined()
    assert victim.view.incarnation == 2


def silent_cut(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[2]
    with cluster.expecting_panic(victim, "forced out"):
        cluster.cut_link(victim, "silent")


def hang(cluster: ScenarioCluster) -> None:
    victim = cluster.nodes[1]
    with cluster.expecting_panic(victim, "forced out"):
        cluster.disk.inject("hang", [victim])
        cluster.wait_state(victim, "inactive")
        cluster.disk.heal([victim])


@pytest.mark.parametrize("fault", [power_failure_of_one, silent_cut, hang])
def test_a_fault_after_a_restore_has_its_own_victim_and_no_other(
    saved: Path, fault: Callable[[ScenarioCluster], None]
) -> None:
    with restored(saved, "t-fault") as cluster:
        fault(cluster)
        cluster.check_panics()


def test_the_same_cluster_goes_back(saved: Path) -> None:
    with restored(saved, "t-back") as cluster:
        panicked = cluster.nodes[1]
        with cluster.expecting_panic(panicked):
            cluster.panic(panicked)
        with pytest.raises(UsageError, match="node 1 is crashed"):
            cluster.checkpoint(saved.parent / "crashed")
        cluster.restore(saved)
        assert lives_on(cluster) == standing(saved)
        cluster.check_panics()  # the panic was of a past that is undone

        cluster.disk.inject("slow", cluster.nodes[0], ms=1)
        with pytest.raises(UsageError, match=r"faults are in force \(0: disk-slow"):
            cluster.checkpoint(saved.parent / "faulty")
        cluster.disk.heal([cluster.nodes[0]])

        cluster.power_off([cluster.nodes[2]])
        cluster.wait_state(cluster.nodes[2], "inactive")
        cluster.checkpoint(saved.parent / "two-on")
        cluster.checkpoint(saved.parent / "two-on", replace=True)
        assert not (saved.parent / "two-on" / "replaced").exists()
        cluster.restore(saved.parent / "two-on")
        assert cluster.nodes[2].view.power == "off"
        cluster.power_on([cluster.nodes[2]])
        cluster.wait_joined()
        assert cluster.nodes[2].view.incarnation == 2
    assert not (saved.parent / "crashed").exists()
    assert sorted(path.name for path in saved.parent.iterdir()) == ["joined", "two-on"]


def copy(saved: Path, target: Path) -> Path:
    subprocess.run(["cp", "-r", "--sparse=always", str(saved), str(target)], check=True)
    return target


def of_another_image(path: Path) -> None:
    edit(path, image="0" * 64)


def of_another_qemu(path: Path) -> None:
    edit(path, versions="QEMU 1")


def half_written(path: Path) -> None:
    (path / checkpoint.MANIFEST).unlink()


def cut_short(path: Path) -> None:
    os.truncate(path / "n1.memory", 1_000_000)


def changed(path: Path) -> None:
    with open(path / "disk.raw", "r+b") as disk:
        disk.seek(2**20)
        disk.write(b"!")


def edit(path: Path, **fields: Any) -> None:
    told = json.loads((path / checkpoint.MANIFEST).read_text())
    (path / checkpoint.MANIFEST).write_text(json.dumps(told | fields))


@pytest.mark.parametrize(
    ("spoil", "words", "error"),
    [
        (of_another_image, "checkpoint spoilt was saved with image 000000000000, and this checkout's is", UsageError),
        (of_another_qemu, "checkpoint spoilt was saved with another QEMU or libvirt", LaboratoryError),
        (half_written, "checkpoint spoilt is damaged or was never completed", UsageError),
        (cut_short, r"checkpoint spoilt is damaged: n1\.memory changed", UsageError),
        (changed, r"checkpoint spoilt is damaged: disk\.raw changed", UsageError),
    ],
)
def test_what_is_of_no_use_is_refused_by_name(
    saved: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str, error: type[Exception]
) -> None:
    path = copy(saved, tmp_path / "spoilt")
    spoil(path)
    with pytest.raises(error, match=words):
        ScenarioCluster.restored(path, f"t-spoilt-{os.getpid()}")


def test_a_cluster_goes_back_to_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    cluster = ScenarioCluster.up(make_config(name=f"t-back-{os.getpid()}", nodes=2))
    try:
        cluster.wait_joined()
        cluster.checkpoint(tmp_path / "own")
        for _ in range(2):
            cluster.power_off([cluster.nodes[1]])
            cluster.wait_state(cluster.nodes[1], "inactive")
            cluster.restore(tmp_path / "own")
            cluster.wait_joined()
            assert [node.view.incarnation for node in cluster.nodes] == [1, 1]
    finally:
        cluster.down()


def test_an_unknown_checkpoint_and_one_of_another_shape_are_refused(saved: Path) -> None:
    with pytest.raises(UnknownCheckpoint, match="no checkpoint 'nowhere'; there are: joined"):
        ScenarioCluster.restored(saved.parent / "nowhere")
    cluster = ScenarioCluster.up(make_config(name=f"t-shape-{os.getpid()}", nodes=2))
    try:
        with pytest.raises(UsageError, match=r"of a cluster of another shape \(nodes differ\)"):
            cluster.restore(saved)
        cluster.wait_joined()
    finally:
        cluster.down()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 50 MB, mounted before the bench makes its mount namespace."""
    if os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "small", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_stops_the_saving_and_not_the_cluster(saved: Path, small: Path) -> None:
    with restored(saved, "t-full") as cluster:
        with pytest.raises(LaboratoryError, match=r"cannot be saved: .*No space left on device"):
            cluster.checkpoint(small / "full")
        assert list(small.iterdir()) == []
        assert lives_on(cluster) == standing(saved)
        cluster.check_panics()
