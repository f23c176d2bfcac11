"""What goes wrong around the machines of a real cluster: it is told at once, and the next power cycle mends it."""

import contextlib
import fcntl
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

import images
from hil import Cluster
from hil.bench.launch import launch
from hil.bench.start import timing_settings
from hil.config import make_config
from hil.errors import GuestdExited, HilError, LaboratoryError, MachineLost, UsageError
from hil.machine import speed_factor
from hil.scsi.ledger import read_ledger

pytestmark = pytest.mark.lab

AT_ONCE_S = 10.0 * speed_factor("kvm")
"""The limits of the waits below are far longer: a wait that ends within this has not run into one."""


def process(cluster: Cluster, *words: str) -> int:
    """The one process of this host with the cluster's name and ``words`` in its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
            if all(word in command for word in (cluster.name, *words)):
                found.append(int(entry.name))
    assert len(found) == 1
    return found[0]


def test_a_qemu_that_was_killed_is_a_machine_that_is_off_and_can_be_switched_on(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    os.kill(process(cluster, f"guest={cluster.name}-n1,"), signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(MachineLost, match="node 1's machine is off"):
        cluster.wait(lambda view: "for ever", 300, about="nothing", alive=[node])
    assert time.monotonic() - begun < AT_ONCE_S
    assert cluster.power_on([node])["changed"] == [1]
    cluster.wait_joined()


def test_the_plug_is_pulled_at_once_also_from_a_qemu_that_is_stopped(cluster: Cluster) -> None:
    os.kill(process(cluster, f"guest={cluster.name}-n1,"), signal.SIGSTOP)
    begun = time.monotonic()
    cluster.power_off([cluster.nodes[1]])
    assert time.monotonic() - begun < AT_ONCE_S / 2  # libvirt alone would give it ten seconds to end by itself
    (last,) = [event for event in cluster.events() if event["kind"] == "machine-stopped"][-1:]
    assert last["detail"] == "destroyed"


def test_a_power_failure_flushes_nothing(cluster: Cluster) -> None:
    def flushes() -> int:
        return sum(entry.name.startswith("SYNCHRONIZE CACHE") for entry in read_ledger(cluster.run_dir / "ledger.bin"))

    for node in cluster.nodes:  # from now on no guest flushes; its QEMU still could
        cluster.freeze(node)
    before = flushes()
    cluster.power_off()
    assert flushes() == before


def test_a_shutdown_ordered_before_guestd_runs_is_carried_out_when_it_does_and_the_next_one_too(
    cluster: Cluster,
) -> None:
    node = cluster.nodes[1]
    for _ in range(2):
        cluster.power_cycle([node])
        cluster.shutdown(node)
        cluster.wait_off(node)


def test_a_guestd_that_started_anew_on_the_same_line_takes_orders(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    cluster.reset(node)
    cluster.caller.call("panic", nodes=[1], reason="first")  # waits on the line for guestd, which takes it
    cluster.wait_crashed(node)
    assert node.view.panic_reason == "first"


def test_nobody_orders_a_guestd_that_has_ended_nor_waits_for_it(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    node.ssh("kill -9 $(pidof python3.11)")
    with pytest.raises(GuestdExited, match="guestd on node 1 ended with status"):
        cluster.wait_off(node, timeout=300)
    with pytest.raises(UsageError, match="node 1's guestd has ended; `hil power cycle 1`"):
        cluster.shutdown(node)


def test_a_connection_for_ssh_is_handed_over_as_a_blocking_one(cluster: Cluster) -> None:
    with cluster.nodes[0].open_ssh() as connected:
        assert not fcntl.fcntl(connected, fcntl.F_GETFL) & os.O_NONBLOCK
        assert connected.recv(4) == b"SSH-"


def test_verbs_that_contradict_each_other_leave_a_machine_that_the_next_power_cycle_mends(cluster: Cluster) -> None:
    failures: list[BaseException] = []

    def verbs(*order: str) -> None:
        with Cluster.connect(cluster.name) as mine:
            node = mine.nodes[1]
            for verb in order * 3:
                try:
                    getattr(mine, verb)([node] if verb.startswith("power") else node)
                except UsageError:
                    pass  # it happens to be off
                except HilError as error:
                    failures.append(error)

    orders = [("power_off", "power_on"), ("power_on", "reset"), ("cut_link", "heal_link"), ("power_cycle", "heal_link")]
    threads = [threading.Thread(target=verbs, args=order) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    node = cluster.nodes[1]
    cluster.heal_link(node)
    cluster.power_cycle([node])
    cluster.wait_joined()


def test_a_wait_ends_at_once_when_the_shared_disk_is_gone(cluster: Cluster) -> None:  # the last of this cluster
    os.kill(process(cluster, "hil.scsi"), signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(LaboratoryError, match="the SCSI target of the shared disk ended with status -9"):
        cluster.wait(lambda view: "for ever", 300, about="nothing")
    assert time.monotonic() - begun < AT_ONCE_S


def test_a_machine_that_qemu_cannot_start_ends_the_wait_with_qemus_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(images.ensure().path, broken)
    (broken / "vmlinux").write_bytes(b"no kernel" * 1000)
    config = make_config(name=f"t-no-kernel-{os.getpid()}", nodes=2)
    launch(config, {"accelerator": "tcg", "why": "test", "image": str(broken), **timing_settings(config, "tcg")})
    begun = time.monotonic()
    with (
        pytest.raises(HilError, match=r"cannot start the machine(.|\n)*kernel"),
        Cluster.connect(config.name) as cluster,
    ):
        cluster.wait_joined(timeout=120)
    assert time.monotonic() - begun < AT_ONCE_S
