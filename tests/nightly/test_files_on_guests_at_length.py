"""Real programs on /shared of real guests while nodes lose power, at length: a thousand records of each node.

``HIL_FILES_ROUNDS`` (3): how often another node loses power, at another moment of its own.
"""

from __future__ import annotations

import os

import pytest

from hil.scenario import ScenarioCluster
from tests.lab import programs_on_shared as on_shared

ROUNDS = int(os.environ.get("HIL_FILES_ROUNDS") or 3)

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(3600),
    pytest.mark.cluster(nodes=3, disk_mib=256, memory_mib=384, checkpoint=on_shared.bring_programs),
]


@pytest.mark.parametrize("commits", range(1, ROUNDS + 1))
def test_programs_go_on_while_another_node_loses_power_and_what_that_one_held_for_done_is_there(  # S7.3
    cluster: ScenarioCluster, commits: int
) -> None:
    print(on_shared.programs_go_on_while_another_node_loses_power(cluster, on_shared.LONG, commits))
    on_shared.check_image(cluster)


def test_records_appended_under_a_lock_are_neither_lost_nor_doubled_nor_torn_by_a_power_cycle(  # S7.3
    cluster: ScenarioCluster,
) -> None:
    print(on_shared.appended_records_are_neither_lost_nor_doubled_nor_torn(cluster, on_shared.LONG))
    on_shared.check_image(cluster)


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_a_lock_of_the_dead_waits_for_the_slowest_replay(cluster: ScenarioCluster, turn: int) -> None:  # A13
    print(turn, on_shared.a_lock_of_the_dead_waits_for_the_slowest_replay(cluster))
    on_shared.check_image(cluster)
