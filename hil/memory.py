"""How much memory is free for machines: of the host, and of the control group that this process is confined to."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from hil.host import Host

MIB = 1024 * 1024
CGROUPS = "/sys/fs/cgroup"


def free_mib(host: Host) -> int | None:
    """What can be used without swapping, in MiB; None if the host does not tell."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", host.text("/proc/meminfo") or "", re.MULTILINE)
    limits = [int(found[1]) // 1024] if found else []
    limits += [free for group in own_groups(host) if (free := _group_free_mib(host, group)) is not None]
    return min(limits, default=None)


def own_groups(host: Host) -> list[str]:
    """The directories of this process's control group (version 2) and of all above it: each may have a limit."""
    found = re.search(r"^0::(/.*)$", host.text("/proc/self/cgroup") or "", re.MULTILINE)
    if found is None:
        return []
    group = PurePosixPath(found[1])
    return [f"{CGROUPS}{path}".rstrip("/") for path in (group, *group.parents)]


def _group_free_mib(host: Host, group: str) -> int | None:
    """What is left of the limit of ``group``; None if it has none."""
    limit, used = host.text(f"{group}/memory.max"), host.text(f"{group}/memory.current")
    if limit is None or used is None or not limit.strip().isdigit():  # "max": no limit
        return None
    # The kernel drops clean pages of files before it kills anybody, and MemAvailable counts them as free, too.
    files = re.findall(r"^(?:in)?active_file (\d+)$", host.text(f"{group}/memory.stat") or "", re.MULTILINE)
    return max(0, int(limit) - int(used) + sum(map(int, files))) // MIB
