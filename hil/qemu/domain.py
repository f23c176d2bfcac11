"""The description of one node's machine for libvirt."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from xml.etree import ElementTree

from hil.bench import namespace

EMULATOR = "/usr/bin/qemu-system-x86_64"
CHANNEL_NAME = "hil.guestd"
QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
ElementTree.register_namespace("qemu", QEMU_NAMESPACE)

COMMAND_LINE = (
    "console=ttyS0 quiet tsc=reliable no_timer_check mitigations=off nokaslr random.trust_cpu=on"
    # A panicked machine stays as it is: libvirt reports the crash and the evidence is kept (spec S6.1).
    " panic=0 ipv6.disable=1"
    # The self-tests of ciphers that nobody uses cost an emulated processor 0.4 s of each boot.
    " cryptomgr.notests"
)

CLOCK = {
    # The kernel measures the emulated TSC while it boots; where other machines take the processor from it meanwhile,
    # it is wrong by any factor (six was seen), and the node lives too fast. QEMU's HPET needs no measuring.
    "tcg": "clocksource=hpet",
    "kvm": "clocksource=kvm-clock",
}

CPU = {
    # `max` is every feature that QEMU emulates. Two of them say that REP MOVSB is fast, and the kernel copies with it
    # then; but QEMU emulates it byte by byte. Without them the kernel copies and clears eight bytes at a time.
    "tcg": "<cpu mode='maximum'><feature policy='disable' name='erms'/><feature policy='disable' name='fsrm'/></cpu>",
    "kvm": "<cpu mode='host-passthrough'/>",  # what the host has
}
# All on the root bus: libvirt would put each behind a port of its own, and USB besides, and an emulated kernel takes
# half a second of each boot to find and set up what nobody plugs anything into.
SLOTS = (namespace.INTERCONNECT, namespace.MANAGEMENT, "root", "disk", "channel", "rng")
DOMAIN_TYPE = {"tcg": "qemu", "kvm": "kvm"}


@dataclass(frozen=True)
class MachineSpec:
    """All that tells one node's machine from another."""

    cluster: str
    node: int
    accelerator: str
    memory_mib: int
    kernel: Path
    initrd: Path
    root: Path
    console: Path
    channel: Path
    portal_port: int
    initiator: str
    target: str
    luns: int = 1
    """Of the target: a disk each."""

    @property
    def name(self) -> str:
        """The domain's name: the same in every cluster, for libvirt restores a machine under its old name only."""
        return f"n{self.node}"

    @property
    def title(self) -> str:
        """What QEMU calls itself in its command line: there the machine carries the cluster's name."""
        return f"{self.cluster}-n{self.node}"


def interconnect_mac(node: int) -> str:
    """The card on the private interconnect; the guest's init finds it by this."""
    return f"52:54:00:77:00:{node + 1:02x}"


def management_mac(node: int) -> str:
    """The card on the management bridge."""
    return f"52:54:00:78:00:{node + 1:02x}"


def quoted(value: object) -> str:
    """As an attribute's value. (``xml.sax`` has a function for it, and brings all of HTTP along.)"""
    return f'"{html.escape(str(value))}"'


def _slot(device: str) -> str:
    """The place of a device on the root bus; slot 0 is the host bridge, 1 is kept free for what libvirt may add."""
    return f"<address type='pci' domain='0' bus='0' slot='{SLOTS.index(device) + 2}' function='0'/>"


def _controllers(spec: MachineSpec) -> str:
    """Of the data disks, each its own: Linux stops a whole controller while it gets one disk of it to answer again."""
    slots = [len(SLOTS) + 2 + lun for lun in range(spec.luns - 1)]
    return "".join(
        f"<controller type='scsi' index='{index}' model='virtio-scsi'>"
        f"<address type='pci' domain='0' bus='0' slot='{slot}' function='0'/></controller>\n"
        for index, slot in enumerate(slots, 1)
    )


def _card(bridge: str, mac: str, tap: str, link: str = "up") -> str:
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/><model type='virtio'/>"
        f"<target dev='{tap}'/><link state='{link}'/>{_slot(bridge)}</interface>"
    )


def lun_device(lun: int) -> str:
    """What libvirt calls the disk."""
    return f"sd{ascii_lowercase[lun]}"


def _lun(spec: MachineSpec, lun: int) -> str:
    """One disk of the target, passed through."""
    device = f"<target dev='{lun_device(lun)}' bus='scsi'/>"
    place = f"<address type='drive' controller='{lun}' bus='0' target='0' unit='0'/>" if lun else ""
    # A session for each disk, which the target tells apart by the name (hil.scsi.target).
    name = f"{spec.target}:lun{lun}" if lun else spec.target
    return f"""<disk type='network' device='lun'><driver name='qemu' type='raw' cache='none'/>
<source protocol='iscsi' name='{name}/{lun}'><host name='127.0.0.1' port='{spec.portal_port}'/>
<initiator><iqn name='{spec.initiator}'/></initiator></source>{device}{place}<shareable/></disk>
"""


def interconnect_card(node: int, link: str) -> str:
    """The interconnect card with its carrier ``link`` "up" or "down"."""
    return _card(namespace.INTERCONNECT, interconnect_mac(node), namespace.interconnect_tap(node), link)


def domain_xml(spec: MachineSpec, interconnect_link: str) -> str:
    """The libvirt XML of a machine whose interconnect carrier starts ``interconnect_link`` ("up" or "down")."""
    luns = _controllers(spec) + "".join(_lun(spec, lun) for lun in range(spec.luns))
    management = _card(namespace.MANAGEMENT, management_mac(spec.node), namespace.management_tap(spec.node))
    return f"""<domain type='{DOMAIN_TYPE[spec.accelerator]}' xmlns:qemu='{QEMU_NAMESPACE}'><name>{spec.name}</name>
<memory unit='MiB'>{spec.memory_mib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>
<kernel>{html.escape(str(spec.kernel))}</kernel><initrd>{html.escape(str(spec.initrd))}</initrd>
<cmdline>{COMMAND_LINE} {CLOCK[spec.accelerator]} hil.node={spec.node}</cmdline></os>
<features><acpi/></features>{CPU[spec.accelerator]}
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>preserve</on_crash>
<devices><emulator>{EMULATOR}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file={quoted(spec.root)}/>
<target dev='vda' bus='virtio'/><readonly/>{_slot("root")}</disk>
<controller type='usb' model='none'/>
<controller type='scsi' model='virtio-scsi'>{_slot("disk")}</controller>
<controller type='virtio-serial'>{_slot("channel")}</controller>
{luns}{interconnect_card(spec.node, interconnect_link)}{management}
<serial type='file'><source path={quoted(spec.console)} append='on'/></serial>
<channel type='unix'><source mode='bind' path={quoted(spec.channel)}/>
<target type='virtio' name='{CHANNEL_NAME}'/></channel>
<panic model='isa'/><memballoon model='none'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend>{_slot("rng")}</rng>
</devices>
<qemu:commandline><qemu:arg value='-name'/><qemu:arg value={quoted(name_argument(spec))}/></qemu:commandline>
</domain>"""


def name_argument(spec: MachineSpec) -> str:
    """QEMU's last ``-name``, which wins over libvirt's."""
    return f"guest={spec.title},debug-threads=on"


def adapt_saved(xml: str, spec: MachineSpec) -> str:
    """The description ``xml`` that a machine was saved with, for ``spec``: name, console, and what a reset boots.

    All else has to be what it was: libvirt refuses a description that does not fit the memory (addresses, UUID, name).
    """
    root = ElementTree.fromstring(xml)
    arguments = root.findall(f"{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg")
    arguments[-1].set("value", name_argument(spec))
    initrd = root.find("os/initrd")
    if initrd is not None:
        initrd.text = str(spec.initrd)
    for source in root.iterfind("devices/*[@type='file']/source[@path]"):  # serial, and its console
        source.set("path", str(spec.console))
    return ElementTree.tostring(root, encoding="unicode")
