"""The bench's abstract socket is its name, its lock and its registry."""

import os
import socket
import subprocess
import sys

import pytest

from hil.bench import address
from hil.errors import AlreadyUp, UnknownCluster


@pytest.fixture
def name() -> str:
    return f"t-address-{os.getpid()}"


def test_a_name_is_listed_while_its_listener_lives_and_only_then(name: str) -> None:
    with address.listen(name):
        assert name in address.running_clusters()
    assert name not in address.running_clusters()


def test_a_name_cannot_be_taken_twice(name: str) -> None:
    with address.listen(name), pytest.raises(AlreadyUp, match=f"{name}.*already up.*hil down {name}"):
        address.listen(name)


def test_a_killed_listener_leaves_nothing(name: str) -> None:
    program = f"from hil.bench import address; s = address.listen({name!r}); print('up', flush=True); s.accept()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert name in address.running_clusters()
        process.kill()
    assert name not in address.running_clusters()
    address.listen(name).close()


def test_an_unknown_cluster_is_refused_with_the_ones_that_run(name: str) -> None:
    with (
        address.listen(name),
        pytest.raises(UnknownCluster, match=f"no cluster 'nobody' is running; running: .*{name}"),
    ):
        address.connect("nobody")


def test_without_a_name_two_clusters_are_listed(name: str) -> None:
    with address.listen(name), address.listen(name + "b"), pytest.raises(UnknownCluster, match=f"{name}, {name}b"):
        address.choose(None)


def test_the_peer_of_a_connection_is_this_user(name: str) -> None:
    with address.listen(name) as listener, address.connect(name) as client:
        server, _ = listener.accept()
        with server:
            assert address.peer_user(server) == address.peer_user(client) == os.getuid()


def test_names_of_other_programs_are_not_listed(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0hil/{os.getuid()}/NOT-A-NAME-{os.getpid()}")
        assert not [one for one in address.running_clusters() if one.startswith("NOT-A-NAME")]
