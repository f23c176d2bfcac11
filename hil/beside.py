"""A plan of faults beside a scenario: it strikes while the scenario does what it does (``hil run --faults PLAN``).

On guests it is played in a thread, by a client of its own, so that it goes on while the scenario waits for something
else. In a simulation time goes on only while somebody waits: the plan acts between two of the world's events, which
makes a run follow from its seeds alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hil.client import Cluster
from hil.errors import InvalidRun, UsageError
from hil.faults.fault import backend_of
from hil.faults.plan import FaultPlan
from hil.play import Player

if TYPE_CHECKING:
    from hil.scenario import ScenarioCluster

CHECKOUT = Path(__file__).resolve().parents[1]
PLANS = Path("scenarios", "faults")


class Beside:
    """``problem``: why the run is invalid; None as far as is known."""

    def __init__(self, cluster: ScenarioCluster, plan: FaultPlan) -> None:
        """Checks the plan, and begins. Raises :class:`hil.errors.UsageError` for one that this cluster cannot have."""
        plan.check(len(cluster.nodes), backend_of(cluster))
        self.plan = plan
        self.problem: Exception | None = None
        for node in cluster.nodes:
            cluster.allow_panic(node)  # which ones do is for the checkers to judge
        self._cluster = cluster
        self._client = Cluster(cluster.name, cluster.backend.another())
        self._client.catch_up()
        self._player = Player(self._client, plan, strict=True)
        self._player.begin()
        self._finished = False
        self._stop = cluster.backend.beside(self._act)
        cluster.beside = self

    def why_not_over(self) -> str | None:
        """None when the plan is over. Raises what made the run invalid."""
        if self.problem is not None:
            raise self.problem
        return None if self._player.over else f"plan {self.plan.name} goes on"

    def abandon(self) -> None:
        """Nothing is asked of the cluster any more: it is about to be taken down."""
        if not self._finished:
            self._finished = True
            self._stop()
            self._client.close()

    def finish(self) -> None:
        """The scenario is over: so is the plan, and all is healed.

        Raises :class:`InvalidRun` for a fault that did not take hold or was not undone, and if none did.
        """
        if self._finished:
            return
        self._finished = True
        self._stop()
        try:
            if self.problem is None:
                self._player.stop()
        finally:
            self._client.close()
        if self.problem is not None:
            raise self.problem
        if self.plan.steps and not self._player.struck:
            ran_s = self._client.clock - self._player.begun_s
            raise InvalidRun(
                f"plan {self.plan.name}: none of its faults has taken hold: the scenario was over after {ran_s:.1f} s,"
                f" the first is for {self.plan.steps[0].at_ms / 1000:.1f} s"
            )

    def _act(self) -> float | None:
        try:
            return self._player.act()
        except Exception as error:
            self.problem = error
            raise


def find(name: str) -> Path:
    """The file of a plan: a path, or the name of one in ``scenarios/faults``. Raises :class:`UsageError`."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    there = {one.stem: one for home in (CHECKOUT, Path.cwd()) for one in (home / PLANS).glob("*.toml")}
    if name not in there:
        raise UsageError(f"no plan {name!r}, and no such file; there are: {', '.join(sorted(there)) or 'none'}")
    return there[name]
