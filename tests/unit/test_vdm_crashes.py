"""A node dies at every single write of every operation, of which none, all or some sectors reach the disk; a survivor
recovers. The change is there wholly or not at all, nothing is owned twice or lost, mirrors are equal (S7.2, A12).

Here at every third write, others for each operation; at every one in tests/nightly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from guestd.vdm.manager import VirtualDisks
from guestd.vdm.virtual_disk import VirtualDisk
from tests.unit.vdm_net import KEPT, KEPT_OF_ONE, Crash, SharedDisk, VdmWorld, check, check_agreement, contents

if TYPE_CHECKING:
    from guestd.tasks.steps import Task

DYING = 0
EVERY = 3
OLD = b"o" * 512


@dataclass(frozen=True)
class Case:
    """What the node is doing when it dies, and whether it is acknowledged only when it is there."""

    name: str
    begin: Callable[[VirtualDisks], Task[Any]]


def write_mirror(disks: VirtualDisks) -> Task[Any]:
    """Across regions and extents, cached and durable, with the log cleaned in between."""
    volume: VirtualDisk = yield from disks.open("mirror")
    yield from volume.write(100, b"1" * 512 * 60)
    yield from volume.write(4, b"2" * 512, durable=True)
    yield from volume.flush()
    yield from volume.write(290, b"3" * 512 * 20)
    yield from volume.close()


CASES = [
    Case("create", lambda disks: disks.create("new", 300)),
    Case("create a mirror", lambda disks: disks.create("new", 300, mirrored=True)),
    Case("grow", lambda disks: disks.grow("plain", 700)),
    Case("grow a mirror", lambda disks: disks.grow("mirror", 700)),
    Case("shrink", lambda disks: disks.shrink("plain", 100)),
    Case("mirror", lambda disks: disks.mirror("plain")),
    Case("delete", lambda disks: disks.delete("plain")),
    Case("delete a mirror", lambda disks: disks.delete("mirror")),
    Case("write to a mirror", write_mirror),
]


def prepared() -> SharedDisk:
    """With two virtual disks in more than one extent each."""
    world = VdmWorld(7)
    world.start_all()
    for name in ("plain", "mirror"):
        world.do(0, lambda disks, name=name: disks.create(name, 128, mirrored=name == "mirror"))  # type: ignore[misc]
    for name in ("plain", "mirror"):
        world.do(1, lambda disks, name=name: disks.grow(name, 400))  # type: ignore[misc]

    def fill(disks: VirtualDisks) -> Task[None]:
        for name in ("plain", "mirror"):
            volume = yield from disks.open(name)
            yield from volume.write(0, OLD * 512, durable=True)
            yield from volume.close()

    world.do(2, fill)
    check(world)
    world.disk.flush()
    return world.disk


PREPARED = prepared()


def up(seed: int = 3) -> VdmWorld:
    world = VdmWorld(seed, disk=PREPARED.copy())
    world.start_all()
    return world


def deaths_of(case: Case) -> list[tuple[int, str]]:
    """At which write, and what of that is kept."""
    world = up()
    before = world.writes[DYING]
    world.do(DYING, case.begin)
    check(world)
    sizes = world.sizes[DYING][before:]
    deaths = [(at, kept) for at, size in enumerate(sizes, 1) for kept in (KEPT if size > 1 else KEPT_OF_ONE)]
    return deaths[CASES.index(case) % EVERY :: EVERY]


def die(world: VdmWorld, case: Case, crash: Crash, *, lose: bool) -> None:
    """Until the node is gone; others have the mirror open meanwhile."""
    watcher = world.do(1, lambda disks: disks.open("mirror")) if "delete" not in case.name else None
    world.crashes[DYING] = crash
    job = world.begin(DYING, case.begin)
    world.run_until(lambda: world.nodes[DYING].level is None)
    if lose:
        world.disk.lose()
    assert not job.done, "it was acknowledged before its last write"
    world.run_until(lambda: is_calm(world))
    if watcher is not None:
        world.do(1, lambda _: watcher.write(0, OLD, durable=True))
        world.do(1, lambda _: watcher.close())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_death_at_any_write_is_recovered_by_a_survivor(case: Case) -> None:
    for at, kept in deaths_of(case):
        for lose in (False, True):
            world = up()
            die(world, case, Crash(at, kept), lose=lose)
            check(world)
            check_agreement(world)
            check_plain(world)
            world.power_on(DYING)
            world.run_until(lambda world=world: world.ready_above(DYING))  # type: ignore[misc]
            world.do(DYING, lambda disks: disks.create("again", 100))
            check(world)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_power_failure_of_all_at_any_write_is_recovered_by_who_comes_back_first(case: Case) -> None:
    for at, kept in deaths_of(case):
        world = up()
        world.crashes[DYING] = Crash(at, kept)
        world.begin(DYING, case.begin)
        world.run_until(lambda world=world: world.died_at)  # type: ignore[misc]
        world.power_failure()
        world.power_on(1)
        world.run_until(lambda world=world: world.ready_above(1))  # type: ignore[misc]
        check(world)
        check_plain(world)
        for number in (0, 2):
            world.power_on(number)
        world.run_until(lambda world=world: world.quiet)  # type: ignore[misc]
        check(world)
        check_agreement(world)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_second_death_in_the_recovery_is_recovered_by_the_third(case: Case) -> None:  # A12
    deaths = 0
    for at in sorted({at for at, _ in deaths_of(case)}):
        for second in range(1, 8):
            world = up()
            world.crashes[DYING] = Crash(at, "first")
            world.begin(DYING, case.begin)
            world.run_until(lambda world=world: world.nodes[DYING].level is None)  # type: ignore[misc]
            for number in (1, 2):  # whichever comes first to the recovery
                world.crashes[number] = Crash(second, "first")
            world.run_until(lambda world=world: len(world.died_at) > 1 or is_calm(world))  # type: ignore[misc]
            world.crashes.clear()
            deaths += len(world.died_at) > 1
            world.run_until(lambda world=world: is_calm(world))  # type: ignore[misc]
            check(world)
            check_agreement(world)
            check_plain(world)
            if len(world.died_at) == 1:
                break
    assert deaths > 0


def is_calm(world: VdmWorld) -> bool:
    return not any(entry.state.transition for entry in world.view.entries) and all(
        (node.level is None) == (not entry.state.live)
        for node, entry in zip(world.nodes, world.view.entries, strict=True)
    )


def check_plain(world: VdmWorld) -> None:
    """What nobody wrote to is what it was."""
    for disk in world.history.states[-1].values():
        if disk.name == "plain":
            kept = min(disk.units * 128, 512) * 512
            assert contents(world.disk, disk)[:kept] == (OLD * 512)[:kept]
