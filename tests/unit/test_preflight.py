"""What a host may lack, each shown to the checks as a small directory, and what to type then."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from hil import doctor, isolation, kvm, preflight
from hil.config import ClusterConfig
from hil.errors import PreflightFailed
from hil.host import Host, misc_device_number

TREE = Path(__file__).resolve().parents[2]

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
FEDORA = "ID=fedora\nVERSION_ID=40\n"

NEEDS = ClusterConfig()

REFUSED = "iSCSI: Failed to connect to LUN"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """An empty Debian without a single command, asked by root."""
    (tmp_path / "bin").mkdir()
    write(tmp_path, "etc/os-release", DEBIAN)
    return Host(
        root=tmp_path,
        user_id=0,
        user_name="root",
        command_path=str(tmp_path / "bin"),
        device_number=lambda _: None,
    )


def as_user(host: Host) -> Host:
    return dataclasses.replace(host, user_id=1000, user_name="ada")


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


def put_command(host: Host, name: str, script: str = "") -> None:
    """A real command on the host's path."""
    path = host.root / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_missing_qemu_is_a_problem_and_names_the_package(host: Host) -> None:
    found = preflight.qemu(host, NEEDS)
    assert found.grade == "problem"
    assert found.remedy == "apt-get install --no-install-recommends qemu-system-x86"


def test_an_ordinary_user_is_told_to_use_sudo(host: Host) -> None:
    assert preflight.qemu(as_user(host), NEEDS).remedy.startswith("sudo apt-get install ")


def test_another_distribution_is_not_told_to_type_apt_get(host: Host) -> None:
    write(host.root, "etc/os-release", FEDORA)
    remedy = preflight.qemu(host, NEEDS).remedy
    assert "apt-get" not in remedy
    assert "qemu-system-x86" in remedy


@pytest.mark.parametrize(("version", "grade"), [("7.2.22", "ok"), ("10.0.0", "ok"), ("6.2.0", "problem")])
def test_qemus_version_is_compared_as_numbers(host: Host, version: str, grade: str) -> None:
    put_command(host, preflight.QEMU, f"echo 'QEMU emulator version {version} (Debian)'")
    assert preflight.qemu(host, NEEDS).grade == grade


def test_a_qemu_that_does_not_start_is_a_problem_with_its_own_words(host: Host) -> None:
    put_command(host, preflight.QEMU, "echo 'libfdt.so.1: cannot open shared object file' >&2; exit 127")
    found = preflight.qemu(host, NEEDS)
    assert (found.grade, "libfdt.so.1" in found.text) == ("problem", True)


@pytest.mark.parametrize(("said", "grade"), [(REFUSED, "ok"), ("Unknown driver 'iscsi'", "problem")])
def test_the_iscsi_driver_is_there_if_qemu_got_as_far_as_connecting(host: Host, said: str, grade: str) -> None:
    put_command(host, preflight.QEMU, f'echo "{said}" >&2; exit 1')
    assert preflight.qemu_iscsi(host, NEEDS).grade == grade


def test_libvirt_needs_its_driver_and_on_debian_its_user(host: Host) -> None:
    write(host.root, "etc/passwd", "root:x:0:0::/:/bin/sh\n")
    assert "driver" in preflight.libvirt_driver(host, NEEDS).text
    write(host.root, "usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so", "")
    assert "libvirt-qemu" in preflight.libvirt_driver(host, NEEDS).text
    write(host.root, "etc/passwd", "libvirt-qemu:x:64055:106::/:/bin/false\n")
    assert preflight.libvirt_driver(host, NEEDS).grade == "ok"


def test_a_missing_tun_node_is_made_when_the_kernel_knows_the_device(host: Host) -> None:
    knows = dataclasses.replace(host, device_number=lambda name: (10, 200) if name == "tun" else None)
    assert "mknod -m 0666 /dev/net/tun c 10 200" in preflight.tun(knows, NEEDS).remedy
    assert preflight.tun(host, NEEDS).remedy == "modprobe tun"


def test_a_tun_node_that_cannot_be_opened_shows_its_mode(host: Host) -> None:
    (host.root / "dev/net/tun").mkdir(parents=True)  # for root, too, a directory cannot be opened for writing
    (host.root / "dev/net/tun").chmod(0o600)
    found = preflight.tun(as_user(host), NEEDS)
    assert (found.grade, "mode 0600" in found.text) == ("problem", True)
    assert found.remedy == "sudo chmod 0666 /dev/net/tun"


def test_all_missing_commands_are_named_with_one_line_to_type(host: Host) -> None:
    for name in ("tini", "ip", "unshare", "ssh"):
        put_command(host, name)
    found = preflight.commands(host, NEEDS)
    assert found.text == "missing: nft, mkfs.erofs"
    assert found.remedy.endswith("nftables erofs-utils")


@pytest.mark.parametrize(("free_kib", "grade"), [(4_000_000, "ok"), (300_000, "problem")])
def test_memory_must_hold_all_guests_at_once(host: Host, free_kib: int, grade: str) -> None:
    write(host.root, "proc/meminfo", f"MemTotal: 9000000 kB\nMemAvailable:   {free_kib} kB\n")
    assert preflight.memory(host, ClusterConfig(nodes=3, memory_mib=192)).grade == grade


def test_unknown_free_memory_is_only_a_notice(host: Host) -> None:
    assert preflight.memory(host, NEEDS).grade == "notice"


def test_a_disk_too_small_for_the_run_is_a_problem(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert preflight.disk_space(host, ClusterConfig(disk_mib=16)).grade in ("ok", "notice")
    found = preflight.disk_space(host, _Huge())
    assert found.grade == "problem"
    assert "XDG_STATE_HOME" in found.remedy


@pytest.mark.parametrize(("built", "grade"), [([], "problem"), (["an image"], "notice")])
def test_a_full_cache_is_a_problem_until_there_is_an_image(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: list[str], grade: str
) -> None:
    """apt-get was seen to hang for ever on it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(preflight, "free_mib", lambda path: 1 if "cache" in path else 10_000)
    monkeypatch.setattr("images.list_images", lambda: built)
    found = preflight.disk_space(host, NEEDS)
    assert (found.grade, "XDG_CACHE_HOME" in found.remedy) == (grade, True)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_STATE_HOME"])
def test_a_directory_that_cannot_be_made_is_a_finding_and_no_exception(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv(variable, "/proc/nowhere")
    monkeypatch.setattr("os.access", lambda path, _: not path.startswith("/proc"))  # root may all
    found = preflight.disk_space(host, NEEDS)
    assert (found.grade, found.remedy) == ("problem", f"set {variable} to a directory of yours")


class _Huge:
    nodes, memory_mib, disk_mib, data_disks = 3, 192, 1 << 50, 0


def test_no_kvm_is_a_notice_and_never_a_problem(host: Host) -> None:
    assert preflight.processor(host, NEEDS).grade == "notice"
    write(host.root, "dev/kvm", "")  # opens, but is no KVM
    found = preflight.processor(host, NEEDS)
    assert (found.grade, "makes no machine" in found.text) == ("notice", True)


def test_kvm_that_a_container_hides_is_told_from_kvm_that_is_not_there(host: Host) -> None:
    hidden = dataclasses.replace(host, device_number=lambda _: (10, 232))
    assert "container" in kvm.look(hidden).text
    assert "container" not in kvm.look(host).text


def test_root_needs_no_user_namespace(host: Host) -> None:
    assert isolation.user_namespaces(host)[0] == "ok"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_each_setting_that_forbids_user_namespaces_is_named_with_its_sysctl(
    host: Host, setting: str, value: str
) -> None:
    write(host.root, f"proc/sys/{setting}", value)
    grade, _, remedy = isolation.user_namespaces(as_user(host))
    assert grade == "problem"
    assert remedy.startswith(f"sudo sysctl {setting.replace('/', '.')}=")


def test_an_ordinary_user_needs_uidmap_and_a_range_in_both_files(host: Host) -> None:
    user = as_user(host)
    assert isolation.user_namespaces(user)[2].endswith("uidmap")
    put_command(host, "newuidmap")
    put_command(host, "newgidmap")
    write(host.root, "etc/subuid", "ada:100000:65536\n")
    write(host.root, "etc/subgid", "bob:100000:65536\nada:165536:10\n")
    grade, text, remedy = isolation.user_namespaces(user)
    assert (grade, text.endswith("in /etc/subgid")) == ("problem", True)
    assert "--add-subgids" in remedy
    assert remedy.endswith("ada")
    write(host.root, "etc/subgid", "1000:165536:65536\n")  # by number, as subgid(5) allows
    assert isolation.user_namespaces(user)[0] == "ok"


@pytest.mark.parametrize(
    ("reached", "words", "remedy"),
    [
        ("echo namespaces; echo bridge; echo 'Error: Unknown device type.'; exit 2", "bridge", "modprobe bridge"),
        ("echo namespaces; echo bridge; echo tap; echo 'open: No such device'; exit 1", "tap", "modprobe tun"),
        ("echo namespaces; echo bridge; echo tap; echo filter; echo 'nft: not found'; exit 127", "filter", "nftables"),
        ("echo 'unshare: unshare failed: Operation not permitted'; exit 1", "Operation not permitted", "CAP_SYS_ADMIN"),
    ],
)
def test_the_trial_of_namespaces_names_the_step_that_failed(host: Host, reached: str, words: str, remedy: str) -> None:
    put_command(host, "unshare", reached)
    found = isolation.isolation(host)
    assert found[0] == "problem"
    assert words in found[1]
    assert remedy in found[2]


def test_preflight_lists_every_problem_and_what_to_type(host: Host) -> None:
    with pytest.raises(PreflightFailed) as caught:
        preflight.check(NEEDS, host)
    problems = [found for found in preflight.findings(NEEDS, host) if found.grade == "problem"]
    assert len(problems) >= 5
    for found in problems:
        assert found.text in str(caught.value)
        assert found.remedy
        assert found.remedy in str(caught.value)


def test_every_package_that_a_remedy_names_is_one_that_run_installs(host: Host) -> None:
    listed = (TREE / "packages.txt").read_text(encoding="utf-8").split("\n")
    packages = {line.split()[0] for line in listed if line and not line.startswith("#")}
    hosts = [host, as_user(host)]
    remedies = [found.remedy for asked in hosts for found in preflight.findings(NEEDS, asked)]
    named = {word for remedy in remedies for word in remedy.partition("--no-install-recommends ")[2].split()}
    assert named
    assert named <= packages


def test_doctor_shows_what_to_type_and_ends_with_2_if_a_cluster_cannot_start(host: Host) -> None:
    found = preflight.findings(NEEDS, host)
    console = Console(width=40)
    with console.capture() as told:
        doctor.show(found, console)
    assert "> apt-get install --no-install-recommends qemu-system-x86" in told.get()
    assert doctor.exit_status(found) == 2
    as_data = json.loads(doctor.as_json(found))
    assert as_data["ok"] is False
    assert [sorted(row) for row in as_data["findings"]] == [["check", "grade", "remedy", "text"]] * len(found)


def test_a_device_that_no_kernel_has_has_no_number() -> None:
    assert misc_device_number("no-such-device") is None
