"""What a stack is told about its cluster before it starts."""

from __future__ import annotations

from guestd.core.value import Value

NODES_MAX = 64


class Timing(Value):
    """Periods and patience, all in milliseconds.

    T=0 a node falls silent; T=death_ms the others have missed it for so long that they suspect it and publish whom they
    hear; T=death_ms+settle_ms all of them have published and read that, and the largest full group acts (spec S5.2).
    """

    heartbeat_ms: int = 250  # between datagrams, and between ticks
    disk_heartbeat_ms: int = 500  # between heartbeat records on the disk
    death_ms: int = 3000  # silence that makes a member suspect
    settle_ms: int = 750  # from a suspicion until everybody's view of it is on the disk
    subsystem_ms: int = 30_000  # for a subsystem to acknowledge; then its node panics (spec S4.13)

    @property
    def hears_ms(self) -> int:
        """Silence up to which a node is still reported as heard.

        Half of death_ms: when the first node suspects somebody, one that got the last datagram a little later must not
        report him as heard, or the published views would differ for one and the same fault.
        """
        return self.death_ms // 2


class Config(Value):
    """The cluster that a stack belongs to."""

    cluster_id: bytes  # 16 bytes, made anew for each cluster
    cluster: str
    nodes: int  # configured nodes, 2 to 64; ids are 0 to nodes - 1
    timing: Timing = Timing()


def check(config: Config) -> None:
    """Raises ValueError, naming the value and what is legal, if no stack can run with this configuration."""
    if len(config.cluster_id) != 16:
        raise ValueError(f"cluster_id has {len(config.cluster_id)} bytes (legal: 16)")
    if not 2 <= config.nodes <= NODES_MAX:
        raise ValueError(f"nodes = {config.nodes} (legal: 2 to {NODES_MAX})")
    check_timing(config.timing)


def check_timing(timing: Timing) -> None:
    """Raises ValueError if these times contradict each other; the host asks the same before it starts a cluster."""
    for name in Timing.value_fields:
        if getattr(timing, name) < 1:
            raise ValueError(f"timing.{name} = {getattr(timing, name)} ms (legal: at least 1)")
    if timing.disk_heartbeat_ms < timing.heartbeat_ms:
        raise ValueError(
            f"timing.disk_heartbeat_ms = {timing.disk_heartbeat_ms} (legal: at least heartbeat_ms = "
            f"{timing.heartbeat_ms})"
        )
    if timing.death_ms < 4 * timing.heartbeat_ms:
        raise ValueError(
            f"timing.death_ms = {timing.death_ms} (legal: at least 4 x heartbeat_ms = {4 * timing.heartbeat_ms}, so "
            "that three lost datagrams are not a death)"
        )
    if timing.hears_ms <= 2 * timing.disk_heartbeat_ms:
        raise ValueError(
            f"timing.death_ms = {timing.death_ms} (legal: more than 4 x disk_heartbeat_ms = "
            f"{4 * timing.disk_heartbeat_ms}, so that one late heartbeat is not a death)"
        )
    if timing.settle_ms < timing.disk_heartbeat_ms:
        raise ValueError(
            f"timing.settle_ms = {timing.settle_ms} (legal: at least disk_heartbeat_ms = {timing.disk_heartbeat_ms}, "
            "or a view is judged before it can have been written)"
        )
