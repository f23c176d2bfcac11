"""The mount of the shared file system in a real guest: what the shell asks of it, and its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

LIMIT_S = 120.0  # on a busy host without KVM

USE = """
set -e
cd /shared
echo one >file && echo two >>file && mv file moved && ln -s moved link && cat link
dd if=/dev/urandom of=big bs=256k count=2 conv=fsync 2>/dev/null && cp big copy && cmp big copy && rm copy
mkdir directory && chmod 750 directory && stat -c '%a %F' directory && rmdir directory
cat >lock.py <<'END'
import fcntl
with open("moved") as one, open("moved") as other:
    fcntl.flock(one, fcntl.LOCK_EX)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("locked")
END
python3.11 -S lock.py
df . | tail -1 | awk '{ print $1, $6 }'
"""


@pytest.fixture
def cluster() -> Iterator[ScenarioCluster]:
    cluster = ScenarioCluster.up(make_config(name=f"t-mount-{os.getpid()}", nodes=2))
    try:
        cluster.wait_joined()
        yield cluster
    finally:
        cluster.down()


def wait_for(node: Node, command: str, expected: str) -> None:
    """Until the command prints that."""
    end = time.monotonic() + LIMIT_S
    while (printed := node.ssh(command).stdout.strip()) != expected:
        assert time.monotonic() < end, f"{command!r} prints {printed!r} and not {expected!r}"
        time.sleep(0.5)


def test_a_guest_has_what_a_mount_needs_and_its_end_takes_the_mount_away(cluster: ScenarioCluster) -> None:
    node = cluster.nodes[0]
    wait_for(node, "grep -c ' /shared fuse' /proc/mounts; true", "1")
    said = node.ssh(USE, timeout=LIMIT_S).stdout
    assert said.splitlines() == ["one", "two", "750 directory", "locked", f"hil:{cluster.name} /shared"]
    # init takes the mount away when guestd has ended, whoever has mounted it.
    node.ssh("kill -KILL $(pidof python3.11 | tr ' ' '\\n' | sort -n | head -1)")
    wait_for(node, "grep -c /shared /proc/mounts; true", "0")
    assert node.ssh("ls -A /shared; touch /shared/file 2>&1; true").stdout.strip().endswith("Read-only file system")
