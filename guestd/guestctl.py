"""The command `guestctl` on a node: what its guestd knows, and what an operator asks of it.

    guestctl locks [--json]                         the locks of this node's users, the resources that it masters
    guestctl vdisk list [--json]                    the virtual disks of the cluster
    guestctl vdisk create NAME SIZE [--mirrored]    SIZE in bytes, or with K, M, G behind it (times 1024)
    guestctl vdisk grow|shrink NAME SIZE
    guestctl vdisk mirror|delete NAME
    guestctl disks [--json]                         the LUNs of the shared disk and their devices; asks no guestd
    guestctl fsck [--disk NAME] [--json]            looks the shared file system over, from the disk; asks no guestd
    guestctl service ..., guestctl event ...        asks the event manager: guestd/guestctl_services.py

Exit status: 0, 1 if guestd does not answer or refuses, 2 for what is no command. fsck: 0 if nothing is wrong, 1 if
something is, 2 if there is nothing that could be checked.
"""

from __future__ import annotations

import sys

from guestd.connection import PATH, ClientError, Connection, Misused
from guestd.core import json
from guestd.locks import Locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

USAGE = """usage: guestctl [--socket PATH] locks [--json]
       guestctl [--socket PATH] vdisk list [--json]
       guestctl [--socket PATH] vdisk create NAME SIZE [--mirrored]
       guestctl [--socket PATH] vdisk grow|shrink NAME SIZE
       guestctl [--socket PATH] vdisk mirror|delete NAME
       guestctl disks [--json]
       guestctl fsck [--disk NAME] [--json]
       guestctl [--socket PATH] service|event ..."""

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class _Misuse(Exception):
    """What is no command; says why."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    words, path = list(arguments), PATH
    if words[:1] == ["fsck"]:
        return _fsck(words[1:])
    if words in (["disks"], ["disks", "--json"]):
        return _disks(as_json=len(words) == 2)
    socket: str | None = None
    if words[:1] == ["--socket"] and len(words) > 1:
        path = socket = words[1]
        words = words[2:]
    if words[:1] in (["service"], ["event"]):
        return _services(socket, words)
    flags = [word for word in words if word in ("--json", "--mirrored")]
    words = [word for word in words if word not in flags]
    if words in (["--help"], ["-h"], ["help"]):
        print(USAGE)
        return 0
    try:
        lines = _locks(path, flags) if words == ["locks"] else _vdisk(path, _asked(words, flags), flags)
    except _Misuse as why:
        print(f"guestctl: {why}\n{USAGE}", file=sys.stderr)
        return 2
    except Misused as why:
        print(f"guestctl: {why}", file=sys.stderr)
        return 1
    except (OSError, ClientError) as why:
        print(f"guestctl: guestd does not answer at {path}: {why}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0


def _services(path: str | None, words: Sequence[str]) -> int:
    """The exit status."""
    from guestd import guestctl_services  # not needed by the other commands

    path = path or guestctl_services.PATH
    try:
        lines = guestctl_services.run(path, words)
    except guestctl_services.Misuse as why:
        print(f"guestctl: {why}\n{guestctl_services.USAGE}", file=sys.stderr)
        return 2
    except guestctl_services.Denied as why:
        print(f"guestctl: {why}", file=sys.stderr)
        return 1
    except (OSError, ClientError) as why:
        print(f"guestctl: the event manager does not answer at {path}: {why}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0


def _fsck(words: Sequence[str]) -> int:
    """The exit status."""
    from guestd.runtime import shared_disk  # not needed by the other commands, of which there may be many
    from guestd.runtime.settings import BadSettings
    from guestd.sfs import examine
    from guestd.sfs.level import VIRTUAL_DISK

    name, rest = VIRTUAL_DISK, [word for word in words if word != "--json"]
    if rest[:1] == ["--disk"] and len(rest) > 1:
        name, rest = rest[1], rest[2:]
    if rest:
        print(f"guestctl: fsck does not take {' '.join(rest)}\n{USAGE}", file=sys.stderr)
        return 2
    try:
        found = examine.examine(shared_disk.reader(), name)
    except (BadSettings, shared_disk.DiskAway, examine.CannotCheck) as why:
        print(f"guestctl: {why}", file=sys.stderr)
        return 2
    told = [json.dumps(examine.as_json(found))] if "--json" in words else examine.lines(found)
    for line in told:
        print(line)
    return 1 if found.wrong else 0


def _disks(*, as_json: bool) -> int:
    """The exit status."""
    from guestd.runtime import shared_disk
    from guestd.runtime.settings import BadSettings

    try:
        found = shared_disk.places()
    except BadSettings as why:
        print(f"guestctl: {why}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps({"disks": [{"lun": lun, "wwid": wwid, "device": device} for lun, wwid, device in found]}))
    else:
        for lun, wwid, device in found:
            print(f"LUN {lun}  {device or 'away':12} {wwid}")
    return 0 if all(device is not None for _, _, device in found) else 1


def _locks(path: str, flags: Sequence[str]) -> list[str]:
    with Locks(path) as locks:
        shown = locks.show()
    return [json.dumps(shown)] if "--json" in flags else table(shown)


def _asked(words: Sequence[str], flags: Sequence[str]) -> dict[str, Any]:
    """For guestd. Raises _Misuse."""
    count = {"list": 2, "create": 4, "grow": 4, "shrink": 4, "mirror": 3, "delete": 3}
    if words[:1] != ["vdisk"] or len(words) < 2 or count.get(words[1]) != len(words):
        raise _Misuse(f"{' '.join(words) or 'nothing'} is no command")
    asked: dict[str, Any] = {"do": words[1], "mirrored": "--mirrored" in flags}
    if len(words) > 2:
        asked["name"] = words[2]
    if len(words) > 3:
        asked["size"] = _size(words[3])
    return asked


def _size(text: str) -> int:
    number, unit = (text[:-1], _UNITS[text[-1:].upper()]) if text[-1:].upper() in _UNITS else (text, 1)
    if not number.isascii() or not number.isdecimal():
        raise _Misuse(f"{text!r} is no size (legal: 1048576, 1024K, 64M, 1G)")
    return int(number) * unit


def _vdisk(path: str, asked: Mapping[str, Any], flags: Sequence[str]) -> list[str]:
    connection = Connection(path)
    try:
        connection.send(vdisk=asked)
        told: dict[str, Any] = connection.read(None)["vdisk"]
    finally:
        connection.close()
    if "error" in told:
        raise Misused(told["error"])
    if asked["do"] != "list":
        return []
    if "--json" in flags:
        return [json.dumps(told)]
    lines = [f"{'name':24} {'size':>12} copies extents"]
    for disk in told["disks"]:
        extents = "; ".join(" ".join(f"{lba}+{blocks}" for lba, blocks in copy) for copy in disk["extents"])
        fixed = "  (at a fixed place)" if disk["fixed"] else ""
        lines.append(f"{disk['name']:24} {disk['size']:>12} {len(disk['extents']):>6} {extents}{fixed}")
    return [*lines, f"free: {told['free']} bytes, in units of {told['unit']}"]


def table(shown: dict[str, Any]) -> list[str]:
    """Lines for people."""
    state = "stopped: the members change" if shown["stopped"] else "granting"
    lines = [f"lock manager over nodes {', '.join(map(str, shown['members'])) or 'none'}: {state}"]
    lines.append(f"{shown['locks']} locks of this node, {shown['waiting']} of them wait")
    for lock in shown["own"]:
        wanted = f", wants {lock['wanted']}" if lock["wanted"] else ""
        master = "?" if lock["master"] is None else lock["master"]
        lines.append(f"  {lock['lock']:>6}  {lock['name']}  {lock['mode'] or '-'}{wanted}, master: node {master}")
    lines.append(f"{shown['mastered']} resources mastered by this node, {shown['withheld']} withheld for a recovery")
    for resource in shown["resources"]:
        lines.append(f"  {resource['name']}{'' if resource['valid'] else ', value not valid'}")
        for kind in ("granted", "converting", "waiting"):
            for entry in resource[kind]:
                mode = entry["mode"] if kind == "granted" else f"{entry['mode'] or '-'} to {entry['wanted']}"
                dead = ", held back: its node is dead" if entry["of_dead"] else ""
                lines.append(f"    {kind} {mode}, node {entry['node']} lock {entry['lock']}{dead}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
