"""The whole cluster loses power again and again in the middle of everything, and comes back with all that it had (A25).

In the middle of writes to files, of locks that change hands, of mirrors that are made, of services, and by turns of a
leave, of a death and the recovery after it, and of a join. After each round all have joined, the file system is sound,
each service runs once, and nothing that was acknowledged is lost. Five rounds in
`./run test`, fifty in `./run nightly`.
"""

import random
import statistics

import pytest

from hil.scenario import ScenarioCluster

pytestmark = pytest.mark.lab

MOMENT_S = 1.0
"""Times the factor of the cluster: within so long after something has begun the power fails."""


def begin_something(cluster: ScenarioCluster, turn: int, draw: random.Random) -> str:
    """Besides the load; what it is."""
    node = draw.choice(cluster.in_role("any"))
    if turn % 4 == 0:
        cluster.shutdown(node)
        return "leave"
    if turn % 4 == 1:
        cluster.power_off([node])
        return "recovery"
    if turn % 4 == 2:
        cluster.power_cycle([node])
        return "join"
    return "load alone"


@pytest.mark.case("A25")
@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.nightly, pytest.mark.timeout(50 * 180)])])
@pytest.mark.cluster(nodes=3)
def test_nothing_acknowledged_is_lost_by_power_failures(
    cluster: ScenarioCluster,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    rounds: int,
) -> None:
    draw = random.Random(rounds)
    factor = cluster.settings["settings"]["timing_factor"]
    joined_s: list[float] = []
    found: dict[str, int] = {}
    with cluster.workload("files", "locks", "volumes", "services") as load:
        for turn in range(rounds):
            load.wait_progress(2)
            begun = begin_something(cluster, turn, draw)
            cluster.pass_time(draw.uniform(0, MOMENT_S * factor))
            cluster.power_off()

            on_s = cluster.clock
            cluster.power_on()
            cluster.expect_members(cluster.nodes)
            joined_s.append(cluster.clock - on_s)
            print(f"round {turn + 1} of {rounds}: {begun}; all have joined after {joined_s[-1]:.2f} s", flush=True)
            load.resume()
            found = load.check()

    mean, spread = statistics.mean(joined_s), statistics.pstdev(joined_s)
    told = (
        f"{len(joined_s)} of {rounds} rounds right; seconds from power on until all have joined: mean {mean:.2f},"
        f" worst {max(joined_s):.2f}, spread {spread:.2f}; looked at {found}"
    )
    request.node.user_properties.append(("power failures", told))
    with capsys.disabled():
        print(f"\n{told}")
