"""A real guest mounts a file system through FUSE at /shared; the one that answers from memory, for the mount's sake."""

from __future__ import annotations

import base64
import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.client import Node
from hil.config import make_config
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

UNIT = Path(__file__).parents[1] / "unit"
HOME = "/tmp/mount"  # in the guest
LIMIT_S = 120.0  # on a busy host without KVM

SERVE = f"""
mkfifo {HOME}/in
cd {HOME}
PYTHONPATH={HOME}:/usr/lib/hil setsid python3.11 -m tests.unit.mount_server /shared <{HOME}/in >{HOME}/out 2>&1 &
setsid sleep 10000 >{HOME}/in 2>/dev/null </dev/null &
echo $!
"""

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


def serve(node: Node) -> None:
    node.ssh(f"mkdir -p {HOME}/tests/unit")
    for name in ("mount_locks.py", "mount_memory.py", "mount_server.py"):
        # Packed: dropbear takes no command of more than 9000 bytes.
        packed = base64.b64encode(gzip.compress((UNIT / name).read_bytes())).decode()
        node.ssh(f"echo {packed} | base64 -d | gunzip >{HOME}/tests/unit/{name}")
    node.ssh(SERVE)
    wait_for(node, f"cat {HOME}/out", "mounted")


def test_a_guest_has_what_a_mount_needs_and_its_end_takes_the_mount_away(cluster: ScenarioCluster) -> None:
    node = cluster.nodes[0]
    serve(node)
    said = node.ssh(USE, timeout=LIMIT_S).stdout
    assert said.splitlines() == ["one", "two", "750 directory", "locked", "memory0 /shared"]
    # init takes the mount away when guestd has ended, whoever has mounted it.
    node.ssh("kill -KILL $(pidof python3.11 | tr ' ' '\\n' | sort -n | head -1)")
    wait_for(node, "grep -c /shared /proc/mounts; true", "0")
    assert node.ssh("ls -A /shared; touch /shared/file 2>&1; true").stdout.strip().endswith("Read-only file system")
