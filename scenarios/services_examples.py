"""The example services through a power cut: a floating address, a print spooler, a licence server (spec S9.8).

Real programs on real nodes (docs/services-examples.md): the scenario brings them to ``/shared``, as a user would. What
they promise is checked from outside, and from their stamps: at no instant are there two instances of a service.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.client import Cluster, Node
from hil.errors import LaboratoryError
from hil.scenario import ScenarioCluster

pytestmark = [pytest.mark.lab, pytest.mark.guests("the example services are real programs")]

HERE = Path(__file__).parent / "services"
ON_NODES = "/shared/services"
ADDRESS = "10.77.0.200"
LIMIT_S = 300.0


def shell(node: Node, command: str) -> str:
    """What it prints. Raises LaboratoryError if it fails."""
    done = node.ssh(command)
    if done.exited != 0:
        raise LaboratoryError(f"node {node.id}: {command[:80]!r} ended with {done.exited}: {done.stderr.strip()}")
    return str(done.stdout)


def bring(cluster: Cluster, *programs: str) -> None:
    """To where the service files expect them."""
    node = cluster.nodes[0]
    shell(node, "until grep -q ' /shared ' /proc/mounts; do sleep 0.1; done")
    for name in ("instance", *programs):
        node.write_file(f"{ON_NODES}/{name}.py", (HERE / f"{name}.py").read_bytes())


def wait_on(cluster: ScenarioCluster, node: Node, command: str, what: str) -> None:
    """Until a shell command on a node succeeds."""
    end_s = cluster.clock + LIMIT_S
    while node.ssh(command).exited != 0:
        assert cluster.clock < end_s, f"not within {LIMIT_S:.0f} s on node {node.id}: {what}"
        cluster.pass_time(0.3)


class Client:
    """A client program that goes on on a node."""

    def __init__(self, node: Node, name: str, program: str, *words: str) -> None:
        self.node = node
        self.name = name
        started = f"setsid python3 -S {ON_NODES}/{program}.py {' '.join(words)} </dev/null >/run/{name}.out 2>&1 &"
        shell(node, f"{started} echo $! >/run/{name}.pid")

    def lines(self) -> list[list[str]]:
        """The words of each that it has printed so far."""
        text = shell(self.node, f"cat /run/{self.name}.out")
        return [line.split() for line in text.rpartition("\n")[0].splitlines()]

    def wait_lines(self, cluster: ScenarioCluster, count: int) -> list[list[str]]:
        """Until there are so many."""
        test = f'test "$(wc -l </run/{self.name}.out)" -ge {count}'
        wait_on(cluster, self.node, test, f"{count} lines of {self.name}")
        return self.lines()

    def end(self, cluster: ScenarioCluster) -> list[list[str]]:
        """All lines, when it has ended."""
        shell(self.node, f"kill $(cat /run/{self.name}.pid)")
        gone = f"! kill -0 $(cat /run/{self.name}.pid) 2>/dev/null"
        wait_on(cluster, self.node, gone, f"the end of {self.name}")
        return self.lines()


def where(cluster: ScenarioCluster, service: str) -> Node:
    """The node on which it is registered."""
    (node,) = cluster.poll().services[service].registered_on
    return cluster.nodes[node]


def check_lives(node: Node, service: str, instances: int) -> None:
    """By the stamps there were so many instances, one after the other."""
    stamps = [line.split() for line in shell(node, f"cat /shared/stamps/{service}").splitlines()]
    assert [int(number) for number, *_ in stamps] == list(range(1, len(stamps) + 1))
    lives = [(int(registration), int(at), int(incarnation)) for _, _, at, incarnation, registration, _ in stamps]
    in_order = [life for index, life in enumerate(lives) if index == 0 or lives[index - 1] != life]
    assert len(in_order) == len(set(in_order)), f"two instances of {service} at one instant: {in_order}"
    assert in_order == sorted(in_order)
    assert len(in_order) == instances
    for life in in_order:
        own = [event for (_, event, *_), of in zip(stamps, lives, strict=True) if of == life]
        assert own[0] == "start"
        assert "start" not in own[1:]
        assert "end" not in own[:-1], f"an instance of {service} went on after its stop command had ended"


@pytest.mark.cluster(nodes=3)
def test_a_floating_address_moves_and_nothing_counts_twice(
    cluster: ScenarioCluster, request: pytest.FixtureRequest
) -> None:  # S9.8, S9.4
    user, first, second = cluster.nodes
    bring(cluster, "floating_ip", "counter", "counter_client")
    cluster.services.wait_ready()
    cluster.services.add(HERE / "floating_ip.toml")
    cluster.services.wait_registered("counter", on=first)
    client = Client(user, "client", "counter_client", ADDRESS)
    client.wait_lines(cluster, 20)

    cluster.power_off([first])
    cluster.services.wait_registered("counter", on=second)
    client.wait_lines(cluster, len(client.lines()) + 20)
    cluster.power_on([first])
    cluster.wait_joined()
    cluster.services.wait_ready()
    cluster.services.move("address", first)  # and back, without anybody's death
    cluster.services.wait_registered("counter", on=first)
    client.wait_lines(cluster, len(client.lines()) + 20)
    answers = client.end(cluster)

    numbers = [int(number) for number, _, _ in answers]
    assert numbers == list(range(1, len(answers) + 1))
    assert [int(count) for _, count, _ in answers] == numbers, "a request was counted twice, or an answer was lost"
    gaps = sorted((float(gap) for _, _, gap in answers), reverse=True)
    request.node.user_properties.append(("seconds without an answer, longest first", f"{gaps[:3]}"))
    assert ADDRESS not in shell(second, "ip -4 addr")
    check_lives(user, "address", 3)
    check_lives(user, "counter", 3)


@pytest.mark.cluster(nodes=3)
def test_a_spooler_prints_nothing_twice_and_loses_nothing(cluster: ScenarioCluster) -> None:  # S9.8, S9.5
    bring(cluster, "spooler", "spool_job")
    cluster.services.wait_ready()
    cluster.services.add(HERE / "spooler.toml")
    cluster.services.wait_registered("spooler")
    victim = where(cluster, "spooler")
    user = cluster.any_other(victim)
    jobs = {f"job{number}": [f"page{number}.{page}" for page in range(8)] for number in range(1, 7)}
    names = list(jobs)

    def submit(*chosen: str) -> None:
        for name in chosen:
            shell(user, f"python3 -S {ON_NODES}/spool_job.py {name} {' '.join(jobs[name])}")

    submit(*names[:4])
    wait_on(cluster, user, "grep -q page2.3 /shared/spool/paper", "the second job is being printed")
    cluster.power_off([victim])
    submit(names[4])  # it waits for the recovery of the file system, and then for the printer
    cluster.services.wait_registered("spooler")
    assert where(cluster, "spooler") is not victim
    cluster.services.move("spooler")
    submit(names[5])
    cluster.services.wait_registered("spooler")
    wait_on(cluster, user, "grep -q 'end job6' /shared/spool/paper", "all jobs are printed")
    wait_on(cluster, user, "test -e /shared/spool/done/job6", "the last job is done")

    printed = shell(user, "cat /shared/spool/paper").splitlines()
    assert sorted(printed) == sorted(
        line for name, pages in jobs.items() for line in (f"begin {name}", *pages, f"end {name}")
    )
    for name, pages in jobs.items():
        begun = printed.index(f"begin {name}")
        assert printed[begun + 1 : begun + len(pages) + 2] == [*pages, f"end {name}"], f"{name} was not in one piece"
    assert shell(user, "ls /shared/spool/queue /shared/spool/hand | grep job || true") == ""
    assert shell(user, "ls /shared/spool/done").split() == names
    check_lives(user, "spooler", 3)


@pytest.mark.cluster(nodes=3)
def test_a_licence_server_never_hands_out_more_than_it_has(
    cluster: ScenarioCluster, request: pytest.FixtureRequest
) -> None:  # S9.8
    bring(cluster, "licence", "licence_client")
    cluster.services.wait_ready()
    cluster.services.add(HERE / "licence.toml")
    cluster.services.wait_registered("licence")
    victim = where(cluster, "licence")
    users = [node for node in cluster.nodes if node is not victim]
    clients = [Client(users[number % 2], f"c{number}", "licence_client", f"c{number}") for number in range(5)]
    first = [client.wait_lines(cluster, 1)[0] for client in clients]
    assert sorted(said for said, _ in first) == ["has", "has", "has", "none", "none"]
    holders = [client for client, (said, _) in zip(clients, first, strict=True) if said == "has"]

    cluster.power_off([victim])
    cluster.services.wait_registered("licence")
    late = Client(users[0], "late", "licence_client", "late")
    assert late.wait_lines(cluster, 1)[0][0] == "none", "the new server has forgotten who holds a licence"
    for client in holders:
        client.wait_lines(cluster, len(client.lines()) + 2)
    leases = shell(users[0], "cat /shared/licences").split()
    assert leases == sorted(client.name for client in holders)

    said = holders[0].end(cluster)
    assert said[-1] == ["given"]
    again = Client(users[1], "again", "licence_client", "again")
    assert again.wait_lines(cluster, 1)[0][0] == "has"
    told = [client.end(cluster) for client in holders[1:]]
    assert all(line[0] != "lost" for lines in (said, *told) for line in lines), "a client has lost its licence"
    gaps = [float(line[1]) for lines in (said, *told) for line in lines if line[0] == "kept"]
    request.node.user_properties.append(("longest wait for an answer, s", f"{max(gaps):.2f}"))
    check_lives(users[0], "licence", 2)
