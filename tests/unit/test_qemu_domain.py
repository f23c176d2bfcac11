"""What libvirt is told of a machine's shared disks: one device for each LUN, each behind a controller of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hil.qemu.domain import MachineSpec, domain_xml, lun_device

FILES = {name: Path("/there") / name for name in ("kernel", "initrd", "root", "console", "channel")}
SPEC = MachineSpec(
    "t", 0, "tcg", memory_mib=128, portal_port=3260, initiator="i", target="iqn.hil:shared", luns=1, **FILES
)


def devices(luns: int) -> ElementTree.Element:
    found = ElementTree.fromstring(domain_xml(dataclasses.replace(SPEC, luns=luns), "up")).find("devices")
    assert found is not None
    return found


def test_no_emulated_processor_says_that_it_copies_byte_by_byte_fast() -> None:
    cpu = ElementTree.fromstring(domain_xml(SPEC, "up")).find("cpu")
    assert cpu is not None
    assert {one.get("name"): one.get("policy") for one in cpu} == {"erms": "disable", "fsrm": "disable"}
    kvm = ElementTree.fromstring(domain_xml(dataclasses.replace(SPEC, accelerator="kvm"), "up")).find("cpu")
    assert kvm is not None
    assert list(kvm) == []


@pytest.mark.parametrize("luns", [1, 3, 8])
def test_there_is_a_disk_for_each_lun_and_each_has_a_controller(luns: int) -> None:  # S1.2
    found = devices(luns)
    disks = found.findall("disk[@device='lun']")
    names = [one.get("name") for disk in disks for one in disk.findall("source")]
    assert names == ["iqn.hil:shared/0", *(f"iqn.hil:shared:lun{lun}/{lun}" for lun in range(1, luns))]
    assert [disk.find("target").get("dev") for disk in disks] == [  # type: ignore[union-attr]
        lun_device(lun) for lun in range(luns)
    ]
    places = [disk.find("address") for disk in disks]
    assert places[0] is None  # libvirt puts it on the first controller, where saved machines have it
    assert [place.get("controller") for place in places[1:] if place is not None] == list(map(str, range(1, luns)))
    controllers = found.findall("controller[@type='scsi']")
    assert [one.get("index") for one in controllers] == [None, *map(str, range(1, luns))]


def test_no_two_devices_have_one_slot() -> None:
    slots = [place.get("slot") for place in devices(8).iter("address") if place.get("type") == "pci"]
    assert len(slots) == len(set(slots)) == 6 + 7
    assert max(int(slot or 0) for slot in slots) < 31
