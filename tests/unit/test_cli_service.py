"""`hil service`: what is checked, sent, waited for and shown; event managers are real, nodes and commands are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.cli import main
from hil.cli.service import in_groups
from tests.unit.serviced_bench import Stack, serviced_bench


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with serviced_bench(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """Two generations, and one service that is started by hand."""
    path = tmp_path / "services.toml"
    path.write_text(
        """
[[service]]
name = "web"
node_preferences = [1]
start_command = "/bin/true"
stop_command = "/bin/true"
notify_command = "/bin/true"

[[service]]
name = "pages"
parent = "web"
start_command = "/bin/true"

[[service]]
name = "archive"
auto_register = "manual"
""",
        encoding="utf-8",
    )
    return path


def hil(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_add_checks_the_files_sends_them_and_waits_until_they_run(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:  # S9.1, S9.4
    status, out, err = hil(capsys, "service", "add", str(group))
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "web: registered on node 1",
        "pages: registered on node 1",
        "archive: added; `hil service start archive` has it registered",
    ]
    (sent,) = (request["service"] for _, request in stack.asked if request["service"]["do"] == "add")
    assert [table["name"] for table in sent["services"]] == ["web", "pages", "archive"]


def test_nothing_is_sent_of_a_file_that_is_wrong(
    capsys: pytest.CaptureFixture[str], stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('[[service]]\nname = "a"\nallowable_nodes = [3]\nstrt_command = "/x"\n', encoding="utf-8")
    status, out, err = hil(capsys, "service", "add", str(path))
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"hil: {path}:3: service 'a': allowable_nodes: 3 is no node of the cluster (legal: 0 to 2)",
        f"{path}:4: service 'a': strt_command: is no field of a service (did you mean start_command?)",
    ]
    assert {request["service"]["do"] for _, request in stack.asked} == {"list"}


def test_a_service_that_the_cluster_has_is_refused_with_its_line(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:
    assert hil(capsys, "service", "add", str(group))[0] == 0
    status, _, err = hil(capsys, "service", "add", str(group))
    assert status == 2
    assert (
        err.splitlines()[0] == f"hil: {group}:3: service 'web': name: there is such a service already (remove it first)"
    )


def test_add_tells_that_a_service_awaits_the_maturity_of_the_cluster(
    capsys: pytest.CaptureFixture[str], stack: Stack, tmp_path: Path
) -> None:  # S9.3
    path = tmp_path / "late.toml"
    path.write_text('[[service]]\nname = "late"\nmaturity_count = 4\n', encoding="utf-8")
    assert hil(capsys, "service", "add", str(path)) == (
        0,
        "late: added; it awaits the maturity of the cluster\n",
        "",
    )
    assert "late     awaiting maturity  M" in hil(capsys, "service", "list")[1]


def test_change_gives_a_service_other_parameters_and_moves_nothing(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path, tmp_path: Path
) -> None:  # S9.2
    hil(capsys, "service", "add", str(group))
    other = tmp_path / "other.toml"
    other.write_text('[[service]]\nname = "web"\ndisallowable_nodes = [1]\nstart_command = "/bin/true"\n', "utf-8")
    assert hil(capsys, "service", "change", str(other)) == (0, "changed: web\n", "")
    status, out, _ = hil(capsys, "service", "show", "web", "--explain")
    assert status == 0
    assert "node 1: chosen: among disallowable_nodes" in out
    other.write_text('[[service]]\nname = "none"\n', "utf-8")
    status, _, err = hil(capsys, "service", "change", str(other))
    assert (status, err.split("/")[-1]) == (
        2,
        "other.toml:2: name: the cluster has no such service (legal: archive, pages, web)\n",
    )


def test_list_shows_groups_with_indentation_flags_and_places(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:
    assert hil(capsys, "service", "list") == (0, "no services; `hil service add FILE.toml` adds some\n", "")
    hil(capsys, "service", "add", str(group))
    lines = hil(capsys, "service", "list")[1].splitlines()
    assert [line.split() for line in lines] == [
        ["service", "state", "flags", "nodes", "parent"],
        ["archive", "-", "(stopped)", "-", "-", "-"],
        ["web", "registered", "N", "n1", "-"],
        ["pages", "registered", "-", "n1", "web"],
    ]
    assert lines[3].startswith("  pages")
    told = json.loads(hil(capsys, "service", "list", "--json")[1])
    assert [one["name"] for one in told["services"]] == ["archive", "web", "pages"]
    assert told["nodes"][0]["quarantined"] is False


def test_groups_are_in_order_whatever_the_order_they_come_in() -> None:
    told = [{"name": name, "parent": parent} for name, parent in (("c", "b"), ("b", "a"), ("a", None), ("0", "gone"))]
    assert [(depth, one["name"]) for depth, one in in_groups(told)] == [(0, "0"), (0, "a"), (1, "b"), (2, "c")]


def test_show_explains_rule_by_rule(capsys: pytest.CaptureFixture[str], stack: Stack, group: Path) -> None:  # S9.2
    hil(capsys, "service", "add", str(group))
    status, out, _ = hil(capsys, "service", "show", "web", "--explain")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "web: registered, n1, registration 1, flags N"
    assert "  children: pages" in lines
    explained = [line for line in lines if line.startswith("  node ")]
    assert len(explained) == 3
    assert explained[1].startswith("  node 1: chosen: allowable; up; preferred node 1; ")
    assert explained[0].startswith("  node 0: not chosen: allowable; up; not a preferred node; ")
    assert '  start_command = ["/bin/true"]' in lines
    told = json.loads(hil(capsys, "service", "show", "web", "--json")[1])
    assert (told["name"], told["children"], told["definition"]["node_preferences"]) == ("web", ["pages"], [1])


def test_an_unknown_service_is_a_usage_error_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:
    hil(capsys, "service", "add", str(group))
    for verb in ("show", "remove", "move", "start", "stop"):
        status, out, err = hil(capsys, "service", verb, "wob")
        assert (status, out) == (2, "")
        assert err == "hil: 'wob' is no service (legal: archive, pages, web)\n"


def test_move_stop_start_and_remove_return_when_it_is_so(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:  # S9.6
    hil(capsys, "service", "add", str(group))
    assert hil(capsys, "service", "move", "web", "n2") == (0, "web: registered on node 2\n", "")
    assert stack.world.shown("pages")["nodes"] == {"2": "registered"}
    assert hil(capsys, "service", "stop", "web") == (0, "web: stopped\n", "")
    assert stack.world.shown("pages")["state"] == "-"
    assert hil(capsys, "service", "start", "web") == (0, "web: registered on node 1\n", "")
    assert hil(capsys, "service", "start", "archive")[0] == 0
    assert hil(capsys, "service", "remove", "web") == (0, "web: removed\n", "")
    assert [one["name"] for one in stack.world.ask(0, do="list")["services"]] == ["archive"]


def test_what_cannot_be_moved_is_refused_with_what_is_legal(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:
    hil(capsys, "service", "add", str(group))
    assert hil(capsys, "service", "move", "pages")[2] == "hil: pages goes where its parent goes: move web\n"
    assert hil(capsys, "service", "move", "web", "1")[2] == "hil: web cannot go to node 1 (legal: 0, 2)\n"
    status, _, err = hil(capsys, "service", "move", "web", "3")
    assert (status, err) == (2, "hil: no node '3' in this cluster; there are: 0, 1, 2\n")


def test_a_move_to_a_node_on_which_it_does_not_start_is_a_claim_that_failed(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:  # S9.5
    hil(capsys, "service", "add", str(group))
    stack.status["web", "start", 2] = 1
    status, out, err = hil(capsys, "service", "move", "web", "2")
    assert (status, out) == (1, "")
    assert err.startswith("hil: web moved to node 2: its start has failed there; it is registered on node ")


def test_a_service_that_starts_nowhere_fails_at_once(
    capsys: pytest.CaptureFixture[str], stack: Stack, group: Path
) -> None:  # S9.5
    stack.status = {("web", "start", node): 1 for node in range(3)}
    status, out, err = hil(capsys, "service", "add", str(group), "--timeout", "600")
    assert (status, out) == (1, "")
    assert err == ("hil: service web registered: its start has failed on node 0, 1, 2, and no other node may have it\n")
    status, out, _ = hil(capsys, "service", "show", "web")
    assert "  failed on node 0, 1, 2; `hil service start web` tries again" in out.splitlines()


def test_no_wait_returns_before(capsys: pytest.CaptureFixture[str], stack: Stack, group: Path) -> None:
    assert hil(capsys, "service", "add", str(group), "--no-wait")[1] == "added: web, pages, archive\n"
    assert hil(capsys, "service", "move", "web", "--no-wait")[1] == "web: is being moved\n"
    assert hil(capsys, "service", "stop", "web", "--no-wait")[1] == "web: is being stopped\n"
    assert hil(capsys, "service", "start", "web", "--no-wait")[1] == "web: is being started\n"
    assert hil(capsys, "service", "remove", "web", "--no-wait")[1] == "web: is being removed\n"


def test_status_shows_the_services(capsys: pytest.CaptureFixture[str], stack: Stack, group: Path) -> None:
    hil(capsys, "service", "add", str(group))
    lines = hil(capsys, "status")[1].splitlines()
    assert "service web: registered on node 1 [N]" in lines
    assert "service pages: registered on node 1" in lines
    told = json.loads(hil(capsys, "status", "--json")[1])["services"]["web"]
    assert told == {
        "state": "registered",
        "flags": "N",
        "nodes": {"1": "registered"},
        "registration": 1,
        "why": "started",
    }


def test_status_counts_many_services(capsys: pytest.CaptureFixture[str], stack: Stack) -> None:
    for number in range(40):
        fields = {"subject": number % 2, "state": "registered", "registration": 1, "flags": "", "why": "started"}
        stack.bench.log.emit("service", node=0, service=f"s{number}", **fields)
    lines = hil(capsys, "status")[1].splitlines()
    assert "services: 20 registered on node 0, 20 registered on node 1; `hil service list` shows each" in lines
