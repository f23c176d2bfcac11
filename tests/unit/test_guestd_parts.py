"""The parts of guestd's runtime one by one: settings, discovery, port, panic; and what its start costs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guestd import guestctl
from guestd.core.config import ELECTIONS, Config
from guestd.core.node import Stack
from guestd.core.timing import Timing
from guestd.core.value import Value, replace
from guestd.runtime import discovery, panic, settings
from guestd.runtime.port import BUFFER_SIZE_MAX, Port
from guestd.transition.levels import Levels
from guestd.transition.subsystem import Subsystem

TREE = Path(__file__).resolve().parents[2]

TOLD: dict[str, Any] = {
    "cluster": "demo",
    "cluster_id": "ab" * 16,
    "nodes": 3,
    "disk": {"wwid": "naa.6001405000000000"},
    "interconnect": {"broadcast": "10.77.0.255", "addresses": ["10.77.0.1", "10.77.0.2", "10.77.0.3"], "port": 7400},
    "timing": {"heartbeat_ms": 250, "disk_heartbeat_ms": 500, "death_ms": 3000, "settle_ms": 750},
}


def told(directory: Path, **changes: object) -> dict[str, str]:
    path = directory / "config.json"
    path.write_text(json.dumps({**TOLD, **changes}))
    return {"HIL_CONFIG": str(path), "HIL_NODE": "2", "HIL_STAGES": "initramfs=1.70 modules=2.0 init=x"}


def test_the_settings_are_read(tmp_path: Path) -> None:
    found = settings.load(told(tmp_path))
    assert (found.node, found.wwid, found.broadcast, found.port) == (2, "naa.6001405000000000", "10.77.0.255", 7400)
    assert found.addresses == ("10.77.0.1", "10.77.0.2", "10.77.0.3")
    assert found.config == Config(bytes.fromhex("ab" * 16), "demo", 3, Timing(250, 500, 3000, 750))
    assert found.stages == {"initramfs": 1.7, "modules": 2.0}


def test_the_data_disks_are_counted_by_their_identities(tmp_path: Path) -> None:  # S6.2
    found = settings.load(told(tmp_path, disk={"wwid": "naa.1", "data": ["naa.2", "naa.3"]}))
    assert (found.wwid, found.data_wwids, found.config.data_disks) == ("naa.1", ("naa.2", "naa.3"), 2)


@pytest.mark.parametrize("election", ELECTIONS)
def test_a_node_is_told_how_epochs_are_decided(tmp_path: Path, election: str) -> None:  # S3.2
    assert settings.load(told(tmp_path, election=election)).config.election == election


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cluster_id": "xyz"}, "non-hexadecimal"),
        ({"timing": {"beat": 1}}, "Timing has no field beat"),
        ({"disk": None}, "NoneType"),
        ({"interconnect": {}}, "the key 'broadcast' is missing"),
    ],
)
def test_settings_that_cannot_be_say_what_is_wrong(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    with pytest.raises(settings.BadSettings, match=why):
        settings.load(told(tmp_path, **changes))


@pytest.mark.parametrize(
    ("config", "node", "why"),
    [
        (Config(bytes(16), "demo", 65), 0, r"nodes = 65 \(legal: 2 to 64\)"),
        (Config(bytes(16), "demo", 3), 3, r"node 3 \(legal: 0 to 2\)"),
        (Config(bytes(5), "demo", 3), 0, r"cluster_id has 5 bytes \(legal: 16\)"),
        (Config(bytes(16), "demo", 3, Timing(settle_ms=0)), 0, r"timing.settle_ms = 0 must be at least 1 ms"),
    ],
)
def test_a_stack_that_cannot_work_is_not_made(config: Config, node: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Stack(config, node)


def test_the_shared_disk_is_found_by_its_identity(tmp_path: Path) -> None:
    for name, wwid in (("vda", None), ("sda", "naa.1"), ("sdb", "naa.2")):
        (tmp_path / name / "device").mkdir(parents=True)
        if wwid is not None:
            (tmp_path / name / "device" / "wwid").write_text(wwid + "\n")
    assert discovery.find_disk("naa.2", str(tmp_path)) == ("/dev/sdb", ["naa.1", "naa.2"])
    assert discovery.find_disk("naa.3", str(tmp_path)) == (None, ["naa.1", "naa.2"])
    assert discovery.find_disk("naa.3", str(tmp_path / "none")) == (None, [])


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    for device, name in (("vport1p1", "org.other"), ("vport1p2", "hil.guestd")):
        (tmp_path / device).mkdir()
        (tmp_path / device / "name").write_text(name + "\n")
    assert discovery.find_port("hil.guestd", str(tmp_path)) == "/dev/vport1p2"
    assert discovery.find_port("hil.none", str(tmp_path)) is None


def test_a_port_that_nobody_reads_drops_whole_lines_and_the_gap_shows_it(tmp_path: Path) -> None:
    path = str(tmp_path / "port")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        port = Port(lambda: path)
        assert port.open()
        host, _ = listener.accept()
        with host:
            count = 0
            while port.dropped_count < 3:
                count += 1
                port.emit("filler", {"text": "x" * 5000}, 1.0)
                port.flush()
                assert count * 5000 < 10 * BUFFER_SIZE_MAX
            text, told_last = b"", False
            while b'"kind":"last"' not in text:
                text += host.recv(1 << 16)
                port.flush()
                if not port.wants_to_write and not told_last:
                    told_last = True
                    port.emit("last", {}, 2.0)
            numbers = [json.loads(line)["n"] for line in text.splitlines()]
            assert numbers[-1] == count + 1
            assert len(numbers) == count + 1 - 3
            host.sendall(b'{"n": 1, "order": "leave"}\n[1]\nrubbish\n{"n": 2')
            assert port.orders() == [{"n": 1, "order": "leave"}, "[1]", "rubbish"]
            host.sendall(b', "order": "status"}\n')
            assert port.orders() == [{"n": 2, "order": "status"}]
        assert port.orders() == []
        assert port.fileno() == -1
        assert port.open()  # to the listener, again
        port.close()


def test_this_machine_is_no_guest_and_its_kernel_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trigger = tmp_path / "trigger"
    monkeypatch.setattr(panic, "SYSRQ_TRIGGER", str(trigger))
    assert not settings.is_guest()
    assert panic.panic("a test") == panic.REFUSED_STATUS
    assert not trigger.exists()
    assert "hil: guestd: PANIC: a test (this is no guest" in capsys.readouterr().err


def test_in_a_guest_the_reason_comes_before_the_panic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KMSG", "SYSRQ_ENABLE", "SYSRQ_TRIGGER"):
        (tmp_path / name).touch()
        monkeypatch.setattr(panic, name, str(tmp_path / name))
    monkeypatch.setattr(panic, "is_guest", lambda: True)
    panic.panic("a test")
    assert (tmp_path / "KMSG").read_text() == "<0>hil: guestd: PANIC: a test\n"
    assert (tmp_path / "SYSRQ_ENABLE").read_text() == "1\n"
    assert (tmp_path / "SYSRQ_TRIGGER").read_text() == "c"


def test_the_start_imports_nothing_expensive() -> None:
    code = f"import sys; sys.path.insert(0, {str(TREE)!r}); import guestd.runtime.main; print(*sorted(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", code]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    costly = {"asyncio", "dataclasses", "inspect", "logging", "random", "selectors", "socket", "subprocess", "typing"}
    assert set(result.stdout.split()) & costly == set()


class Point(Value):
    x: int
    y: int = 2


def test_values_are_compared_by_type_and_fields_and_cannot_be_changed() -> None:
    class Other(Value):
        x: int
        y: int = 2

    assert Point(1) == Point(1, 2) == Point(y=2, x=1)
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert hash(Point(1)) == hash(Point(1))
    assert repr(replace(Point(1), y=3)) == "Point(x=1, y=3)"
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        Point(1).x = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="Point lacks the field x"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point takes 2 fields, got 3"):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Point has no field z \(it has: x, y\)"):
        Point(1, z=1)  # type: ignore[call-arg]


def test_levels_and_barriers_that_cannot_be_are_refused() -> None:  # S4.1
    with pytest.raises(ValueError, match=r"0 barriers for 'join' \(legal: 1 to 16"):
        Subsystem("x", order=5, barriers={"join": 0})
    with pytest.raises(ValueError, match="distinct orders"):
        Levels([Subsystem("a", order=0).level, Subsystem("b", order=0).level])
    with pytest.raises(ValueError, match="distinct orders"):
        Levels([Subsystem("a", order=10).level])


def test_guestctl_tells_the_device_of_each_lun(  # S6.2
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = tmp_path / "block"
    for name, wwid in (("sda", "naa.2"), ("sdc", "naa.1")):
        (block / name / "device").mkdir(parents=True)
        (block / name / "device" / "wwid").write_text(f"{wwid}\n")
    find = discovery.find_disk
    monkeypatch.setattr(discovery, "find_disk", lambda wwid: find(wwid, str(block)))
    for key, value in told(tmp_path, disk={"wwid": "naa.1", "data": ["naa.2"]}).items():
        monkeypatch.setenv(key, value)
    assert guestctl.main(["disks"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["LUN", "0", "/dev/sdc", "naa.1"],
        ["LUN", "1", "/dev/sda", "naa.2"],
    ]
    told(tmp_path, disk={"wwid": "naa.1", "data": ["naa.3"]})
    assert guestctl.main(["disks", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["disks"][1] == {"lun": 1, "wwid": "naa.3", "device": None}
