"""On which back end a session's tests run, and how each of them gets its cluster there (used by ``hil.plugin``).

On guests ``hil_start`` starts a bench. In a simulation each test's cluster is simulated in the test's own process, from
a seed: ``--hil-seed``, one more for each round of ``--hil-repeat``. The same seed is the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hil.client.backend import ONLY_SIMULATED, refuse_guests
from hil.errors import UsageError
from hil.lab import cluster_name, unique_cluster_name
from hil.selection import round_of

if TYPE_CHECKING:
    from hil.config import ClusterConfig
    from hil.scenario import ScenarioCluster
    from hil.shared import Wanted

QEMU, SIM = "qemu", "sim"
MARKER = (
    "simulation(delay_us_max=..., drift_ppm_max=..., ...): options of the simulated world (docs/simulator.md), instead"
    " of those drawn from the seed; refused on guests"
)


GUESTS_MARKER = "guests(why): real programs run on the nodes; refused in a simulation"


def add_options(group: pytest.OptionGroup) -> None:
    """``--hil-backend`` and what goes with it."""
    group.addoption("--hil-backend", choices=[QEMU, SIM], default=QEMU, help="real machines (qemu) or simulated ones")
    group.addoption(
        "--hil-seed",
        metavar="S",
        type=int,
        help="with --hil-backend sim: what the run follows from; with --hil-faults: what the plan is drawn from",
    )


def is_simulated(config: pytest.Config) -> bool:
    """Whether the tests of this session run in the simulator."""
    return bool(config.getoption("hil_backend") == SIM)


def check(config: pytest.Config) -> None:
    """Register the marker. Raises pytest's ``UsageError`` for options that one of the back ends does not have."""
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", GUESTS_MARKER)
    seed = config.getoption("hil_seed")
    if not is_simulated(config) and seed is not None and config.getoption("hil_faults") is None:
        raise pytest.UsageError(f"--hil-seed {seed}: guests follow from no seed; --hil-backend sim does")
    if seed is not None and seed < 0:
        raise pytest.UsageError(f"--hil-seed {seed}: legal are 0 and more")
    if not is_simulated(config):
        return
    config.add_cleanup(
        refuse_guests(
            "a test that starts guests by itself cannot run with --hil-backend sim; one that takes the fixture"
            " `cluster` can. Without --hil-backend sim it runs on guests"
        )
    )
    for option in ("hil_keep", "hil_keep_failed"):
        if config.getoption(option):
            name = option.replace("_", "-")
            raise pytest.UsageError(
                f"--{name}: a simulated cluster ends with the process that simulates it; its seed repeats it"
            )


def seed_of(item: pytest.Item) -> int | None:
    """The seed that the test's cluster follows from; None on guests."""
    return plan_seed(item) if is_simulated(item.config) else None


def plan_seed(item: pytest.Item) -> int:
    """The seed that the test's plan of faults is drawn from, one more for each round."""
    return int(item.config.getoption("hil_seed") or 0) + round_of(item) - 1


def repeat_options(item: pytest.Item) -> list[str]:
    """What makes ``hil run`` repeat the test on its back end."""
    told = ["--backend", SIM] if is_simulated(item.config) else []
    if (plan := item.config.getoption("hil_faults")) is not None:
        told += ["--faults", str(plan)]
    return [*told, "--seed", str(plan_seed(item))] if told else []


def name_for(item: pytest.Item) -> str:
    """The name of the test's cluster. A simulated one has the same in each run, for it is written on its disk."""
    test = getattr(item, "originalname", None) or item.name
    return cluster_name(test, SIM) if is_simulated(item.config) else unique_cluster_name(test)


def starter(item: pytest.Item, on_guests: Callable[..., ScenarioCluster]) -> Callable[..., ScenarioCluster]:
    """How the test's cluster is started. Raises :class:`UsageError` for a marker that the back end cannot obey."""
    marker = item.get_closest_marker("simulation")
    seed = seed_of(item)
    if seed is None:
        if marker is not None:
            asked = ", ".join(f"{name}={value!r}" for name, value in marker.kwargs.items())
            raise UsageError(f"simulation({asked}): {ONLY_SIMULATED['simulation']}; `--backend sim` can")
        return on_guests
    if marker is not None and marker.args:
        raise UsageError(f"{item.nodeid}: @pytest.mark.simulation takes keywords only: {MARKER}")
    if (guests := item.get_closest_marker("guests")) is not None:
        why = f": {guests.args[0]}" if guests.args else ""
        raise UsageError(f"{item.name} needs guests{why}; `--backend qemu` has them")
    asked_options: dict[str, Any] = {} if marker is None else dict(marker.kwargs)

    def start(config: ClusterConfig, *, cold: bool = False) -> ScenarioCluster:
        from hil.scenario import ScenarioCluster
        from hil.sim.backend.simulated import Simulated

        return ScenarioCluster(config.name, Simulated(config, seed, asked_options))

    return start


class PreparedAnew:
    """In a simulation a shared beginning is cheaper gone through again than saved (:mod:`hil.shared` for guests)."""

    def start(self, wanted: Wanted, start: Callable[..., ScenarioCluster]) -> ScenarioCluster:
        """The cluster."""
        return start(wanted.config, cold=wanted.cold)

    def save(self, wanted: Wanted, cluster: ScenarioCluster) -> None:
        """Prepare it, where the marker says how."""
        if callable(wanted.checkpoint):
            wanted.checkpoint(cluster)

    def remove(self) -> None:
        """Nothing was saved."""
