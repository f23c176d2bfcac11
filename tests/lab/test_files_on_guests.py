"""Real programs, brought from the host, use /shared on real guests, while nodes lose power (docs/mount.md)."""

from __future__ import annotations

import pytest

from hil import plugin
from hil.scenario import ScenarioCluster
from tests.lab import programs_on_shared as on_shared

cluster = plugin.cluster  # a new one for each test, which goes on from a checkpoint; not the module's of conftest.py
pytestmark = [pytest.mark.lab, pytest.mark.cluster(nodes=3, checkpoint=on_shared.bring_programs)]


def test_programs_go_on_while_another_node_loses_power_and_what_that_one_held_for_done_is_there(  # S7.3
    cluster: ScenarioCluster,
) -> None:
    print(on_shared.programs_go_on_while_another_node_loses_power(cluster, on_shared.SHORT))
    on_shared.check_image(cluster)


def test_records_appended_under_a_lock_are_neither_lost_nor_doubled_nor_torn_by_a_power_cycle(  # S7.3
    cluster: ScenarioCluster,
) -> None:
    print(on_shared.appended_records_are_neither_lost_nor_doubled_nor_torn(cluster, on_shared.SHORT))
    on_shared.check_image(cluster)


def test_a_lock_of_the_dead_waits_for_the_slowest_replay(cluster: ScenarioCluster) -> None:  # A13
    print(on_shared.a_lock_of_the_dead_waits_for_the_slowest_replay(cluster))
    on_shared.check_image(cluster)
