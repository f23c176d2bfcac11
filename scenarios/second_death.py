"""A second node dies while the first is recovered, and a third comes meanwhile: one recovery covers both (A12)."""

import pytest

from hil.scenario import ScenarioCluster
from hil.view import View

pytestmark = [pytest.mark.lab, pytest.mark.nightly]


@pytest.mark.case("A12")
@pytest.mark.cluster(nodes=4)
def test_one_recovery_covers_both_and_the_newcomer_waits_where_it_must(cluster: ScenarioCluster) -> None:
    (master,) = cluster.in_role("master")
    newcomer, first, second = (node for node in cluster.nodes if node is not master)
    cluster.shutdown(newcomer)
    cluster.wait_off(newcomer)
    cluster.expect_members([master, first, second])

    with cluster.workload("files", "locks", "volumes") as load:
        load.wait_progress()
        cluster.power_on([newcomer])
        cluster.power_off([first])

        def why_not(view: View) -> str | None:
            state, _ = view.newest.nodes.get(first.id, ("inactive", 0))
            return None if state == "forced-leaving" else f"node {first.id} is {state}"

        cluster.wait(why_not, about="the first recovery")
        cluster.power_off([second])
        cluster.expect_members([master, newcomer])
        load.resume()
        load.wait_progress()
        load.check()

        cluster.power_on([first, second])
        cluster.wait_joined()
        load.resume()
        load.wait_progress()
