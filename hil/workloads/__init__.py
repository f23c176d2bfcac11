"""Programs that use a cluster while it is struck, and the proof that nothing that they were told was untrue.

::

    with cluster.workload("files", "locks", "services") as load:
        load.wait_progress()
        cluster.power_cycle()
        cluster.wait_joined()
        load.resume()
        print(load.check())

On guests they are real programs, one on each member (:mod:`hil.workloads.on_node`); in a simulation those that it has
anyway (``hil/sim/filers.py``, ``lockers.py``, ``volume_users.py``). docs/scenarios.md says what each kind does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hil.errors import UsageError
from hil.workloads.workload import Workload

if TYPE_CHECKING:
    from hil.client.cluster import Cluster

KINDS: Final = ("files", "locks", "volumes", "services")


def workload(cluster: Cluster, kinds: Iterable[str]) -> Workload:
    """Of these kinds, for that cluster; it begins with its ``with`` block. Raises :class:`UsageError`."""
    wanted = list(dict.fromkeys(kinds))
    if not wanted or (unknown := [kind for kind in wanted if kind not in KINDS]):
        told = repr(unknown[0]) if wanted else "nothing"
        raise UsageError(f"workload: {told} is none; there are: {', '.join(KINDS)}")
    if cluster.backend.simulated:
        from hil.workloads.simulated import SimulatedWorkload

        return SimulatedWorkload(cluster, wanted)
    from hil.workloads.guests import GuestWorkload

    return GuestWorkload(cluster, wanted)


__all__ = ["KINDS", "Workload", "workload"]
