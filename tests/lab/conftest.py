"""One cluster of two real guests per module, for tests that leave it in a state that a power cycle mends."""

import os
from collections.abc import Iterator

import pytest

from hil import Cluster
from hil.config import make_config


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    cluster = Cluster.up(make_config(name=f"t-{name[:20]}-{os.getpid()}", nodes=2))
    try:
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """The module's cluster, mended and all joined; it takes the place of the plugin's, which is new for each test."""
    for node in shared.nodes:
        shared.heal_link(node)
        if node.view.power not in ("running", "off") or node.view.guestd == "exited":
            shared.power_off([node])
    shared.power_on()
    shared.wait_joined()
    return shared
