"""Virtual disks, one case at a time, on three nodes with real lock managers: what each operation does, and refuses."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from guestd.dlm.modes import Mode
from guestd.membership.view import View
from guestd.tasks.steps import DiskError, Release
from guestd.vdm import layout, locks, records
from guestd.vdm.errors import (
    BadName,
    BadSize,
    DiskInUse,
    FixedDisk,
    NameTaken,
    NodeLeaves,
    NoRoom,
    TablesRefused,
    UnknownDisk,
    VdmError,
)
from tests.unit.dlm_net import Options
from tests.unit.vdm_net import Crash, SharedDisk, VdmWorld, check, check_agreement, check_copies, contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from guestd.tasks.steps import Held, Task
    from guestd.vdm.manager import VirtualDisks
    from guestd.vdm.records import Disk
    from guestd.vdm.virtual_disk import VirtualDisk


def up(seed: int = 5, size: int = 16 << 20) -> VdmWorld:
    options = Options()
    world = VdmWorld(seed, options, SharedDisk(options.nodes, size))
    world.start_all()
    return world


def opened(world: VdmWorld, number: int, name: str) -> VirtualDisk:
    found: VirtualDisk = world.do(number, lambda disks: disks.open(name))
    return found


def recovered(world: VdmWorld, dead: int = 2) -> None:
    """Until all have heard that its recovery is over."""
    world.run_until(lambda: not world.view.entries[dead].state.live and not world.view.entries[dead].state.transition)
    world.run(world.options.view_ms_max + 100)


def record(world: VdmWorld, name: str) -> Disk:
    return next(disk for disk in world.history.states[-1].values() if disk.name == name)


def operation(kind: str, name: str, blocks: int, copies: int) -> Callable[[VirtualDisks], Task[None]]:
    made: dict[str, Callable[[VirtualDisks], Task[None]]] = {
        "create": lambda disks: disks.create(name, blocks, mirrored=copies == 2),
        "grow": lambda disks: disks.grow(name, blocks),
        "shrink": lambda disks: disks.shrink(name, blocks),
        "mirror": lambda disks: disks.mirror(name),
        "delete": lambda disks: disks.delete(name),
    }
    return made[kind]


def sector(number: int) -> bytes:
    return number.to_bytes(8, "big") * 64


def test_operations_against_a_plain_model() -> None:
    """Names and sizes in a dictionary, one operation after the other, each on another node."""
    for seed in range(2):
        world, randomness = up(seed, 8 << 20), random.Random(seed)
        room = world.disk.tables(3).tables.header.units
        model: dict[str, tuple[int, int]] = {}  # units, copies
        refused: dict[type, int] = {}
        for _ in range(150):
            kind = randomness.choice(["create", "create", "grow", "shrink", "mirror", "delete"])
            name, units = randomness.choice("abcdef"), randomness.randint(1, 12)
            blocks = units * 128 - randomness.choice([0, 1, 127])
            copies = randomness.choice([1, 2])
            after = dict(model)
            wrong: type[VdmError] | None = None
            if kind == "create":
                wrong = NameTaken if name in model else None
                after[name] = (units, copies)
            elif name not in model:
                wrong = UnknownDisk
            elif kind == "grow":
                wrong = BadSize if units < model[name][0] else None
                after[name] = (units, model[name][1])
            elif kind == "shrink":
                wrong = BadSize if units > model[name][0] else None
                after[name] = (units, model[name][1])
            elif kind == "mirror":
                wrong = BadSize if model[name][1] == 2 else None
                after[name] = (model[name][0], 2)
            else:
                del after[name]
            if wrong is None and sum(size * count for size, count in after.values()) > room:
                wrong = NoRoom
            number = randomness.randrange(3)
            make = operation(kind, name, blocks, copies)
            if wrong is None:
                world.do(number, make)
                model = after
            else:
                refused[wrong] = refused.get(wrong, 0) + 1
                with pytest.raises(wrong):
                    world.do(number, make)
            check(world)
            listed = world.do(randomness.randrange(3), lambda disks: disks.list_all())
            assert [(one.name, one.blocks // 128, len(one.places)) for one in listed if not one.fixed] == sorted(
                (name, units, copies) for name, (units, copies) in model.items()
            )
            free = world.do(number, lambda disks: disks.free_blocks())
            assert free == (room - sum(size * count for size, count in model.values())) * 128
        assert set(refused) == {NameTaken, UnknownDisk, BadSize, NoRoom}
        check_agreement(world)


def test_what_cannot_be_asked_for() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 128))
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda disks: disks.create("a", 1), NameTaken, "'a'"),
        (lambda disks: disks.create("bootstrap", 1), NameTaken, "bootstrap"),
        (lambda disks: disks.create("b", 0), BadSize, "legal: at least 1"),
        (lambda disks: disks.create("b", -5), BadSize, "legal: at least 1"),
        (lambda disks: disks.create("", 1), BadName, "0 bytes"),
        (lambda disks: disks.create("x" * 64, 1), BadName, "64 bytes"),
        (lambda disks: disks.create(b"\xff", 1), BadName, "UTF-8"),
        (lambda disks: disks.create("b", 1 << 40), NoRoom, "are free"),
        (lambda disks: disks.create("b", 23000, mirrored=True), NoRoom, "are free"),
        (lambda disks: disks.grow("b", 1), UnknownDisk, r"there are: a"),
        (lambda disks: disks.grow("a", 1 << 40), NoRoom, "are free"),
        (lambda disks: disks.open("b"), UnknownDisk, "'b'"),
        *[
            (lambda disks, make=make: make(disks), FixedDisk, "fixed place")
            for make in (
                lambda disks: disks.delete("membership-database"),
                lambda disks: disks.grow("bootstrap", 9999),
                lambda disks: disks.shrink("bootstrap", 1),
                lambda disks: disks.mirror("bootstrap"),
                lambda disks: disks.open("membership-database"),
            )
        ],
    ]
    for make, error, text in wrong:
        with pytest.raises(error, match=text):
            world.do(1, make)
    assert len(world.history.changes) == 1
    check(world)


def test_fixed_disks_are_shown() -> None:
    world = up()
    listed = world.do(2, lambda disks: disks.list_all())
    assert [(one.name, one.places) for one in listed if one.fixed] == [
        ("bootstrap", (((64, 1984),),)),
        ("membership-database", (((2048, 768),),)),
    ]


def test_there_are_63_at_most_and_48_extents_each() -> None:
    world = up()
    for number in range(63):
        world.do(number % 3, lambda disks, number=number: disks.create(f"d{number}", 1))  # type: ignore[misc]
    with pytest.raises(NoRoom, match="63 virtual disks"):
        world.do(0, lambda disks: disks.create("one more", 1))
    free = world.do(0, lambda disks: disks.free_blocks())
    world.do(0, lambda disks: disks.grow("d62", free + 128))  # all the rest
    for number in range(0, 62, 2):
        world.do(1, lambda disks, number=number: disks.delete(f"d{number}"))  # type: ignore[misc]
    world.do(1, lambda disks: disks.create("pieces", 31 * 128))
    assert len(record(world, "pieces").copies[0]) == 31
    for number in range(1, 62, 2):
        world.do(2, lambda disks, number=number: disks.delete(f"d{number}"))  # type: ignore[misc]
    check(world)
    with pytest.raises(NoRoom, match="extents"):
        world.do(2, lambda disks: disks.mirror("pieces"))
    check(world)


def test_what_is_written_on_one_node_is_read_on_the_others_across_extents() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 128))
    world.do(0, lambda disks: disks.create("b", 128))
    for name in "ab":
        world.do(1, lambda disks, name=name: disks.grow(name, 500))  # type: ignore[misc]
    assert [len(record(world, name).copies[0]) for name in "ab"] == [2, 2]
    volumes = {name: [opened(world, number, name) for number in range(3)] for name in "ab"}
    data = {name: b"".join(sector(at + 1000 * (name == "b")) for at in range(512)) for name in "ab"}
    for name in "ab":
        world.do(0, lambda _, name=name: volumes[name][0].write(0, data[name]))  # type: ignore[misc]
    for name in "ab":
        for first, count in ((0, 512), (127, 2), (100, 200), (511, 1)):
            for number in range(3):
                found = world.do(number, lambda _, v=volumes[name][number], a=first, c=count: v.read(a, c))  # type: ignore[misc]
                assert found == data[name][first * 512 : (first + count) * 512]
    for bad in ((512, 1), (511, 2), (-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="of a volume of 512"):
            world.do(1, lambda _, bad=bad: volumes["a"][1].read(*bad))  # type: ignore[misc]
    check(world)


def test_a_disk_that_is_open_is_not_deleted_shrunk_or_mirrored() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 1000))
    volume = opened(world, 2, "a")
    for make in (
        lambda disks: disks.delete("a"),
        lambda disks: disks.shrink("a", 1),
        lambda disks: disks.mirror("a"),
    ):
        for number in (1, 2):
            with pytest.raises(DiskInUse, match="'a' is open"):
                world.do(number, make)
    world.do(2, lambda _: volume.close())
    with pytest.raises(ValueError, match="not open"):
        world.do(2, lambda _: volume.read(0, 1))
    world.do(1, lambda disks: disks.mirror("a"))
    world.do(1, lambda disks: disks.shrink("a", 1))
    world.do(1, lambda disks: disks.delete("a"))
    check(world)


def test_a_death_frees_what_it_had_open() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 1000))
    opened(world, 2, "a")
    world.kill(2)
    recovered(world)
    world.do(1, lambda disks: disks.delete("a"))
    check(world)


def test_a_disk_grows_while_it_is_used_and_everybody_can_use_it_when_that_has_ended() -> None:
    for mirrored in (False, True):
        world = up()
        world.do(0, lambda disks, mirrored=mirrored: disks.create("a", 128, mirrored=mirrored))  # type: ignore[misc]
        volumes = [opened(world, number, "a") for number in range(3)]
        jobs = []
        for size in range(2, 20):
            for number, volume in enumerate(volumes):
                jobs.append(world.begin(number, lambda _, v=volume, n=number: v.write(n * 10, sector(7))))  # type: ignore[misc]
            world.do(size % 3, lambda disks, size=size: disks.grow("a", size * 128))  # type: ignore[misc]
            for number, volume in enumerate(volumes):
                last = size * 128 - 1 - number
                world.do(number, lambda _, volume=volume, last=last: volume.write(last, sector(last)))  # type: ignore[misc]
        assert all(job.outcome is not None and job.outcome.error is None for job in jobs)
        assert [volume.blocks for volume in volumes] == [19 * 128] * 3
        check(world)


def test_reading_and_writing_takes_no_lock_and_reads_no_table() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 1000))
    world.do(0, lambda disks: disks.create("m", 1000, mirrored=True))
    for name, per_write in (("a", 1), ("m", 2)):
        volume = opened(world, 1, name)
        world.do(1, lambda _: volume.write(0, sector(1)))  # noqa: B023  # which marks the region
        world.run(500)
        commands, operations = world.commands, world.nodes[1].manager._site.clock  # type: ignore[union-attr]
        for number in range(20):
            world.do(1, lambda _, number=number: volume.write(number, sector(number), durable=True))  # type: ignore[misc]  # noqa: B023
            assert world.do(1, lambda _, number=number: volume.read(number, 1)) == sector(number)  # type: ignore[misc]  # noqa: B023
        assert world.commands - commands == 20 * (per_write + 1)
        assert world.nodes[1].manager._site.clock == operations  # type: ignore[union-attr]


def test_listing_reads_the_tables_only_when_somebody_has_changed_them() -> None:
    world = up()
    for number in range(3):
        world.do(number, lambda disks: disks.list_all())
    commands = world.commands
    for number in range(3):
        world.do(number, lambda disks: disks.list_all())
    assert world.commands == commands
    world.do(0, lambda disks: disks.create("a", 1))
    assert world.commands == commands + 5
    for number in range(3):
        assert len(world.do(number, lambda disks: disks.list_all())) == 3
    assert world.commands == commands + 7


def test_who_finds_the_tables_sound_and_not_their_number_waits_for_nobody_to_leave_it() -> None:
    """The number spares a read, so it is left by who is alone; nobody queues for that."""
    world = up()

    def held(mode: Mode) -> Held:
        found: Held = world.do(0, lambda disks: locks.Locks(disks.owners).take(locks.TABLES, mode))
        return found

    def given_up(lock: Held, value: bytes | None = None) -> None:
        def give_up() -> Task[None]:
            yield Release(lock.number, value)

        world.do(0, lambda _: give_up())

    def reads(number: int) -> int:
        before = world.commands
        world.do(number, lambda disks: disks.list_all())
        return world.commands - before

    given_up(held(Mode.EX), locks.block_of(0))
    reader = held(Mode.PR)
    assert [reads(1), reads(2), reads(1)] == [1, 1, 1], "somebody else reads too: the number is left to him"
    given_up(reader)
    assert [reads(1), reads(2), reads(1)] == [1, 0, 0]
    # Where something is to be repaired all wait.
    world.disk.write(layout.header_lba(1), bytes(512), durable=True)
    given_up(held(Mode.EX), locks.block_of(0))
    reader = held(Mode.PR)
    waits = [world.begin(number, lambda disks: disks.list_all()) for number in (1, 2)]
    world.run(2000)
    assert [job.done for job in waits] == [False, False]
    given_up(reader)
    world.run_until(lambda: all(job.done for job in waits))
    assert world.disk.tables(3).repairs == ()


def test_a_mirror_is_read_from_the_other_copy_where_one_cannot_be_read() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 600, mirrored=True))
    volume = opened(world, 0, "m")
    data = b"".join(sector(at) for at in range(600))
    world.do(0, lambda _: volume.write(0, data, durable=True))
    first = layout.EXTENTS_LBA + record(world, "m").copies[0][0].first * 128
    world.disk.unreadable = {first + 5, first + 300}
    assert world.do(0, lambda _: volume.read(0, 600)) == data
    second = layout.EXTENTS_LBA + record(world, "m").copies[1][0].first * 128
    world.disk.unreadable |= {second + 5}
    with pytest.raises(DiskError):
        world.do(0, lambda _: volume.read(0, 600))


def test_a_write_that_fails_on_one_copy_fails_and_the_copies_are_made_equal_when_it_is_closed() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 600, mirrored=True))
    volume = opened(world, 0, "m")
    place = layout.EXTENTS_LBA + record(world, "m").copies[1][0].first * 128 + 3
    world.disk.unwritable = {place}
    with pytest.raises(DiskError):
        world.do(0, lambda _: volume.write(3, sector(9)))
    with pytest.raises(AssertionError, match="differ"):
        check_copies(world.disk, record(world, "m"))
    world.do(0, lambda _: volume.flush())
    world.disk.unwritable = set()
    world.do(0, lambda _: volume.close())
    check(world)


def test_a_change_that_the_disk_refuses_is_completed_or_was_never_begun() -> None:
    for failing in range(6):
        world = up()
        world.do(0, lambda disks: disks.create("old", 200))
        slot = 1
        places = [
            layout.intent_lba(1),
            layout.disk_lba(slot, 0),
            layout.disk_lba(slot, 1),
            layout.header_lba(0),
            layout.header_lba(1),
        ]
        if failing < len(places):
            world.disk.unwritable = {places[failing]}
            with pytest.raises(DiskError):
                world.do(1, lambda disks: disks.create("new", 200))
            if failing:  # begun: who comes next cannot go on either
                with pytest.raises(DiskError):
                    world.do(2, lambda disks: disks.list_all())
            world.disk.unwritable = set()
        names = [one.name for one in world.do(2, lambda disks: disks.list_all()) if not one.fixed]
        assert names == (["new", "old"] if 0 < failing < len(places) else ["old"])
        check(world)
        check_agreement(world)


def test_damage_is_healed_by_who_reads_and_refused_if_it_is_too_much() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 200))
    good = world.disk.copy()
    for lba in (layout.header_lba(0), layout.header_lba(1), layout.disk_lba(0, 0), layout.disk_lba(0, 1)):
        world.disk.write(lba, b"\xa5" * 512, durable=True)
        world.do(1, lambda disks: disks.create("b", 1))  # tells the others that something has changed
        assert [one.name for one in world.do(2, lambda disks: disks.list_all()) if not one.fixed] == ["a", "b"]
        world.do(1, lambda disks: disks.delete("b"))
        check_after = world.disk.tables(3)
        world.do(0, lambda disks: disks.list_all())
        assert check_after.tables.disks == world.disk.tables(3).tables.disks
    assert good.tables(3).tables.disks == world.disk.tables(3).tables.disks


def test_a_sector_that_cannot_be_read_is_healed_by_writing_it() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 200))
    world.disk.unreadable = {layout.disk_lba(0, 0), layout.disk_lba(7, 1), layout.header_lba(1)}
    listed = world.do(2, lambda disks: disks.list_all())
    assert [one.name for one in listed if not one.fixed] == ["a"]
    assert world.disk.unreadable == set()
    check(world)


def test_a_disk_that_cannot_be_read_at_all_is_an_error_of_the_disk_and_not_of_the_tables() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 200))
    world.disk.unreadable = set(range(layout.TABLES_LBA, layout.log_lba(0, 0)))
    with pytest.raises(DiskError):
        world.do(2, lambda disks: disks.list_all())
    world.disk.unreadable = set()
    assert len(world.do(2, lambda disks: disks.list_all())) == 3


def test_who_could_not_look_at_the_tables_does_not_tell_the_others_that_they_are_as_before() -> None:
    for leaves in (False, True):
        world = up()
        for number in range(3):
            world.do(number, lambda disks: disks.list_all())
        world.do(2, lambda disks: disks.create("a", 200))
        if leaves:
            world.do(1, lambda disks: disks.writers.close())
        else:
            world.disk.unreadable = set(range(layout.TABLES_LBA, layout.log_lba(0, 0)))
        with pytest.raises(NodeLeaves if leaves else DiskError):
            world.do(1, lambda disks: disks.create("b", 200))
        world.disk.unreadable = set()
        assert [one.name for one in world.do(0, lambda disks: disks.list_all()) if not one.fixed] == ["a"]


def test_tables_that_are_refused_are_not_written_and_the_level_says_why() -> None:
    disk = SharedDisk(3)
    for copy in range(2):
        disk.write(layout.header_lba(copy), b"\xa5" * 512, durable=True)
    whole = SharedDisk(3)
    world = VdmWorld(3, disk=whole)
    world.disk = disk
    before = dict(disk.medium)
    world.start_all()
    for number in range(3):
        assert "header, copy 1" in str(world.levels_above[number].refused)
        with pytest.raises(TablesRefused, match="header, copy 2"):
            world.do(number, lambda disks: disks.create("a", 1))
        with pytest.raises(TablesRefused):
            world.do(number, lambda disks: disks.open("a"))
    world.kill(2)
    recovered(world)
    assert disk.medium == before


def test_a_log_that_cannot_be_believed_makes_the_whole_mirror_equal() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 600, mirrored=True))
    volume = opened(world, 2, "m")
    world.do(2, lambda _: volume.write(0, sector(1)))
    copy = layout.EXTENTS_LBA + record(world, "m").copies[1][0].first * 128
    world.disk.write(copy + 599, sector(5), durable=True)
    world.disk.write(layout.log_lba(2, 0), b"\xa5" * 512, durable=True)
    world.kill(2)
    recovered(world)
    check(world)


def test_a_disk_error_in_the_recovery_is_tried_again() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 600, mirrored=True))
    volume = opened(world, 2, "m")
    world.do(2, lambda _: volume.write(0, sector(1)))
    copy = layout.EXTENTS_LBA + record(world, "m").copies[1][0].first * 128
    world.disk.write(copy, sector(5), durable=True)
    world.disk.unwritable = {copy}
    world.kill(2, 0)
    world.run(5000)
    assert world.view.entries[2].state.transition == "forced-leave", "nobody may say that it is recovered"
    world.disk.unwritable = set()
    world.run_until(lambda: not world.view.entries[2].state.transition)
    check(world)


def test_a_leave_closes_what_is_open_and_leaves_nothing_to_recover() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 600, mirrored=True))
    volume = opened(world, 2, "m")
    world.do(2, lambda _: volume.write(0, sector(1)))
    assert log_of(world, 2) == 1
    assert world.leave(2)
    world.run_until(lambda: world.nodes[2].level is None)
    assert log_of(world, 2) == 0
    assert world.disk.cache == {}
    world.do(1, lambda disks: disks.delete("m"))
    check(world)


def log_of(world: VdmWorld, node: int, slot: int = 0) -> int:
    log = records.decode_log(bytes(range(16)), node, slot, world.disk.read(layout.log_lba(node, slot), 1))
    return 0 if log is None else log.dirty


def test_a_power_failure_that_takes_a_cached_write_from_one_copy_leaves_both_equal() -> None:
    for lost_copy in range(2):
        world = up()
        world.do(0, lambda disks: disks.create("m", 128 * 4, mirrored=True))
        world.disk.flush()
        volume = opened(world, 1, "m")
        world.do(1, lambda _: volume.write(5, sector(1)))  # noqa: B023
        for region in (1, 2, 3):  # each of which writes the log
            world.do(1, lambda _, at=region * 128: volume.write(at, sector(2), durable=True))  # type: ignore[misc]  # noqa: B023
        del world.disk.cache[layout.EXTENTS_LBA + record(world, "m").copies[lost_copy][0].first * 128 + 5]
        world.disk.flush()
        world.power_failure()
        world.power_on(0)
        world.run_until(lambda: world.ready_above(0))  # noqa: B023
        check(world)


def test_the_log_of_a_mirror_is_written_rarely_and_is_empty_when_it_is_closed() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 128 * 40, mirrored=True))
    volume = opened(world, 1, "m")

    def writes(block: int, *, durable: bool = True) -> int:
        before = world.writes[1]
        world.do(1, lambda _: volume.write(block, sector(1), durable=durable))
        return world.writes[1] - before

    assert [writes(0), writes(5), writes(127)] == [3, 2, 2]
    assert [writes(128), writes(0), writes(128)] == [3, 2, 2]
    assert log_of(world, 1) == 0b11
    for region in range(2, 40):
        assert writes(region * 128) == 3
    assert log_of(world, 1).bit_count() <= 34, "clean regions have to go"
    assert writes(39 * 128, durable=False) == 2
    world.do(1, lambda _: volume.close())
    assert log_of(world, 1) == 0
    assert world.disk.cache == {}


def test_many_who_have_a_mirror_open_let_who_resynchronises_it_through() -> None:
    """And go on afterwards, while the recovery in the levels above is not at its end."""
    world = up()
    world.do(0, lambda disks: disks.create("m", 1000, mirrored=True))
    volumes = [(number, opened(world, number, "m")) for number in (0, 0, 1, 1, 2)]
    world.do(2, lambda _: volumes[-1][1].write(0, sector(1)))
    jobs = []
    world.kill(2, 0)
    for step in range(300):
        for number, volume in volumes[:-1]:
            jobs.append(world.begin(number, lambda _, v=volume, s=step: v.write(s, sector(s))))  # type: ignore[misc]
        world.run(10)
    world.run_until(lambda: all(job.done for job in jobs))
    assert all(job.outcome is not None and job.outcome.error is None for job in jobs)
    for number, volume in volumes[:-1]:
        world.do(number, lambda _, volume=volume: volume.close())  # type: ignore[misc]
    check(world)


def test_a_mirror_that_is_closed_while_a_growth_waits_for_a_dead_node_is_not_in_the_way_of_its_recovery() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("m", 1000, mirrored=True))
    volumes = [opened(world, number, "m") for number in range(3)]
    world.do(2, lambda _: volumes[2].write(0, sector(1)))
    world.kill(2, 3000)
    growth = world.begin(1, lambda disks: disks._tell_grown(record(world, "m")))
    world.run(1000)
    assert not growth.done, "the dead node cannot give way"
    close = world.begin(0, lambda _: volumes[0].close())
    world.run(500)
    recovered(world)
    world.run_until(lambda: growth.done and close.done)
    check(world)


def test_a_disk_that_is_open_serves_the_recovery_in_the_levels_above() -> None:
    """With what is held back after a death everything could wait for the end of that recovery; this must not."""
    world = up()
    world.do(0, lambda disks: disks.create("m", 1000, mirrored=True))
    volumes = [opened(world, number, "m") for number in range(3)]
    world.do(2, lambda _: volumes[2].write(0, sector(1)))
    world.top_waits = True
    world.kill(2, 3000)
    growth = world.begin(1, lambda disks: disks.grow("m", 2000))
    world.run(1000)
    other = world.begin(0, lambda disks: disks.create("other", 1))
    world.run_until(lambda: len(world.top_held) == 2)
    for number in range(2):
        for block in (0, 999, 1500):
            written = world.begin(number, lambda _, n=number, b=block: volumes[n].write(b, sector(b)))  # type: ignore[misc]
            world.run_until(lambda written=written: written.done, within_ms=500)  # type: ignore[misc]
            assert written.outcome is not None
            assert written.outcome.error is None
    assert not growth.done
    world.let_top_go()
    world.run_until(lambda: growth.done and other.done)
    check(world)


def test_a_disk_is_opened_in_a_join_that_a_recovery_in_the_levels_above_waits_for() -> None:
    """All die, one of them in the middle of a change, while the level above recovers after another death."""
    world = up()
    world.do(0, lambda disks: disks.create("m", 1000, mirrored=True))
    volumes = [opened(world, number, "m") for number in range(3)]
    world.top_waits = True
    world.kill(2, 0)
    world.run_until(lambda: len(world.top_held) == 2)
    world.crashes[1] = Crash(3, "all")
    world.begin(1, lambda disks: disks.grow("m", 1500))
    world.begin(0, lambda _: volumes[0].write(0, sector(1)))
    world.run_until(lambda: world.nodes[1].level is None)
    assert world.view.entries[2].level == 30
    leaves = world.view.entries[2]
    world.kill(0, 0)
    world.power_failure()
    entries = (*world.view.entries[:2], leaves)
    world.view = View(world.view.epoch, 1, world.view.master, entries)
    world.top_waits, world.top_held, world.top_opens = False, [], "m"
    for number in range(2):
        world.power_on(number)
    world.run_until(lambda: all(world.ready_above(number) for number in range(2)))
    assert [len(world.disks(number).volumes) for number in range(2)] == [1, 1]
    world.run_until(lambda: not world.view.entries[2].state.transition)
    check(world)


def test_new_blocks_of_a_mirror_are_equal_in_both_copies_whatever_lay_there() -> None:
    world = up()
    world.do(0, lambda disks: disks.create("a", 1000))
    world.do(0, lambda disks: disks.mirror("a"))
    world.do(0, lambda disks: disks.grow("a", 2000))
    check(world)
    one = contents(world.disk, record(world, "a"))
    assert len({one[at : at + 512] for at in range(0, len(one), 512)}) == 2048
