"""`hil fault` without machines: what it lists, what it refuses at once, what it says of what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hil.cli import main
from hil.client import Cluster
from hil.faults.fault import BACKENDS
from hil.faults.library import KINDS
from hil.scenario import ScenarioCluster
from tests.unit.sim_cluster import started


def hil(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A simulated one in the place of the running one: the verbs are the client's, whatever is behind it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with started() as made:
        again = type(made)
        monkeypatch.setattr(Cluster, "connect", lambda name=None: again(made.name, made.backend))
        monkeypatch.setattr(ScenarioCluster, "close", lambda cluster: None)
        yield made


def test_the_list_has_every_kind_with_all_that_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = hil(capsys, "fault", "list", "--json")
    listed = json.loads(out)
    assert status == 0
    assert [one["fault"] for one in listed] == list(KINDS)
    for one in listed:
        assert set(one["backends"]) | set(one["lacking"]) == set(BACKENDS)
        assert set(one["parameters"]) == set(KINDS[one["fault"]].parameters)
    status, out, _ = hil(capsys, "fault", "list")
    assert "slow-cpu             each input takes the node's processors so long (only --backend sim)" in out
    assert "  share=             how many of a thousand: 1 to 1000 (needed)" in out


def test_a_fault_is_injected_shown_and_healed_by_processes_of_their_own(
    capsys: pytest.CaptureFixture[str], cluster: ScenarioCluster
) -> None:
    status, out, err = hil(capsys, "fault", "inject", "link-silent", "1", "direction=out", "others=0,2")
    assert (status, err) == (0, "")
    assert out == "fault 1: link-silent of node 1 direction=out others=[0, 2]: holds\n"
    assert hil(capsys, "fault", "inject", "disk-hang", "master", "lba=0-9999999")[0] == 0
    told = json.loads(hil(capsys, "fault", "show", "--json")[1])
    assert [(one["number"], one["fault"], one["whom"], one["step"]) for one in told] == [
        (1, "link-silent", "1", "holds"),
        (2, "disk-hang", "master", "holds"),
    ]
    assert hil(capsys, "fault", "heal", "2")[1].startswith("fault 2: disk-hang of node")
    assert hil(capsys, "fault", "heal")[1] == "fault 1: link-silent of node 1 undone\n"
    assert hil(capsys, "fault", "heal")[1] == "no fault to heal\n"
    assert hil(capsys, "fault", "show")[1] == "no fault in force\n"


def test_a_fault_that_cannot_take_hold_ends_with_status_4(  # S10.7
    capsys: pytest.CaptureFixture[str], cluster: ScenarioCluster
) -> None:
    cluster.power_off([cluster.nodes[1]])
    status, out, err = hil(capsys, "fault", "inject", "panic", "1")
    assert (status, out) == (4, "")
    assert err == "hil: panic of node 1: its machine is off\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("cut", "1"), "no fault 'cut'; there are: power-off, "),
        (("link-loss", "1"), "fault link-loss needs share"),
        (("link-loss", "1", "share=much"), "fault link-loss: share=much (legal: 1 to 1000)"),
        (("link-loss", "1", "share=7", "share=8"), "'share=8' (legal: each parameter once, as key=value)"),
        (("link-silent", "1", "out"), "'out' (legal: each parameter once, as key=value)"),
        (("link-silent", "1", "others=x"), "fault link-silent: others=x (legal: numbers of nodes, each once, as 0,2)"),
        (("link-split", "all", "groups=0/1/"), "fault link-split: groups=0/1/ (legal: two groups or more"),
        (("disk-hang", "1", "lba=9-1"), "fault disk-hang: lba = [9, 1] (legal: first and last block"),
        (("power-off", "1", "ms=3"), "fault power-off: parameter 'ms' is not known (legal: none)"),
    ],
)
def test_what_is_not_legal_is_refused_before_a_cluster_is_looked_for(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    status, _, err = hil(capsys, "fault", "inject", *arguments)
    assert status == 2
    assert told in err


def test_what_does_not_exist_is_refused_with_what_does(
    capsys: pytest.CaptureFixture[str], cluster: ScenarioCluster
) -> None:
    assert hil(capsys, "fault", "inject", "power-off", "boss")[0] == 2
    status, _, err = hil(capsys, "fault", "heal", "7")
    assert (status, err) == (2, "hil: no fault '7'; there are: none\n")
