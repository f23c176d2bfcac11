"""One machine's power, with a libvirt that refuses, or hangs, or tells its news at once."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from hil.bench.log import EventLog
from hil.errors import LaboratoryError
from hil.qemu import hypervisor as hypervisor_module
from hil.qemu import machine as machine_module
from hil.qemu.domain import MachineSpec
from hil.qemu.hypervisor import Hypervisor
from hil.qemu.machine import Machine

A_WHILE_S = 10.0


class FakeDomain:
    """A machine whose QEMU hangs: a reset waits until it is destroyed."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.resetting = threading.Event()
        self.destroyed = threading.Event()

    def reset(self, flags: int) -> None:
        self.resetting.set()
        assert self.destroyed.wait(A_WHILE_S)

    def destroy(self) -> None:
        if not self.destroyed.is_set():
            self.destroyed.set()
            self.log.emit("machine-stopped", node=0, detail="destroyed")


class FakeHypervisor:
    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.refusal: str | None = None
        self.news = ["machine-started"]
        self.remembers = {"n0"}  # the last machine of that name, for a moment after its end

    def await_forgotten(self, name: str) -> None:
        self.remembers.discard(name)

    def create(self, xml: str) -> FakeDomain:
        assert self.remembers == set(), "libvirt: already exists"
        if self.refusal is not None:
            raise LaboratoryError(self.refusal)
        for kind in self.news:
            self.log.emit(kind, node=0)
        return FakeDomain(self.log)

    def pull_the_plug(self, domain: FakeDomain) -> None:
        domain.destroy()


class FakeChannel:
    def __init__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl", nodes=1)
    yield log
    log.close()


@pytest.fixture
def hypervisor(log: EventLog) -> FakeHypervisor:
    return FakeHypervisor(log)


@pytest.fixture
def machine(log: EventLog, hypervisor: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(machine_module, "GuestChannel", FakeChannel)
    monkeypatch.setattr(machine_module, "CHANGE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(machine_module, "VERB_PATIENCE_S", 0.1)
    files: Any = dict.fromkeys(("kernel", "initrd", "root", "console", "channel"), tmp_path)
    spec = MachineSpec("t", 0, "tcg", memory_mib=128, portal_port=3260, initiator="i", target="t", **files)
    return Machine(spec, hypervisor, log)  # type: ignore[arg-type]  # a fake with the same verbs


def test_a_machine_that_cannot_start_is_off_with_libvirts_words_and_can_be_tried_again(
    machine: Machine, hypervisor: FakeHypervisor, log: EventLog
) -> None:
    hypervisor.refusal = "no memory"
    with pytest.raises(LaboratoryError, match="no memory"):
        machine.power_on()
    assert log.power(0) == "off"
    assert b'"detail":"failed","reason":"no memory"' in b"".join(log.follow(0, follow=False))
    assert machine.power_off() is False
    hypervisor.refusal = None
    assert machine.power_on() is True


def test_a_machine_that_ends_as_soon_as_it_started_is_not_waited_for(
    machine: Machine, hypervisor: FakeHypervisor
) -> None:
    hypervisor.news = ["machine-started", "machine-stopped"]
    with pytest.raises(LaboratoryError, match="QEMU ended as soon as it had started"):
        machine.power_on()


def test_the_plug_can_be_pulled_while_another_verb_waits_for_a_qemu_that_hangs(machine: Machine) -> None:
    machine.power_on()
    with machine.held() as domain:
        pass
    assert isinstance(domain, FakeDomain)
    reset = threading.Thread(target=machine.reset)
    reset.start()
    assert domain.resetting.wait(A_WHILE_S)
    assert machine.power_off() is True
    reset.join(A_WHILE_S)
    assert not reset.is_alive()


LIBVIRTS_TEST_DRIVER = "test:///default"
"""Has one machine, which is called "test"."""


def test_a_start_waits_until_libvirt_has_forgotten_the_machine_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor = Hypervisor(tmp_path, lambda *_: None, lambda _: None)
    hypervisor.connection = libvirt.open(LIBVIRTS_TEST_DRIVER)
    domain = hypervisor.connection.lookupByName("test")
    waiting = threading.Thread(target=hypervisor.await_forgotten, args=("test",))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    domain.destroy()
    domain.undefine()
    waiting.join(A_WHILE_S)
    assert not waiting.is_alive()
    hypervisor.await_forgotten("none of that name")

    machine = "<domain type='test'><name>n0</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    again = hypervisor.connection.createXML(machine)
    monkeypatch.setattr(hypervisor_module, "FORGET_TIMEOUT_S", 0.05)
    hypervisor.await_forgotten("n0")  # not for ever: what is started next will say why it cannot be
    again.destroy()
