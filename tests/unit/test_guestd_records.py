"""Records on the disk and datagrams: what is written is read, and what is damaged is never believed (spec S2.5)."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest

from guestd.core.value import replace
from guestd.membership import announcement, datagram, layout, persistent, records, wire
from guestd.membership.position import Position
from guestd.membership.regions import newest_view, next_incarnation, parse
from guestd.membership.sector import SECTOR_SIZE, VERSION, Damaged, OtherVersion, seal
from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View, empty
from guestd.transition.levels import level
from tests.unit.guestd_world import CLUSTER_ID

ID = bytes.fromhex(CLUSTER_ID)
OTHER = bytes(range(16))
HEARTBEAT = records.Heartbeat(7, 12345678901, NodeState.LEAVING, "leave", 5, 6, (1 << 64) - 1, True)
BALLOT = records.Ballot(3, 7, 2, mbal=64, bal=64, owner=1, owner_incarnation=9)


def large_view() -> View:
    entry = Entry(NodeState.FORCED_LEAVING, (1 << 32) - 1, level=4, barrier=15, reach=4, forced=True)
    return View(epoch=(1 << 32) - 1, step=9, master=63, entries=(entry,) * 64)


def test_records_come_back_as_they_were_written() -> None:  # S2.3
    commit = records.Commit(4, large_view())
    assert records.decode_heartbeat(ID, 3, records.encode_heartbeat(ID, 3, HEARTBEAT)) == HEARTBEAT
    assert records.decode_ballot(ID, 3, records.encode_ballot(ID, 3, BALLOT)) == BALLOT
    assert records.decode_commit(ID, 3, records.encode_commit(ID, 3, commit), 64) == commit
    assert len(records.encode_commit(ID, 3, commit)) == SECTOR_SIZE


def test_a_sector_of_zeros_was_never_written() -> None:
    assert records.decode_heartbeat(ID, 0, bytes(SECTOR_SIZE)) is None


@pytest.mark.parametrize("at", [0, 4, 5, 6, 8, 24, 40, 300, 508, 511])
def test_one_flipped_bit_anywhere_is_noticed(at: int) -> None:  # S2.5, A17
    data = bytearray(records.encode_heartbeat(ID, 3, HEARTBEAT))
    data[at] ^= 1
    with pytest.raises(Damaged):
        records.decode_heartbeat(ID, 3, bytes(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (records.encode_heartbeat(ID, 2, HEARTBEAT), "is record type 3 of node 2, not type 3 of node 3"),
        (records.encode_ballot(ID, 3, BALLOT), "is record type 4 of node 3, not type 3 of node 3"),
        (records.encode_heartbeat(OTHER, 3, HEARTBEAT), "belongs to the cluster 000102"),
        (records.encode_heartbeat(ID, 3, HEARTBEAT)[:256] + bytes(256), "the checksum does not match"),
        (b"x" * 512, "magic"),
        (b"", "0 bytes instead of 512"),
    ],
    ids=["misdirected", "another record", "foreign", "torn", "rubbish", "missing"],
)
def test_a_sector_that_is_not_what_must_stand_there_is_damaged(data: bytes, why: str) -> None:  # S2.5, A17
    with pytest.raises(Damaged, match=why):
        records.decode_heartbeat(ID, 3, data)


COPIES = range(layout.COPIES)
HEADER = persistent.Header(cluster="demo", nodes=3)
SECOND = persistent.Configuration("n1", "image", "order leave", "order panic")


def read(data: bytes, cluster_id: bytes = ID) -> persistent.Persistent:
    """What node 1 of three reads."""
    return persistent.read_persistent(cluster_id, 1, data[: layout.persistent_sectors(3) * SECTOR_SIZE])


def with_sector(database: bytes, offset: int, sector: bytes) -> bytes:
    return database[:offset] + sector + database[offset + SECTOR_SIZE :]


def test_a_new_database_has_two_copies_of_a_header_and_of_a_configuration_per_node_and_nothing_else() -> None:  # S2.2
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    assert len(database) == layout.DATABASE_SIZE
    assert read(database) == persistent.Persistent(HEADER, SECOND, ())
    written = [at for at in range(0, len(database), SECTOR_SIZE) if any(database[at : at + SECTOR_SIZE])]
    assert written == [
        offset
        for copy in COPIES
        for offset in (layout.header_offset(copy), *(layout.configuration_offset(node, copy) for node in range(3)))
    ]
    with pytest.raises(
        Damaged, match=r"header, copy 1: belongs to the cluster 0011.*copy 2: belongs to the cluster 0011"
    ):
        read(database, OTHER)


RECORDS: dict[str, tuple[Callable[[int], int], Callable[[int], bytes]]] = {
    "header": (layout.header_offset, lambda sequence: persistent.encode_header(ID, HEADER, sequence)),
    "configuration of node 1": (
        lambda copy: layout.configuration_offset(1, copy),
        lambda sequence: persistent.encode_configuration(ID, 1, SECOND, sequence),
    ),
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("torn_at", [30, 300, 510])
def test_one_torn_write_of_the_persistent_part_does_not_matter(record: str, copy: int, torn_at: int) -> None:  # S2.5
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    place, encode = RECORDS[record]
    old, new = encode(1), encode(2)
    database = with_sector(database, place(copy), new[:torn_at] + old[torn_at:])
    found = read(database)
    assert (found.header, found.configuration) == (HEADER, SECOND)
    assert found.damaged == ((f"{record}, copy {copy + 1}", "the checksum does not match"),)


@pytest.mark.parametrize("newer", COPIES)
def test_of_two_valid_copies_the_one_with_the_higher_sequence_number_counts(newer: int) -> None:  # S2.5
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    header = persistent.Header("demo", 4)
    configuration = persistent.Configuration("n1", "disk", "order leave", "order panic")
    database = with_sector(database, layout.header_offset(newer), persistent.encode_header(ID, header, 2))
    sector = persistent.encode_configuration(ID, 1, configuration, 2)
    database = with_sector(database, layout.configuration_offset(1, newer), sector)
    assert read(database) == persistent.Persistent(header, configuration, ())


@pytest.mark.parametrize("record", RECORDS)
def test_with_both_copies_damaged_the_error_names_both(record: str) -> None:  # S2.5
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    place, encode = RECORDS[record]
    database = with_sector(database, place(0), bytes(SECTOR_SIZE))
    database = with_sector(database, place(1), encode(1)[:300] + bytes(212))
    wanted = f"{record}, copy 1: was never written; {record}, copy 2: the checksum does not match"
    with pytest.raises(Damaged, match=wanted):
        read(database)


def of_version(version: int, sector: bytes) -> bytes:
    """The same record as another version would write it: whole, with its own checksum."""
    framed = sector[:4] + bytes([version]) + sector[5:-4]
    return framed + zlib.crc32(framed).to_bytes(4, "little")


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("version", [1, 3, 255])
def test_a_copy_of_another_version_is_refused_and_both_versions_are_named(record: str, copy: int, version: int) -> None:
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    place, encode = RECORDS[record]
    database = with_sector(database, place(copy), of_version(version, encode(9)))
    wanted = (
        f"{record}, copy {copy + 1}: has format version {version}, this software reads and writes version {VERSION}"
    )
    with pytest.raises(OtherVersion, match=wanted):
        read(database)


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"", "no JSON value"), (b"[]", "is no JSON object"), (b'{"name": 1}', "says name: 1, which is no text")],
)
def test_a_copy_that_is_whole_and_says_what_cannot_be_is_damaged(body: bytes, why: str) -> None:
    database = persistent.format_database(CLUSTER_ID, "demo", 3)
    sector = seal(ID, layout.RECORD_CONFIGURATION, 1, 2, body)
    database = with_sector(database, layout.configuration_offset(1, 0), sector)
    found = read(database)
    assert found.configuration == SECOND
    [(record, told)] = found.damaged
    assert record == "configuration of node 1, copy 1"
    assert why in told
    with pytest.raises(Damaged, match=why):
        read(with_sector(database, layout.configuration_offset(1, 1), sector))


@pytest.mark.parametrize(
    ("cluster_id", "name", "nodes"),
    [("00", "demo", 3), (CLUSTER_ID, "", 3), (CLUSTER_ID, "demo", 1), (CLUSTER_ID, "d", 65)],
)
def test_a_database_that_cannot_be_is_refused(cluster_id: str, name: str, nodes: int) -> None:
    with pytest.raises(ValueError, match=r"legal: "):
        persistent.format_database(cluster_id, name, nodes)


def regions(**sectors: bytes) -> bytes:
    """Regions of three nodes, from "n<i>_<sector>"."""
    data = bytearray(3 * layout.REGION_SIZE)
    for name, sector in sectors.items():
        node, index = (int(part.strip("n")) for part in name.split("_"))
        start = node * layout.REGION_SIZE + index * SECTOR_SIZE
        data[start : start + SECTOR_SIZE] = sector
    return bytes(data)


def view(epoch: int, step: int, incarnation: int = 1) -> View:
    return View(epoch, step, 0, (Entry(NodeState.JOINED, incarnation, 4, 0, 4), Entry(), Entry()))


def test_the_membership_is_the_valid_commit_record_with_the_highest_epoch_and_step() -> None:  # S2.6, A17
    torn = records.encode_commit(ID, 2, records.Commit(1, view(9, 9)))[:100] + bytes(412)
    data = regions(
        n0_3=records.encode_commit(ID, 0, records.Commit(8, view(3, 1))),
        n1_3=records.encode_commit(ID, 1, records.Commit(1, view(3, 2))),
        n2_3=torn,
        n2_4=torn,
    )
    found = parse(ID, 3, data)
    assert newest_view(found) == view(3, 2)
    assert found[2].damaged == (("commit", "the checksum does not match"),)
    assert newest_view(parse(ID, 3, regions())) == empty(3)


def test_what_has_not_changed_since_the_last_read_need_not_be_decoded_again() -> None:  # S2.5
    randomness = random.Random(7)
    encoders: dict[int, Callable[[int, int], bytes]] = {
        0: lambda node, n: records.encode_heartbeat(
            ID, node, records.Heartbeat(1, n, NodeState.JOINED, "none", 2, 0, 7, False)
        ),
        1: lambda node, n: records.encode_ballot(ID, node, records.Ballot(n, 2, 1, 1, 0, 0, 0)),
        3: lambda node, n: records.encode_commit(ID, node, records.Commit(n, view(n, 0))),
        5: lambda node, n: records.encode_match(ID, node, records.Match(n, 2, 1, 0, 0)),
    }
    data = bytearray(3 * layout.REGION_SIZE)
    last, damaged = None, 0
    for number in range(1, 400):
        node, first = randomness.randrange(3), randomness.choice([0, 1, 3, 5])
        at = node * layout.REGION_SIZE + first * SECTOR_SIZE
        sector = encoders[first](node, number)
        data[at : at + SECTOR_SIZE * (1 if first == 0 else 2)] = sector * (1 if first == 0 else 2)
        if randomness.random() < 0.05:
            data[at + randomness.randrange(SECTOR_SIZE)] ^= 1
        read = bytes(data)
        found = parse(ID, 3, read, last)
        assert found == parse(ID, 3, read)
        damaged += any(region.damaged for region in found)
        last = read, found
    assert 50 < damaged < 350  # both, and from the one to the other


def test_a_new_incarnation_is_higher_than_every_trace_of_an_earlier_one() -> None:  # S2.6
    beat = records.encode_heartbeat(ID, 0, HEARTBEAT)
    assert next_incarnation(0, parse(ID, 3, regions())) == 1
    assert next_incarnation(0, parse(ID, 3, regions(n0_0=beat))) == 8
    commit = records.encode_commit(ID, 1, records.Commit(1, view(3, 2, incarnation=11)))
    assert next_incarnation(0, parse(ID, 3, regions(n0_0=b"x" * 512, n1_3=commit))) == 12


def test_a_view_with_an_unknown_state_or_of_another_size_is_refused() -> None:
    encoded = bytearray(wire.encode_view(view(1, 1)))
    with pytest.raises(ValueError, match="a view of 3 nodes instead of 2"):
        wire.decode_view(bytes(encoded), 2)
    encoded[14] = 7
    with pytest.raises(ValueError, match="node 0 has the unknown state code 7"):
        wire.decode_view(bytes(encoded), 3)


def say(whole: View | None) -> datagram.Say:
    positions = tuple(Position(node, 5, NodeState.JOINING, 2, 1) for node in range(64))
    return datagram.Say(63, 5, 77, (1 << 64) - 1, "join", positions, whole)


@pytest.mark.parametrize("whole", [None, large_view()], ids=["member", "master"])
def test_a_datagram_comes_back_as_it_was_sent_and_fits_into_one_packet(whole: View | None) -> None:
    payload = datagram.encode(ID, say(whole))
    assert datagram.decode(ID, 64, payload) == say(whole)
    assert len(payload) <= 1472


def test_what_is_said_again_behind_the_head_is_not_encoded_again_and_is_the_same() -> None:
    said = say(None)
    changes: list[dict[str, object]] = [
        {"sequence": 9, "hears": 5, "intent": "leave", "epoch": 77, "gasp": True},
        {"acknowledged": ()},
        {"acknowledged": (Position(1, 4, NodeState.JOINING, 10, 0),)},
        {"programs": (announcement.Announcement(level(35, "one", {}, real=True), True, None),)},
        {"levels": (level(35, "", {"join": 2}, real=True),)},
        {"view": view(3, 2)},
        {"view": view(3, 3)},
        {"view": None},
    ]
    last = said, datagram.encode(ID, said)
    for change in changes:
        said = replace(said, **change)
        payload = datagram.encode(ID, said, last)
        assert payload == datagram.encode(ID, said)
        last = said, payload


@pytest.mark.parametrize("size", [0, 10, 60, 300])
def test_a_datagram_that_was_cut_or_is_foreign_is_refused(size: int) -> None:
    payload = datagram.encode(ID, say(None))
    with pytest.raises(datagram.BadDatagram):
        datagram.decode(ID, 64, payload[:size])
    with pytest.raises(datagram.BadDatagram, match="from the cluster"):
        datagram.decode(OTHER, 64, payload)
    with pytest.raises(datagram.BadDatagram, match="node 63"):
        datagram.decode(ID, 3, payload)


def test_a_record_that_does_not_fit_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="at most 476"):
        seal(ID, 1, 0, 1, bytes(477))
