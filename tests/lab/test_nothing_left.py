"""Killed or taken down, a bench leaves nothing on the host (spec S10.1)."""

import contextlib
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil import Cluster
from hil.bench import address
from hil.config import make_config
from hil.errors import HilError
from hil.machine import speed_factor

pytestmark = pytest.mark.lab

GONE_WITHIN_S = 2.0 * speed_factor("kvm")


def processes_of(name: str) -> dict[int, str]:
    """Every process of this host that carries the cluster's name in its command line, but for the test's own."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if name in command:
                    found[int(entry.name)] = command
    return found


def namespaces_of(pids: Iterator[int] | list[int]) -> set[str]:
    """The PID and network namespaces of ``pids`` other than our own."""
    found = set()
    for pid in pids:
        for kind in ("pid", "net"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found - {os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net")}


def who_is_in(namespaces: set[str]) -> list[str]:
    """Everybody in one of ``namespaces``, by the kernel's own name: one that is dying has no command line any more."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and namespaces & namespaces_of([int(entry.name)]):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                # Z: dead, and for the host's own process 1 to collect. Some take a second or two over that.
                if state != "Z":
                    found.append(f"process {entry.name} in the namespaces: {(entry / 'stat').read_text()[:40]}")
    return found


def what_is_left(name: str, namespaces: set[str], run_dir: Path) -> list[str]:
    left = [f"process {pid}: {command}" for pid, command in processes_of(name).items()]
    left += who_is_in(namespaces)
    left += [f"socket {name}"] if name in address.running_clusters() else []
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(run_dir) in line]
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    left += [
        line for line in links.splitlines() if line.split("@")[0].split()[0] in ("interconnect", "management", "ic0")
    ]
    left += [f"socket {path}" for path in run_dir.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]
    return left


def outermost(name: str) -> int:
    """The bench's outermost process: the `unshare` that `hil up` started."""
    return min(pid for pid, command in processes_of(name).items() if command.startswith("unshare "))


def bench_itself(name: str) -> int:
    return next(
        pid for pid, command in processes_of(name).items() if "-m hil.bench" in command and "tini" not in command
    )


# (seed of the moment, who is killed). Moments are spread over boot and join: the seed makes them the same each time.
# HIL_KILLS=20 tries more of them.
MOMENTS = [(seed, "bench" if seed % 2 else "unshare") for seed in range(int(os.environ.get("HIL_KILLS", "6")))]


@pytest.mark.parametrize(("seed", "whom"), MOMENTS)
def test_sigkill_at_any_moment_leaves_nothing_and_the_name_is_free(seed: int, whom: str) -> None:
    name = f"t-killed-{os.getpid()}"
    cluster = Cluster.up(make_config(name=name, nodes=2))
    events_seen = random.Random(seed).randint(1, 60)
    # The moment is a number of events, not of seconds: it means the same on a fast machine and on a slow one.
    with contextlib.suppress(HilError):
        cluster.wait(lambda view: None if view.n >= events_seen else "too early", 120, about="the moment")
    victim = outermost(name) if whom == "unshare" else bench_itself(name)
    namespaces = namespaces_of(list(processes_of(name)))
    assert namespaces
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    deadline = killed + GONE_WITHIN_S
    while (left := what_is_left(name, namespaces, cluster.run_dir)) and time.monotonic() < deadline:
        time.sleep(0.02)  # the kernel tears namespaces down without telling anybody
    cluster.close()
    print(f"gone after {time.monotonic() - killed:.3f} s, killed at event {cluster.view.n}")
    assert not left
    with address.listen(name):
        pass


def test_down_leaves_nothing_and_the_same_name_works_again() -> None:
    name = f"t-down-{os.getpid()}"
    for _ in range(2):
        cluster = Cluster.up(make_config(name=name, nodes=2))
        namespaces = namespaces_of(list(processes_of(name)))
        cluster.wait_joined()
        cluster.down()
        assert not what_is_left(name, namespaces, cluster.run_dir)


def test_a_cluster_that_lost_its_bench_says_so_with_its_log() -> None:
    name = f"t-orphan-{os.getpid()}"
    cluster = Cluster.up(make_config(name=name, nodes=2))
    os.kill(outermost(name), signal.SIGKILL)
    with pytest.raises(HilError, match=f"bench of '{name}' died"):
        cluster.wait_joined(timeout=60)
    cluster.close()
