"""Records on the disk and datagrams: what is written is read, and what is damaged is never believed (spec S2.5)."""

from __future__ import annotations

import json

import pytest

from guestd.membership import datagram, layout, records, wire
from guestd.membership.position import Position
from guestd.membership.regions import newest_view, next_incarnation, parse
from guestd.membership.sector import SECTOR_SIZE, Damaged, seal, unseal
from guestd.membership.states import NodeState
from guestd.membership.view import Entry, View, empty
from tests.unit.guestd_world import CLUSTER_ID

ID = bytes.fromhex(CLUSTER_ID)
OTHER = bytes(range(16))
HEARTBEAT = records.Heartbeat(7, 12345678901, NodeState.LEAVING, "leave", 5, 6, (1 << 64) - 1)
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


def test_a_new_database_has_a_header_a_configuration_per_node_and_nothing_else() -> None:  # S2.1, S2.2
    database = layout.format_database(CLUSTER_ID, "demo", 3)
    assert len(database) == layout.DATABASE_SIZE
    assert layout.read_header(ID, database[:512]) == layout.Header(cluster="demo", nodes=3)
    assert not any(database[layout.REGIONS_OFFSET :])
    for node in range(3):
        start = layout.CONFIGURATION_OFFSET + node * SECTOR_SIZE
        sector = unseal(ID, layout.RECORD_CONFIGURATION, node, database[start : start + SECTOR_SIZE])
        assert sector is not None
        assert json.loads(sector.body.rstrip(b"\0"))["name"] == f"n{node}"
    with pytest.raises(Damaged, match="belongs to the cluster"):
        layout.read_header(OTHER, database[:512])
    with pytest.raises(Damaged, match="never written"):
        layout.read_header(ID, bytes(512))


@pytest.mark.parametrize(
    ("cluster_id", "name", "nodes"),
    [("00", "demo", 3), (CLUSTER_ID, "", 3), (CLUSTER_ID, "demo", 1), (CLUSTER_ID, "d", 65)],
)
def test_a_database_that_cannot_be_is_refused(cluster_id: str, name: str, nodes: int) -> None:
    with pytest.raises(ValueError, match=r"legal: "):
        layout.format_database(cluster_id, name, nodes)


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
        n0_2=records.encode_commit(ID, 0, records.Commit(8, view(3, 1))),
        n1_2=records.encode_commit(ID, 1, records.Commit(1, view(3, 2))),
        n2_2=torn,
    )
    found = parse(ID, 3, data)
    assert newest_view(found) == view(3, 2)
    assert found[2].damaged == (("commit", "the checksum does not match"),)
    assert newest_view(parse(ID, 3, regions())) == empty(3)


def test_a_new_incarnation_is_higher_than_every_trace_of_an_earlier_one() -> None:  # S2.6
    beat = records.encode_heartbeat(ID, 0, HEARTBEAT)
    assert next_incarnation(0, parse(ID, 3, regions())) == 1
    assert next_incarnation(0, parse(ID, 3, regions(n0_0=beat))) == 8
    commit = records.encode_commit(ID, 1, records.Commit(1, view(3, 2, incarnation=11)))
    assert next_incarnation(0, parse(ID, 3, regions(n0_0=b"x" * 512, n1_2=commit))) == 12


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
