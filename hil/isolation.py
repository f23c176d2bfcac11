"""May this user make what a bench lives in: namespaces, with a bridge, a tap and a packet filter inside?

Whether it works is tried, in namespaces that are gone at the end of the command; the several settings that can forbid
it are looked at only to say which one to change.
"""

from __future__ import annotations

from typing import Literal

from hil.host import Host

Verdict = tuple[Literal["ok", "notice", "problem"], str, str]
"""Grade, text, remedy: the rest of a :class:`hil.preflight.Finding`."""

SUBORDINATE_IDS = 65_536
"""The range that libvirt's accounts must fit in; also what Debian's adduser gives every new user."""

# Each line says its name before it is tried, so the last one said is the one that failed.
TRIAL = """
echo namespaces
echo bridge; ip link add hilbridge type bridge
echo tap; ip tuntap add dev hiltap mode tap
echo filter; nft add table bridge hil
echo done
"""

TRIAL_NEEDS = {
    "namespaces": "namespaces cannot be made",
    "bridge": "the kernel makes no bridge (module bridge)",
    "tap": "no tap device can be made (module tun)",
    "filter": "the packet filter has no bridge family (module nft_meta_bridge)",
}

MODULES = {"bridge": "bridge", "tap": "tun", "filter": "nft_meta_bridge"}


def user_namespaces(host: Host) -> Verdict:
    """The settings that let an ordinary user be root in a namespace of its own."""
    if host.user_id == 0:
        return "ok", "not needed by root", ""
    # The kernel's own limit; Debian's old switch; Ubuntu's restriction by profile.
    if host.text("/proc/sys/user/max_user_namespaces") == "0":
        return "problem", "user.max_user_namespaces is 0", host.as_root("sysctl user.max_user_namespaces=10000")
    if host.text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        remedy = host.as_root("sysctl kernel.unprivileged_userns_clone=1")
        return "problem", "kernel.unprivileged_userns_clone is 0", remedy
    if host.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        remedy = host.as_root("sysctl kernel.apparmor_restrict_unprivileged_userns=0")
        return "problem", "kernel.apparmor_restrict_unprivileged_userns is 1", remedy
    missing = [name for name in ("newuidmap", "newgidmap") if host.command(name) is None]
    if missing:
        return "problem", f"missing: {', '.join(missing)}", host.install("uidmap")
    short = [path for path in ("/etc/subuid", "/etc/subgid") if _largest_range(host, path) < SUBORDINATE_IDS]
    if short:
        # Far above the ranges that adduser gives out one after the other, so that it meets nobody's.
        first = 1_000_000_000
        span = f"{first}-{first + SUBORDINATE_IDS - 1}"
        remedy = host.as_root(f"usermod --add-subuids {span} --add-subgids {span} {host.user_name}")
        return "problem", f"user {host.user_name} has no {SUBORDINATE_IDS} ids in {' and '.join(short)}", remedy
    return "ok", f"user {host.user_name} may be root in a namespace of its own", ""


def _largest_range(host: Host, path: str) -> int:
    """The largest range of subordinate ids of this user in ``path`` (subuid(5)); 0 if there is none."""
    sizes = [0]
    for line in (host.text(path) or "").splitlines():
        owner, _, size = line.replace(":", " ", 1).partition(":")
        if owner.split(" ")[0] in (host.user_name, str(host.user_id)) and size.isdigit():
            sizes.append(int(size))
    return max(sizes)


def isolation(host: Host) -> Verdict:
    """Make the namespaces and, in them, one of each thing that a bench makes."""
    if host.command("unshare") is None:
        return "problem", "unshare is missing", host.install("util-linux")
    as_user = [] if host.user_id == 0 else ["--user", "--map-root-user", "--map-auto"]
    said = host.output(["unshare", *as_user, "--pid", "--fork", "--kill-child", "--mount", "--net", "sh", "-ec", TRIAL])
    lines = said.text.splitlines()
    if said.status == 0 and "done" in lines:
        return "ok", "namespaces, bridge, tap and packet filter work", ""
    failed = next((line for line in reversed(lines) if line in TRIAL_NEEDS), "namespaces")
    why = next((line for line in reversed(lines) if line not in TRIAL_NEEDS), "no reason given")
    if failed == "tap" and "denied" in why:
        remedy = "see tun above"
    elif failed in MODULES and "not found" not in why:
        remedy = host.as_root(f"modprobe {MODULES[failed]}")
    elif failed in MODULES:
        remedy = host.install("iproute2 nftables")
    elif host.user_id == 0:
        remedy = "in a container: run it privileged, or with CAP_SYS_ADMIN and CAP_NET_ADMIN"
    else:
        remedy = "see user-namespaces above; in a container, the container must allow them"
    return "problem", f"{TRIAL_NEEDS[failed]}: {why}", remedy
