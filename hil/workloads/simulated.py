"""The load of a simulated cluster: the simulator's programs, judged by its claims at every moment."""

from __future__ import annotations

from hil.workloads.workload import Workload


class SimulatedWorkload(Workload):
    """Each node has one program of each kind, from its next boot on another one."""

    def resume(self) -> None:
        """They run already."""

    def acknowledged(self) -> dict[str, int]:
        """By the simulator's count."""
        counts = self.cluster.caller.call("load_counts")
        return {kind: counts[kind] for kind in self._programs}

    def _begin(self) -> None:
        self.cluster.caller.call("begin_load", kinds=self._programs)

    def _end(self) -> None:
        if not self.cluster.view.stopping:
            self.cluster.caller.call("end_load")

    def _check_programs(self) -> dict[str, int]:
        self.cluster.caller.call("look_load_over", kinds=self._programs)
        self.cluster.poll()
        return self.acknowledged()
