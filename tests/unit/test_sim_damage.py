"""What the simulated disk does to sectors, and what it never does: the bounds in `hil/sim/damage.py` (S2.5, A17)."""

from __future__ import annotations

from guestd.core.inputs import ReadDone, WriteDone
from guestd.membership import layout
from hil.sim import ledger
from tests.unit.sim_machine import Bench, Machine

BEAT, BALLOT, COMMIT = layout.HEARTBEAT_SECTOR, layout.BALLOT_SECTOR, layout.COMMIT_SECTOR
WRITES = 300


def content(number: int, life: int = 1) -> bytes:
    """A sector of that life, each of them another."""
    return bytes(32) + life.to_bytes(4, "little") + number.to_bytes(4, "little") * 119


def regions(machine: Machine) -> bytes:
    machine.read(3)
    done = machine.answered()
    assert isinstance(done, ReadDone)
    return done.data


def test_a_pair_of_copies_is_torn_in_the_second_one_if_the_write_is_answered() -> None:  # S2.5, A17
    bench = Bench(torn_share=300)
    machine = bench.machines[0]
    torn = first_lost = 0
    for number in range(WRITES):
        before = [bench.sector(0, COMMIT + copy) for copy in range(2)]
        data = content(number)
        machine.write(COMMIT, data * 2)
        done = machine.answered()
        assert isinstance(done, WriteDone)
        copies = [bench.sector(0, COMMIT + copy) for copy in range(2)]
        torn += copies != [data] * 2
        if done.ok:
            assert copies[0] == data
        elif copies[0] != data:
            # The first copy only while both are the same: what was answered before is still there in the second.
            assert before[0] == before[1] == copies[1]
            first_lost += 1
    assert torn == bench.outcomes(0).count(ledger.TORN) == bench.disk.damage.counts["torn"]
    assert torn > 30
    assert first_lost > 5


def test_something_of_a_torn_write_is_there_or_the_one_before_would_seem_to_come_again() -> None:  # S2.5, A17
    bench = Bench(torn_share=300)
    machine = bench.machines[0]
    for number in range(1, WRITES):
        before = [bench.sector(0, COMMIT + copy) for copy in range(2)]
        machine.write(COMMIT, (bytes(504) + number.to_bytes(8, "little")) * 2)  # it begins as all others do
        machine.answered()
        assert [bench.sector(0, COMMIT + copy) for copy in range(2)] != before
    assert bench.disk.damage.counts["torn"] > 30


def test_a_write_of_what_is_there_cannot_be_torn() -> None:  # S2.5, A17
    bench = Bench(torn_share=1000)
    machine = bench.machines[0]
    machine.write(BALLOT, bytes(1024))
    assert machine.answered() == WriteDone(machine._tag, True)
    assert bench.disk.damage.counts["torn"] == 0


def test_only_heartbeats_that_begin_no_life_are_lost() -> None:  # S2.5, A17
    bench = Bench(lost_share=300)
    machine = bench.machines[0]
    for number in range(WRITES):
        data = content(number)
        for sector, durable in ((BEAT, True), (COMMIT, False)):
            machine.write(sector, data, durable=durable)
            assert machine.answered() == WriteDone(machine._tag, True)
            assert bench.sector(0, sector) == data
    assert bench.disk.damage.counts["lost"] == 0
    lost = 0
    for number in range(WRITES):
        machine.write(BEAT, content(WRITES + number), durable=False)
        assert machine.answered() == WriteDone(machine._tag, True)
        lost += bench.sector(0, BEAT) != content(WRITES + number)
    assert lost == bench.disk.damage.counts["lost"] == bench.outcomes(0).count(ledger.LOST)
    assert lost > 30


def test_a_stale_heartbeat_is_the_one_before_of_the_same_life() -> None:  # S2.5, A17
    bench = Bench(stale_share=500)
    machine, reader = bench.machines[:2]
    stale = 0
    machine.write(COMMIT, content(0) * 2)
    machine.answered()
    for number in range(1, WRITES):
        life = 1 + number // 10
        machine.write(BEAT, content(number, life))
        machine.answered()
        seen = regions(reader)
        assert seen[COMMIT * 512 : COMMIT * 512 + 1024] == content(0) * 2
        found = seen[:512]
        if found != content(number, life):
            assert found == content(number - 1, life)  # never one of an earlier life
            stale += 1
        assert bench.sector(0, BEAT) == content(number, life)
    assert stale > 50


def test_flipped_bits_are_in_a_heartbeat_or_in_equal_copies_in_both_of_another_nodes_block() -> None:  # S2.5, A17
    bench = Bench(flip_share=1000, torn_share=300)
    machine = bench.machines[0]
    while bench.sector(0, BALLOT) == bench.sector(0, BALLOT + 1):
        machine.write(BALLOT, content(len(machine.answers)) * 2)  # until it is torn
        machine.answered()
    stored = bytes(bench.medium[layout.REGIONS_LBA * 512 :][: 3 * layout.REGION_SIZE])
    struck: set[tuple[int, int]] = set()
    both = 0
    for _ in range(WRITES):
        seen = regions(machine)
        wrong = [at for at in range(len(seen)) if seen[at] != stored[at]]
        places = []
        for at in wrong:
            assert (seen[at] ^ stored[at]).bit_count() == 1
            owner, inside = divmod(at, layout.REGION_SIZE)
            places.append((owner, inside // 512))
        struck.update(places)
        if len(places) > 1:
            (owner, first), (same, second) = places
            assert (owner, first, second) == (same, BALLOT, BALLOT + 1)
            assert owner != machine.number
            both += 1
    assert both
    assert {(1, COMMIT), (1, COMMIT + 1)} <= struck
    assert (0, BEAT) in struck
    assert not struck & {(0, BALLOT), (0, BALLOT + 1)}
    assert stored == bytes(bench.medium[layout.REGIONS_LBA * 512 :][: 3 * layout.REGION_SIZE])


def test_a_power_failure_empties_the_cache_of_what_was_not_written_durably() -> None:  # S2.5, A17
    bench = Bench(cache_share=1000)
    for machine in bench.machines[:2]:
        for number in range(20):
            machine.write(BEAT, content(number), durable=number == 9)
            machine.answered()
        machine.write(COMMIT, content(5) * 2)
        machine.answered()
    bench.disk.power_lost(0)
    left = bench.sector(0, BEAT)
    assert left in [content(number) for number in range(9, 19)]
    assert bench.sector(0, COMMIT) == content(5)
    assert bench.sector(1, BEAT) == content(19)  # nobody else's
    assert bench.disk.damage.counts["cache-lost"] == 1


def test_after_healing_nothing_is_damaged_any_more() -> None:  # S10.7
    bench = Bench(torn_share=1000, lost_share=1000, stale_share=1000, flip_share=1000, cache_share=1000)
    bench.disk.damage.enabled = False
    machine = bench.machines[0]
    for number in range(20):
        machine.write(BEAT, content(number), durable=False)
        assert machine.answered() == WriteDone(machine._tag, True)
        assert regions(machine)[:512] == content(number)
    bench.disk.power_lost(0)
    assert bench.sector(0, BEAT) == content(19)
    assert not any(bench.disk.damage.counts.values())
