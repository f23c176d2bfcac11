"""The guest image: built twice, measured, and booted under plain QEMU with a stand-in for guestd."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import images
from hil.machine import speed_factor
from images import cpio
from images.image import FILES, cache_directory
from images.packages import PackageStore

pytestmark = pytest.mark.lab

BUILD_SECONDS_MAX = 90.0 * speed_factor("kvm")
IMAGE_SIZE_MAX = 200_000_000
NODE = 1

STAND_IN = """
import json, os, sys
def main() -> int:
    config = json.load(open("/run/hil/config.json"))
    print("STAND-IN", os.environ["HIL_STAGES"], open("/proc/uptime").read().split()[0], sys.flags.isolated, flush=True)
    return config["status"]
"""


def make_guestd(directory: Path) -> Path:
    """A package guestd that reports its stages on the console and ends with the status in its configuration."""
    (directory / "guestd/runtime/event_manager").mkdir(parents=True)
    for package in ("guestd", "guestd/runtime", "guestd/runtime/event_manager"):
        (directory / package / "__init__.py").write_text("")
    (directory / "guestd/runtime/event_manager/main.py").write_text("def main() -> int:\n    return 0\n")
    (directory / "guestd/runtime/main.py").write_text(STAND_IN)
    return directory / "guestd"


def seed_packages(cache: Path) -> Path:
    """Give a fresh cache the packages of the user's cache: the network is not what is tested here."""
    users = PackageStore(cache_directory() / "packages")
    locked = users.read_lock() or users.resolve(lambda stage, done, total: None)
    users.fetch(locked, lambda stage, done, total: None)
    mine = PackageStore(cache / "packages")
    mine.apt.prepare()
    for package in locked:
        os.symlink(users.path(package), mine.path(package))
    mine.lock_path.write_bytes(users.lock_path.read_bytes())
    return cache


@pytest.fixture(scope="module")
def guestd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_guestd(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, guestd: Path) -> images.Image:
    return images.build(cache=seed_packages(tmp_path_factory.mktemp("cache")), guestd=guestd)


def test_the_same_inputs_give_the_same_bytes(image: images.Image, tmp_path: Path, guestd: Path) -> None:
    old = os.umask(0o077)
    try:
        again = images.build(cache=seed_packages(tmp_path / "another"), guestd=guestd)
    finally:
        os.umask(old)
    assert again.digest == image.digest
    assert again.manifest == image.manifest
    for name in FILES:
        assert (again.path / name).read_bytes() == (image.path / name).read_bytes(), name


def test_a_build_stays_within_its_time_and_size(tmp_path: Path, guestd: Path) -> None:
    cache = seed_packages(tmp_path)
    stages: list[str] = []
    start = time.monotonic()
    built = images.build(cache=cache, guestd=guestd, progress=lambda stage, done, total: stages.append(stage))
    assert time.monotonic() - start < BUILD_SECONDS_MAX
    assert built.size < IMAGE_SIZE_MAX
    assert set(stages) <= set(images.STAGES)
    assert [image.digest for image in images.list_images(cache)] == [built.digest]


def test_a_change_of_guestd_rebuilds_the_root_only(image: images.Image, tmp_path: Path) -> None:
    changed = make_guestd(tmp_path)
    (changed / "more.py").write_text("NUMBER = 1\n")
    stages: set[str] = set()
    cache = image.path.parent.parent
    other = images.ensure(lambda stage, done, total: stages.add(stage), guestd=changed, cache=cache)
    assert other.digest != image.digest
    assert stages == {"initramfs", "root"}
    assert images.ensure(guestd=changed, cache=cache).path == other.path


def test_a_syntax_error_in_guestd_is_shown(tmp_path: Path, image: images.Image) -> None:
    broken = make_guestd(tmp_path)
    (broken / "broken.py").write_text("def f(:\n")
    with pytest.raises(images.BuildError, match=r"broken\.py"):
        images.build(guestd=broken, cache=image.path.parent.parent)


def dropbear_key(key: Ed25519PrivateKey) -> bytes:
    """An Ed25519 host key in dropbear's own form: the type, then seed and public key as one string."""
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", private + public))


class Guest:
    """A machine with the image, emulated; its console as lines, its guestd port as a socket."""

    def __init__(self, image: images.Image, directory: Path, config: dict[str, Any]) -> None:
        user, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.key = paramiko.Ed25519Key.from_private_key_file(str(self.write_key(directory / "id", user)))
        authorized = user.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        files = [
            cpio.directory("hil"),
            cpio.regular("hil/config.json", json.dumps(config).encode()),
            cpio.regular("hil/authorized_keys", authorized + b"\n"),
            cpio.regular("hil/dropbear_ed25519_host_key", dropbear_key(host)),
        ]
        (directory / "initrd").write_bytes(image.initrd.read_bytes() + cpio.pack(files))
        self.port = directory / "port"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.ssh_port = int(probe.getsockname()[1])
        forward = f"hostfwd=tcp:127.0.0.1:{self.ssh_port}-10.78.0.{NODE + 1}:22"
        argv = f"""qemu-system-x86_64 -nodefaults -display none -no-reboot -machine q35,accel=tcg -cpu max -m 256
            -kernel {image.vmlinux} -initrd {directory}/initrd -serial stdio
            -drive file={image.root},format=raw,if=none,id=root,readonly=on -device virtio-blk-pci,drive=root
            -chardev socket,id=port,path={self.port},server=on,wait=off
            -device virtio-serial-pci -device virtserialport,chardev=port,name=hil.guestd -device virtio-scsi-pci
            -netdev user,id=net,net=10.78.0.0/24,host=10.78.0.254,dns=10.78.0.253,{forward}
            -device virtio-net-pci,netdev=net,mac=52:54:00:78:00:0{NODE + 1}
            -netdev hubport,id=lan,hubid=1 -device virtio-net-pci,netdev=lan,mac=52:54:00:77:00:0{NODE + 1}""".split()
        self.process = subprocess.Popen(
            [*argv, "-append", f"console=ttyS0 quiet hil.node={NODE}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []
        self.arriving: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    @staticmethod
    def write_key(path: Path, key: Ed25519PrivateKey) -> Path:
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        return path

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.arriving.put(line.rstrip())
        self.arriving.put(None)

    def wait_line(self, text: str, seconds: float = 60) -> str:
        """The next console line with ``text`` in it; fails with the console when the machine ends before."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self.arriving.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                break
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no console line with {text!r}; the console:\n" + "\n".join(self.lines[-40:]))

    def connect(self, seconds: float = 60) -> paramiko.SSHClient:
        """guestd starts first, and nothing tells from outside that SSH listens: until then a connection is reset."""
        deadline = time.monotonic() + seconds
        while True:
            client = paramiko.SSHClient()
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            try:
                client.connect(
                    "127.0.0.1",
                    self.ssh_port,
                    "root",
                    pkey=self.key,
                    look_for_keys=False,
                    allow_agent=False,
                    timeout=30,
                )
            except paramiko.AuthenticationException:
                raise
            except (paramiko.SSHException, OSError):
                client.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return client

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def guest(image: images.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A node whose guestd has ended with status 7."""
    guest = Guest(image, tmp_path_factory.mktemp("guest"), {"status": 7})
    try:
        yield guest
    finally:
        guest.close()


def run(client: paramiko.SSHClient, command: str) -> tuple[str, int]:
    _, out, err = client.exec_command(command, timeout=30)
    text = (out.read() + err.read()).decode()
    return text, out.channel.recv_exit_status()


def test_a_node_boots_to_guestd_and_outlives_it(guest: Guest) -> None:
    words = guest.wait_line("STAND-IN").split()
    stages = {name: float(value) for name, value in (word.split("=") for word in words if "=" in word)}
    assert list(stages) == ["initramfs", "modules", "root", "init", "interpreter"]
    assert list(stages.values()) == sorted(stages.values())
    assert words[-1] == "1", "guestd runs isolated (-I)"
    guest.wait_line("guestd ended with status 7")
    with socket.socket(socket.AF_UNIX) as port:
        port.settimeout(30)
        port.connect(str(guest.port))
        with port.makefile() as lines:
            assert lines.readline() == "\n", "what a killed guestd left of a line ends here"
            assert json.loads(lines.readline()) == {"kind": "guestd-exited", "status": 7}
    assert guest.process.poll() is None


def test_a_person_finds_a_usable_node_over_ssh(guest: Guest) -> None:
    with guest.connect() as client:
        for command, expected in (
            ("hostname", f"n{NODE}"),
            ("ip -brief address show", f"10.77.0.{NODE + 1}/24"),
            ("ip -brief address show", f"10.78.0.{NODE + 1}/24"),
            ("modprobe sch_netem && tc qdisc add dev lo root netem delay 1ms && tc qdisc show dev lo", "netem"),
            (
                "python3 -c 'import asyncio, hashlib, json, readline; print(hashlib.sha256(b\"\").hexdigest()[:8])'",
                "e3b0c442",
            ),
            ("sg_persist --version 2>&1", "version"),
            ("cat /sys/class/virtio-ports/*/name", "hil.guestd"),
            ("touch /tmp/a /run/a /var/a && echo written", "written"),
            ("lsmod", "pvpanic_mmio"),
            ("ls -ld /run/hil", "drwx------"),
        ):
            text, status = run(client, command)
            assert expected in text, f"{command}: {text}"
            assert status == 0, command
        text, status = run(client, "touch /etc/a")
        assert "Read-only file system" in text
        assert status == 1
        # A connection of its own: paramiko may speak of a channel that it has closed, and dropbear then hangs up
        # ("Exit: Unknown channel"), which the next command over the same connection would meet.
        with guest.connect() as other, other.open_sftp() as sftp, sftp.open("/tmp/copied", "w") as file:
            file.write("x")
        assert run(client, "cat /tmp/copied")[0] == "x"
        run(client, "for i in 1 2 3; do (true &); done")  # orphans: process 1 inherits them
        assert "\nZ" not in run(client, "ps -o stat,args")[0], "process 1 reaps"


def test_no_password_opens_a_node(guest: Guest) -> None:
    with guest.connect() as client:
        transport = client.get_transport()
        assert transport is not None
    with paramiko.SSHClient() as stranger:
        stranger.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            stranger.connect("127.0.0.1", guest.ssh_port, "root", password="", look_for_keys=False, allow_agent=False)
    assert refused.value.allowed_types == ["publickey"]


def goes_off(image: images.Image, directory: Path) -> None:
    """A machine whose guestd has left right after its boot."""
    guest = Guest(image, directory, {"status": 0})
    try:
        guest.wait_line("guestd has left the cluster: power off")
        assert guest.process.wait(timeout=30) == 0
    finally:
        guest.close()


def test_guestd_that_left_the_cluster_switches_the_machine_off(image: images.Image, tmp_path: Path) -> None:
    goes_off(image, tmp_path)


def test_an_interactive_shell_says_where_it_is_and_has_the_real_ip(guest: Guest) -> None:
    with guest.connect() as client, client.invoke_shell(term="xterm") as channel:
        channel.settimeout(30)
        channel.send(b"ip -V; exit\n")
        seen = b""
        while part := channel.recv(4096):
            seen += part
    assert f"n{NODE}:".encode() in seen
    assert b"iproute2" in seen
