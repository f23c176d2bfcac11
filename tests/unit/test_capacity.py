"""How many nodes at once: arithmetic over memory, cores and what runs; on a host that is a small directory."""

import os
from pathlib import Path

import pytest

from hil import capacity, memory
from hil.capacity import Capacity, Running
from hil.config import ClusterConfig, make_config
from hil.errors import BadConfig, PreflightFailed
from hil.host import Host

TCG = ClusterConfig(accelerator="tcg")
OVERHEAD = capacity.need_mib(1, 0)


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIL_NODES_MAX", "HIL_ACCELERATOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(root=tmp_path, device_number=lambda _: None)


def write(host: Host, path: str, text: str) -> None:
    (host.root / path).parent.mkdir(parents=True, exist_ok=True)
    (host.root / path).write_text(text)


def confine(host: Host, group: str, **files: str) -> None:
    write(host, "proc/self/cgroup", "4:memory:/elsewhere\n0::/slice/job\n")
    for name, text in files.items():
        write(host, f"sys/fs/cgroup/{group}/{name.replace('_', '.', 1)}".replace("//", "/"), text)


def test_free_memory_is_what_the_host_calls_available(host: Host) -> None:
    assert memory.free_mib(host) is None
    write(host, "proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:   2048000 kB\n")
    assert memory.free_mib(host) == 2000


@pytest.mark.parametrize("group", ["slice/job", "slice", ""])
def test_a_limit_of_this_control_group_or_one_above_it_counts(host: Host, group: str) -> None:
    write(host, "proc/meminfo", "MemAvailable:   2048000 kB\n")
    stat = f"anon 5\ninactive_file {30 << 20}\nactive_file {20 << 20}\nfile 7\n"
    confine(host, group, memory_max=str(1000 << 20), memory_current=str(400 << 20), memory_stat=stat)
    assert memory.free_mib(host) == 1000 - 400 + 50


def test_a_control_group_without_a_limit_is_none(host: Host) -> None:
    write(host, "proc/meminfo", "MemAvailable:   2048000 kB\n")
    confine(host, "slice", memory_max="max", memory_current=str(400 << 20), cpu_max="max 100000")
    assert memory.free_mib(host) == 2000
    assert capacity.cores(host) == len(os.sched_getaffinity(0))


def test_cores_are_those_of_this_process_and_the_share_of_its_control_group(host: Host) -> None:
    assert capacity.cores(host) == len(os.sched_getaffinity(0))
    confine(host, "slice", cpu_max="50000 100000")
    assert capacity.cores(host) == 0.5


@pytest.mark.parametrize(("cores", "kind"), [(0.5, "tcg"), (1, "tcg"), (2, "tcg"), (64, "tcg"), (2, "kvm")])
def test_nodes_grow_with_cores_and_the_smallest_cluster_is_always_tried(cores: float, kind: capacity.Kind) -> None:
    number, why = capacity.by_cores(cores, kind)
    assert number == max(2, int(cores * capacity.NODES_PER_CORE[kind]))
    assert f"{cores:g} core" in why


def test_who_asks_for_a_number_of_nodes_gets_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_NODES_MAX", "40")
    found = capacity.capacity(TCG, host)
    assert (found.nodes_max, found.why) == (40, "HIL_NODES_MAX=40 is set")


@pytest.mark.parametrize("text", ["1", "0", "-3", "many", "3.5", "٣"])
def test_a_number_that_is_none_is_refused_with_what_is_legal(
    host: Host, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HIL_NODES_MAX", text)
    with pytest.raises(BadConfig, match=r"HIL_NODES_MAX.*legal: 2 or more"):
        capacity.capacity(TCG, host)


def test_without_a_proof_of_kvm_machines_are_counted_as_emulated(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert capacity.kind_of(ClusterConfig(), host) == "tcg"
    monkeypatch.setattr("hil.kvm.look", lambda _: type("State", (), {"usable": True}))
    assert capacity.kind_of(ClusterConfig(), host) == "tcg"
    assert capacity.kind_of(ClusterConfig(accelerator="kvm"), host) == "kvm"
    monkeypatch.setenv("HIL_ACCELERATOR", "kvm")
    assert capacity.kind_of(ClusterConfig(), host) == "kvm"


ROOMY = Capacity(nodes_max=6, why="2 cores", free_mib=100_000)
RUNS = Running("first", nodes=3, memory_mib=192, resident_mib=0)


def test_nodes_are_counted_over_all_clusters() -> None:
    assert ROOMY.why_not_now(make_config(nodes=6), []) is None
    assert ROOMY.why_not_now(make_config(nodes=3), [RUNS]) is None
    assert ROOMY.why_not_now(make_config(nodes=4), [RUNS]) == "3 of 6 nodes are running (first)"


def test_memory_that_a_young_cluster_has_not_touched_yet_is_not_free() -> None:
    need = 3 * (192 + OVERHEAD)
    tight = Capacity(6, "2 cores", need + capacity.RESERVE_MIB)
    three = make_config(nodes=3, memory_mib=192)
    assert tight.why_not_now(three, []) is None
    assert tight.why_not_now(three, [RUNS]) == f"{need} MiB of memory are needed, 0 MiB are left (first)"
    grown = Running("first", nodes=3, memory_mib=192, resident_mib=need)
    assert tight.why_not_now(three, [grown]) is None
    less = Capacity(6, "2 cores", need + capacity.RESERVE_MIB - 1)
    assert less.why_not_now(three, []) == f"{need} MiB of memory are needed, {need - 1} MiB are left"


def test_unknown_memory_keeps_nobody_waiting() -> None:
    assert Capacity(6, "2 cores", None).why_not_now(make_config(nodes=3), [RUNS]) is None


def test_a_cluster_that_never_fits_is_refused_by_name_with_what_is_legal() -> None:
    ROOMY.check_ever(make_config(name="big", nodes=6))
    with pytest.raises(PreflightFailed, match=r"'big' has 7 nodes.* 6 at once \(2 cores\); legal: 2 to 6.*=7"):
        ROOMY.check_ever(make_config(name="big", nodes=7))


@pytest.mark.parametrize(("nodes", "free_mib", "jobs"), [(3, None, 4), (5, None, 2), (12, None, 1), (3, 2000, 2)])
def test_auto_is_what_fits(
    host: Host, monkeypatch: pytest.MonkeyPatch, nodes: int, free_mib: int | None, jobs: int
) -> None:
    monkeypatch.setenv("HIL_NODES_MAX", "12")
    if free_mib is not None:
        write(host, "proc/meminfo", f"MemAvailable: {free_mib * 1024} kB\n")
    assert capacity.jobs_allowed(make_config(nodes=nodes), host) == jobs


def test_the_memory_of_a_cluster_is_that_of_all_processes_below_its_bench(tmp_path: Path) -> None:
    def process(number: int, parent: int, kib: int, *command: str) -> None:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "status").write_text(f"Name:\tx\nPPid:\t{parent}\nRssAnon:\t{kib} kB\n")
        (tmp_path / str(number) / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in command))

    process(1, 0, 999_999, "init")
    process(10, 1, 1024, "unshare", "--", "tini", "--", "python", "-m", "hil.bench", "--cluster", "mine", "--run-dir")
    process(11, 10, 2048, "tini", "--", "python", "-m", "hil.bench", "--cluster", "mine", "--run-dir")
    process(12, 11, 4096, "qemu-system-x86_64")
    process(20, 1, 8192, "python", "-m", "hil.bench", "--cluster", "other", "--run-dir")
    process(30, 1, 8192, "python", "-m", "pytest", "--cluster", "mine")
    (tmp_path / "self").mkdir()
    assert capacity.resident_mib(["mine", "gone"], tmp_path) == {"mine": 7, "gone": 0}
