"""Cluster files: what is legal, and what an error says of what is not."""

from pathlib import Path

import pytest

from guestd.core.timing import RELATIONS, RULES, Rule, Timing
from hil.config import load_config, make_config
from hil.errors import BadConfig

DEFAULTS = {name: getattr(Timing(), name) for name in Timing.value_fields}


def test_everything_has_a_default() -> None:
    config = make_config()
    assert (config.name, config.nodes, config.accelerator) == ("demo", 3, "auto")


def test_times_that_are_left_out_are_the_defaults_times_the_factor_and_others_are_taken_as_they_are() -> None:
    assert make_config().timing.resolved(1) == DEFAULTS
    assert make_config().timing.resolved(2.5) == {name: int(value * 2.5) for name, value in DEFAULTS.items()}
    some = make_config(timing={"death_ms": 9_000, "heartbeat_ms": 77}).timing.resolved(2)
    assert some == {
        "heartbeat_ms": 77,
        "disk_heartbeat_ms": 500,
        "death_ms": 9_000,
        "settle_ms": 800,
        "subsystem_ms": 20_000,
    }


def test_times_that_hold_on_some_machine_only_are_refused_on_the_others() -> None:
    timing = make_config(timing={"death_ms": 2_000}).timing
    assert timing.resolved(1)["death_ms"] == 2_000
    with pytest.raises(
        ValueError, match=r"timing.hears_ms = 1000 \(half of death_ms = 2000\) must be more than 2 x disk"
    ):
        timing.resolved(2.5)
    patient = make_config(timing={"settle_ms": 900}).timing
    assert patient.resolved(3)["settle_ms"] == 900
    with pytest.raises(ValueError, match=r"timing.settle_ms = 900 must be at least disk_heartbeat_ms = 1000"):
        patient.resolved(4)


def test_a_heartbeat_that_only_a_slow_machine_bears_is_legal_there() -> None:
    timing = make_config(timing={"heartbeat_ms": 600}).timing
    assert timing.resolved(4)["heartbeat_ms"] == 600
    with pytest.raises(ValueError, match=r"timing.disk_heartbeat_ms = 250 must be at least heartbeat_ms = 600"):
        timing.resolved(1)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"nodes": 1}, ["nodes = 1", "legal: 2 to 64"]),
        ({"nodes": 65}, ["nodes = 65", "legal: 2 to 64"]),
        ({"nodes": "three"}, ["nodes = 'three'", "integer"]),
        ({"memory_mib": 64}, ["memory_mib = 64", "legal: 128 to 65536"]),
        ({"disk_mib": 1}, ["disk_mib = 1", "legal: 16 to 1048576"]),
        ({"shared_mib": 60}, ["\n  shared_mib = 60, with 3 nodes on a disk of 64 MiB (legal: 0, or 1 to 58)"]),
        ({"shared_mib": 8, "nodes": 64}, ["shared_mib = 8, with 64 nodes", "(legal: 0, or 9 to 58)"]),
        ({"shared_mib": 40_000, "disk_mib": 65_536}, ["shared_mib = 40000", "(legal: 0, or 1 to 3"]),
        ({"shared_mib": -1}, ["shared_mib = -1", "greater than or equal to 0"]),
        ({"accelerator": "warp"}, ["accelerator = 'warp'", "'auto', 'kvm' or 'tcg'"]),
        ({"name": "Demo"}, ["name = 'Demo'", "lower case"]),
        ({"name": "9lives"}, ["name = '9lives'", "a letter, then letters"]),
        ({"name": "a" * 32}, ["at most 31"]),
        ({"name": "a\n"}, ["name = "]),
        ({"node": 3}, ["node: no such key", "nodes", "memory_mib"]),
        ({"timing": {"death": 3}}, ["timing.death: no such key", "death_ms", "settle_ms"]),
        ({"timing": {"heartbeat_ms": 1}}, ["timing.heartbeat_ms = 1", "legal: 20 to 10000"]),
        ({"timing": {"death_ms": 300}}, ["\n  timing.death_ms = 300 must be at least 4 x heartbeat_ms"]),
        (
            {"timing": {"heartbeat_ms": 100, "death_ms": 1_000, "disk_heartbeat_ms": 400}},
            ["timing.hears_ms = 500 (half of death_ms = 1000) must be more than 2 x disk_heartbeat_ms = 800"],
        ),
        ({"timing": {"settle_ms": 100}}, ["timing.settle_ms = 100 must be at least disk_heartbeat_ms = 250"]),
        ({"timing": 5}, ["timing"]),
        ({"data_disks": 8}, ["data_disks = 8", "legal: 0 to 7"]),
        ({"data_disks": -1}, ["data_disks = -1", "legal: 0 to 7"]),
        ({"fence": "hope"}, ["fence = 'hope'", "'scsi' or 'panic'"]),
        ({"election": "lots"}, ["election = 'lots'", "'paxos' or 'dekker'"]),
        ({"election": "dekker", "fence": "panic"}, ['\n  election = "dekker" needs fence = "scsi", not "panic"']),
    ],
)
def test_an_illegal_value_is_told_with_its_key_and_what_is_legal(values: dict[str, object], told: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        make_config(**values)
    message = str(caught.value)
    assert [text for text in told if text not in message] == [], message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name} {rule.relation} {rule.bound}")
def test_a_file_that_breaks_a_rule_on_every_machine_is_refused_with_the_rule(rule: Rule) -> None:
    broken = {
        "disk_heartbeat_ms at least heartbeat_ms": {"heartbeat_ms": 501, "disk_heartbeat_ms": 500},
        "death_ms at least 4 x heartbeat_ms": {"heartbeat_ms": 500, "disk_heartbeat_ms": 500, "death_ms": 1_999},
        "hears_ms more than 2 x disk_heartbeat_ms": {"disk_heartbeat_ms": 500, "death_ms": 2_001},
        "settle_ms at least disk_heartbeat_ms": {"disk_heartbeat_ms": 500, "settle_ms": 499, "death_ms": 9_000},
        "settle_ms at most 2 x death_ms": {"settle_ms": 24_001},
    }
    name = f"{rule.name} {RELATIONS[rule.relation]} {rule.bound}"
    with pytest.raises(BadConfig) as caught:
        make_config(timing=broken[name])
    assert f"timing.{rule.name} = " in str(caught.value)
    assert f"must be {RELATIONS[rule.relation]} {rule.bound} = " in str(caught.value)


def test_every_wrong_key_is_told_at_once() -> None:
    with pytest.raises(BadConfig) as caught:
        make_config(nodes=1, memory_mib=1, colour="red")
    assert len(str(caught.value).splitlines()) == 4


def test_a_file_is_read_and_the_command_line_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('name = "lab"\nnodes = 4\n[timing]\ndeath_ms = 5000\n')
    config = load_config(file, nodes=5)
    assert (config.name, config.nodes, config.timing.death_ms) == ("lab", 5, 5_000)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text("nodes = 1\n")
    with pytest.raises(BadConfig, match=rf"cluster file {file}:\n  nodes = 1"):
        load_config(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file or directory"):
        load_config(tmp_path / "none.toml")


def test_a_directory_is_no_cluster_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("content", [b"nodes = ", b"\xff\xfe", b"= 3"])
def test_what_is_no_toml_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "lab.toml"
    file.write_bytes(content)
    with pytest.raises(BadConfig, match="is not TOML"):
        load_config(file)


def test_a_configuration_survives_its_own_dump() -> None:
    config = make_config(name="lab", nodes=7, timing={"death_ms": 6_000})
    assert make_config(**config.model_dump()) == config
