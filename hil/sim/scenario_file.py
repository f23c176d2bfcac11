"""Writes a shortened run as a scenario: a Python file for people, for ``hil run``, and for ``hil sim --play``.

``PLAN`` is what any back end plays; ``SIMULATED`` are the options with which the simulator repeats the very run. Where
it takes chance that only the simulator has (lost datagrams, clocks that are wrong), a marker says so, and ``hil run``
refuses the file on guests by its name.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from hil.sim.options import differing

if TYPE_CHECKING:
    from hil.sim.case import Case
    from hil.sim.shrink import Shrunk

ONLY_SIMULATED = ("drift_ppm_max", "programs")
"""Options besides the shares that guests do not have."""

_TEMPLATE = '''\
"""{headline}

{about}

The very run again: hil sim --play {name}
On a cluster:       hil run {name}
"""

import pytest

from hil.checkers import level_order
from hil.play import Fault, Plan, play
from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

SIMULATED: dict[str, object] = {{{options}}}

PLAN = Plan(
    until_ms={until_ms},
    faults=({faults}),
)


{marker}@pytest.mark.cluster(nodes={nodes}{disks}, joined=False)
def test_{test}(cluster: ScenarioCluster) -> None:
    before = cluster.view.n
    play(cluster, PLAN)
    cluster.wait_joined()
    level_order.check(cluster.events(since=before))
'''


def scenario(shrunk: Shrunk, name: str) -> str:
    """The text of the file ``name``, which is a path as it is typed."""
    before = shrunk.before
    seed, preset = before.options.seed, before.options.preset
    about = (
        f"Found by the simulator: seed {seed} of {preset} with {before.options.nodes} nodes and"
        f" {len(before.plan.faults)} faults, reduced to what it takes."
    )
    violation = (shrunk.result.violation or "").replace("\\", "\\\\").replace('"""', "'''")
    return source(
        shrunk.after,
        name,
        headline=f"{shrunk.result.claim}: it did not hold in this run.",
        about=f"{about} The claim was broken thus:\n{violation}.",
        test=f"seed_{seed}_of_{preset}",
    )


def source(case: Case, name: str, *, headline: str, about: str, test: str) -> str:
    """A scenario that plays that case. ``headline`` and ``about``: its docstring; ``test``: the name of the test."""
    options = differing(case.options)
    faults = "".join(f"\n        {fault.source()}," for fault in case.plan.faults)
    return _TEMPLATE.format(
        headline=headline,
        about="\n".join(line for one in about.split("\n") for line in textwrap.wrap(one, 118)),
        name=name,
        options="".join(f'\n    "{key}": {_literal(value)},' for key, value in options.items()) + "\n" * bool(options),
        until_ms=case.plan.until_ms,
        faults=f"{faults}\n    " if faults else "",
        marker=_marker(options),
        nodes=case.options.nodes,
        disks=f", data_disks={case.options.data_disks}" if case.options.data_disks else "",
        test=test,
    )


def _marker(options: dict[str, Any]) -> str:
    """With all that makes a difference, if there is anything that guests cannot have."""
    chances = [name for name in options if name.endswith("_share") or name in ONLY_SIMULATED]
    if not chances:
        return ""
    given = {name: value for name, value in options.items() if name not in ("preset", "seed", "nodes", "data_disks")}
    return f"@pytest.mark.simulation({', '.join(f'{name}={_literal(value)}' for name, value in given.items())})\n"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
