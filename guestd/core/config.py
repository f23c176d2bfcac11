"""What a stack is told about its cluster before it starts."""

from __future__ import annotations

from guestd.core.timing import Timing, check_timing
from guestd.core.value import Value

NODES_MAX = 64
DATA_DISKS_MAX = 7

# What keeps a node that was forced out off the disk (spec S6.2, S6.5). "scsi": the disk refuses it. "panic": nothing
# but its own panic; for disks that take no reservations.
FENCES = ("scsi", "panic")

# How an epoch gets its owner (spec S3.2, docs/election.md). All nodes of a cluster have to do the same: it is
# written in the header of the membership database.
ELECTIONS = ("paxos", "dekker")


class Config(Value):
    """The cluster that a stack belongs to."""

    cluster_id: bytes  # 16 bytes, made anew for each cluster
    cluster: str
    nodes: int  # configured nodes, 2 to 64; ids are 0 to nodes - 1
    timing: Timing = Timing()
    fence: str = "scsi"  # one of FENCES
    election: str = "paxos"  # one of ELECTIONS
    data_disks: int = 0  # LUNs 1, 2 … beside LUN 0, which alone has the membership database; up to DATA_DISKS_MAX


def check(config: Config) -> None:
    """Raises ValueError, naming the value and what is legal, if no stack can run with this configuration."""
    if len(config.cluster_id) != 16:
        raise ValueError(f"cluster_id has {len(config.cluster_id)} bytes (legal: 16)")
    if not 2 <= config.nodes <= NODES_MAX:
        raise ValueError(f"nodes = {config.nodes} (legal: 2 to {NODES_MAX})")
    if config.fence not in FENCES:
        raise ValueError(f"fence = {config.fence!r} (legal: {', '.join(FENCES)})")
    if config.election not in ELECTIONS:
        raise ValueError(f"election = {config.election!r} (legal: {', '.join(ELECTIONS)})")
    if not 0 <= config.data_disks <= DATA_DISKS_MAX:
        raise ValueError(f"data_disks = {config.data_disks} (legal: 0 to {DATA_DISKS_MAX})")
    check_election(config.election, config.fence)
    check_timing(config.timing)


def check_election(election: str, fence: str) -> None:
    """Raises ValueError for a contest without its fence; the host asks the same before it starts a cluster."""
    if election == "dekker" and fence != "scsi":
        raise ValueError(
            f'election = "{election}" needs fence = "scsi", not "{fence}": a contender that has stopped holds up the '
            "others, who may go past it only when the disk refuses its writes"
        )
