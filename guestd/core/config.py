"""What a stack is told about its cluster before it starts."""

from __future__ import annotations

from guestd.core.timing import Timing, check_timing
from guestd.core.value import Value

NODES_MAX = 64


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
