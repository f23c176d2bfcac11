"""An ordinary user brings up a cluster: no root, no daemon, nothing on the host changed.

As root the test makes a user of its own (with subordinate ids, as `adduser` gives), and shows it a world-writable
`/dev/net/tun` in a mount namespace of its own, as most hosts have it. Run by an ordinary user, it uses that user.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import images

pytestmark = pytest.mark.lab

PROGRAM = """
import os, sys
from hil import Cluster, paths
from hil.config import make_config

assert os.getuid() != 0
cluster = Cluster.up(make_config(name="t-rootless", nodes=2))
try:
    cluster.wait_joined()
    assert cluster.nodes[1].ssh("id -u").stdout.strip() == "0"
    victim = cluster.any_other(cluster.master)  # of two halves the one with the master goes on
    cluster.cut_link(victim, "silent")
    cluster.wait_crashed(victim)
    assert all(path.stat().st_uid == os.getuid() for path in cluster.run_dir.iterdir())
finally:
    cluster.down()
print("rootless cluster joined")
"""


@pytest.fixture
def user() -> Iterator[str]:
    name = f"hil{os.getpid() % 100000}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture
def home(user: str) -> Path:
    """The user's home with a checkout and the image: what the user would have built, without building it again."""
    home = Path("~" + user).expanduser()
    checkout = Path(__file__).parents[2]
    for part in ("hil", "guestd", "images"):
        shutil.copytree(checkout / part, home / "checkout" / part, ignore=shutil.ignore_patterns("__pycache__"))
    image = images.ensure()
    shutil.copytree(image.path, home / ".cache" / "hil" / "images" / image.path.name)
    # The virtual environment's interpreter must be one that the user can reach, its packages are copied.
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    shutil.copytree(packages, home / "packages", ignore=shutil.ignore_patterns("__pycache__", "*.pth"))
    subprocess.run(["chown", "-R", f"{user}:", str(home)], check=True)
    return home


@pytest.mark.skipif(os.getuid() != 0, reason="run by an ordinary user: every other lab test is this test already")
def test_an_ordinary_user_brings_up_a_cluster(user: str, home: Path, tmp_path: Path) -> None:
    node = tmp_path / "tun"
    tun = f"mknod -m 0666 {node} c 10 200 && mount --bind {node} /dev/net/tun"
    path = f"PYTHONPATH={home}/checkout:{home}/packages PYTHONDONTWRITEBYTECODE=1"
    run = f"cd {home} && env -u XDG_CACHE_HOME -u XDG_STATE_HOME {path} /usr/bin/python3 -"
    command = ["unshare", "--mount", "--", "sh", "-c", f"{tun} && exec su {user} -c '{run}'"]
    done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rootless cluster joined" in done.stdout
