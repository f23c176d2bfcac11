"""By what the cluster's times are multiplied on a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hil import machine, timing
from hil.bench.start import timing_settings
from hil.config import FACTORS, make_config
from hil.errors import BadConfig


@pytest.mark.parametrize(
    ("speed", "kind", "nodes", "cores", "factor"),
    [
        pytest.param(1, "kvm", 3, 2, 1, id="the reference machine"),
        pytest.param(1, "kvm", 64, 2, 1, id="KVM shares its cores by itself"),
        pytest.param(1.333, "kvm", 3, 2, 1.33, id="a slower core"),
        pytest.param(0.5, "kvm", 3, 2, 1, id="a faster core hurries nobody"),
        pytest.param(1, "tcg", 3, 2, 2.5, id="three emulated nodes on two cores"),
        pytest.param(1, "tcg", 3, 16, 2.5, id="more cores than nodes do not make one faster"),
        pytest.param(1, "tcg", 6, 2, 5, id="twice as many nodes on a core"),
        pytest.param(2, "tcg", 3, 2, 5, id="emulated on a slower core"),
        pytest.param(1, "tcg", 64, 2, 10, id="at most ten"),
    ],
)
def test_the_factor_goes_by_the_core_by_emulation_and_by_nodes_that_share_a_core(
    speed: float, kind: str, nodes: int, cores: float, factor: float
) -> None:
    assert timing.factor(speed, kind, nodes, cores) == factor


def test_a_cluster_file_is_judged_by_every_factor_that_can_be() -> None:
    assert (FACTORS[0], FACTORS[-1]) == (timing.FACTOR_MIN, timing.FACTOR_MAX)


@pytest.fixture
def speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which an emulated cluster of two has the factor 2.5."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "_loop_s", lambda: 0.01)
    monkeypatch.setattr(timing, "cores", lambda _host: 2)


@pytest.mark.usefixtures("speed")
def test_the_factor_and_the_times_that_it_makes_are_told_to_the_bench() -> None:
    assert timing_settings(make_config(), "tcg") == {
        "timing_factor": 2.5,
        "timing": {
            "heartbeat_ms": 250,
            "disk_heartbeat_ms": 625,
            "death_ms": 3000,
            "settle_ms": 1000,
            "subsystem_ms": 25_000,
        },
    }
    assert timing_settings(make_config(timing={"death_ms": 2000}), "kvm")["timing_factor"] == 1


@pytest.mark.usefixtures("speed")
def test_times_that_contradict_each_other_on_this_machine_only_are_refused_with_its_factor() -> None:
    with pytest.raises(BadConfig, match=r"timing.hears_ms = 1000 ") as caught:
        timing_settings(make_config(name="lab", timing={"death_ms": 2000}), "tcg")
    assert str(caught.value).startswith("cluster 'lab': timing.hears_ms")
    assert "times 2.5 on this machine (tcg)" in str(caught.value)


@pytest.mark.usefixtures("speed")
def test_the_nodes_get_the_times_that_are_told(tmp_path: Path) -> None:
    from hil.bench.order import read_order
    from hil.bench.serve import _guest_config

    config = make_config(timing={"settle_ms": 1500})
    settings = {"accelerator": "tcg", "image": "image", **timing_settings(config, "tcg")}
    (tmp_path / "cluster.json").write_text(json.dumps({"config": config.model_dump(), "settings": settings}))
    order = read_order(tmp_path)
    told = {"heartbeat_ms": 250, "disk_heartbeat_ms": 625, "death_ms": 3000, "settle_ms": 1500, "subsystem_ms": 25_000}
    assert (order.timing_factor, order.timing) == (2.5, told)
    assert _guest_config(order, config)["timing"] == told
    assert _guest_config(order, config)["election"] == config.election


def test_a_cluster_that_goes_on_elsewhere_keeps_its_times_there() -> None:
    timing_of = make_config().timing.resolved(2.5)
    kept = make_config(**make_config(timing=timing_of).model_dump())
    assert kept.timing.resolved(1) == kept.timing.resolved(10) == timing_of
