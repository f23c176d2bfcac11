"""VDM's tables with damage: every record, every copy, in every way. Refused with the reason, or healed from the other
copy; never believed (S7.2, A17)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guestd.core.value import replace
from guestd.membership.sector import Form, seal
from guestd.vdm import layout, plans, records, tables
from guestd.vdm.errors import TablesRefused
from guestd.vdm.extents import allocate, free
from guestd.vdm.format import format_volumes
from guestd.vdm.records import Disk, Extent
from guestd.vdm.tables import Tables, load

CLUSTER = bytes(range(16))
OTHER = bytes(16)
NODES = 3
COUNT = layout.tables_blocks(NODES)
SIZE = 16 << 20


class Image:
    """The sectors of tables, by LBA."""

    def __init__(self) -> None:
        data = format_volumes(CLUSTER.hex(), NODES, SIZE, [("shared", 1 << 20), ("logs", 100)])
        assert len(data) == layout.TABLES_SIZE
        self.sectors = [data[start : start + 512] for start in range(0, COUNT * 512, 512)]

    def __getitem__(self, lba: int) -> bytes:
        return self.sectors[lba - layout.TABLES_LBA]

    def __setitem__(self, lba: int, data: bytes) -> None:
        self.sectors[lba - layout.TABLES_LBA] = data

    def apply(self, writes: tables.Writes) -> None:
        for lba, data in writes:
            for place in range(len(data) // 512):
                self[lba + place] = data[place * 512 :][:512]

    def load(self) -> tables.Loaded:
        return load(CLUSTER, self.sectors)


def change(image: Image, node: int = 1) -> tuple[Tables, tables.Writes]:
    """One more virtual disk."""
    now = image.load().tables
    slot, disk = plans.created(now, f"new{now.sequence}", 3, 1)
    after = tables.with_record(CLUSTER, now, slot, disk)
    return after, tables.writes(CLUSTER, node, "create", slot, after)


def older(image: Image, lba: int) -> bytes:
    """What stood there before the virtual disks were made: whole, and out of date."""
    start = tables.empty(CLUSTER, NODES, SIZE // 512)
    if lba in (layout.header_lba(0), layout.header_lba(1)):
        return tables.encoded_header(CLUSTER, start)
    slot = (lba - layout.disk_lba(0, 0)) % (1 + layout.SLOTS)
    return start.sectors[slot] if start.sectors[slot] != image[lba] else _sealed(image, lba, sequence=0)


def _sealed(
    image: Image, lba: int, *, sequence: int | None = None, cluster: bytes = CLUSTER, form: object = None
) -> bytes:
    data = image[lba]
    number = int.from_bytes(data[24:32], "little") if sequence is None else sequence
    return seal(cluster, data[5], data[6], number, data[32:-4], form or layout.FORM)  # type: ignore[arg-type]


FUTURE = replace(layout.FORM, version=2)
FORMER = replace(layout.FORM, version=0)
HARM: dict[str, Callable[[Image, int], bytes]] = {
    "zeros": lambda _image, _lba: bytes(512),
    "unreadable": lambda _image, _lba: b"",
    "torn": lambda image, lba: image[lba][:256] + b"\xa5" * 256,
    "one bit": lambda image, lba: image[lba][:40] + bytes([image[lba][40] ^ 1]) + image[lba][41:],
    "something else": lambda _image, _lba: b"x" * 512,
    "old": older,
    "misdirected": lambda image, _lba: image[layout.disk_lba(62, 0)][:6] + image[layout.disk_lba(61, 0)][6:],
    "of another place": lambda image, lba: image[layout.disk_lba(60, 0) if lba != layout.disk_lba(60, 0) else lba + 1],
    "of another cluster": lambda image, lba: _sealed(image, lba, cluster=OTHER),
    "nonsense in a whole frame": lambda image, lba: seal(
        CLUSTER, image[lba][5], image[lba][6], 9, b"\xff" * 476, layout.FORM
    ),
}
PLACES = {
    **{f"header {copy}": layout.header_lba(copy) for copy in range(2)},
    **{f"disk {slot}, copy {copy}": layout.disk_lba(slot, copy) for slot in (0, 1, 2, 59) for copy in range(2)},
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("place", PLACES)
def test_one_damaged_copy_is_healed_from_the_other(place: str, harm: str) -> None:
    image, lba = Image(), PLACES[place]
    whole = image.load()
    assert whole.repairs == ()
    good = image[lba]
    image[lba] = HARM[harm](image, lba)
    assert image[lba] != good
    found = image.load()
    assert found.tables == whole.tables
    assert found.repairs == ((lba, good),)
    image.apply(found.repairs)
    assert image.load() == whole


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("place", [name for name in PLACES if name.endswith("0")])
def test_both_copies_damaged_are_refused_with_the_reason(place: str, harm: str) -> None:
    image, lba = Image(), PLACES[place]
    for copy in range(2):
        at = lba + copy * (1 + layout.SLOTS)
        image[at] = HARM[harm](image, at)
    with pytest.raises(TablesRefused) as why:
        image.load()
    if harm != "old":
        assert f"{place.split(',', maxsplit=1)[0].replace('disk', 'record').split(' 0')[0]}" in str(why.value)
        assert "copy 1" in str(why.value) or "later change" in str(why.value)
        assert "copy 2" in str(why.value) or "later change" in str(why.value)
    expected = "foreign cluster" if harm == "of another cluster" and place.startswith("header") else None
    if expected:
        assert why.value.validity == expected


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("form", "validity"), [(FUTURE, "future version"), (FORMER, "former version")])
def test_another_version_is_refused_even_if_it_is_only_one_copy(place: str, form: Form, validity: str) -> None:
    image, lba = Image(), PLACES[place]
    image[lba] = _sealed(image, lba, form=form)
    with pytest.raises(TablesRefused, match="this software reads and writes version 1") as why:
        image.load()
    assert why.value.validity == validity


def test_copies_that_are_whole_and_differ_are_refused() -> None:
    image = Image()
    now = image.load().tables
    header = replace(now.header, digest=1)
    image[layout.header_lba(1)] = records.encode_header(CLUSTER, now.sequence, header)
    with pytest.raises(TablesRefused, match="header: the copies are both of change 3 and differ"):
        image.load()
    image = Image()
    image[layout.disk_lba(1, 1)] = records.encode_disk(CLUSTER, 3, 1, one(60, 2, "logs", 3))
    with pytest.raises(TablesRefused, match="record 1: the copies are both of change 3 and differ"):
        image.load()


def test_a_change_stops_after_any_write_and_is_completed_or_was_never_begun() -> None:
    for node in range(NODES):
        image = Image()
        before = image.load().tables
        after, writes = change(image, node)
        assert len(writes) == 5
        for done in range(len(writes) + 1):
            image = Image()
            image.apply(writes[:done])
            found = image.load()
            assert found.tables == (after if done else before), done
            assert bool(found.repairs) == (0 < done < len(writes))
            # Whoever completes it may die too, after any write.
            for again in range(len(found.repairs) + 1):
                other = Image()
                other.apply(writes[:done])
                other.apply(found.repairs[:again])
                assert other.load().tables == found.tables


def test_a_torn_intent_counts_if_one_copy_is_whole() -> None:
    after, writes = change(Image())
    lba, data = writes[0]
    for kept, wanted in (((), 3), ((0,), 4), ((1,), 4)):
        image = Image()
        for place in kept:
            image[lba + place] = data[place * 512 :][:512]
        for place in {0, 1} - set(kept):
            image[lba + place] = b"\xa5" * 512
        found = image.load()
        assert found.tables.sequence == wanted
        assert (found.tables == after) == bool(kept)


def test_what_a_change_wrote_whose_intent_is_lost_is_undone_if_it_is_in_one_copy_and_refused_if_in_both() -> None:
    _, writes = change(Image())
    image = Image()
    before = image.load().tables
    image.apply(writes[1:2])
    found = image.load()
    assert found.tables == before
    assert [lba for lba, _ in found.repairs] == [writes[1][0]]
    assert "never completed" in str(found.damaged)
    image.apply(writes[2:3])
    with pytest.raises(TablesRefused, match="never completed"):
        image.load()


def test_intents_that_cannot_be() -> None:
    image = Image()
    after, writes = change(image)
    ahead = Image()
    ahead.apply(((layout.intent_lba(0), records.encode_intent(CLUSTER, 0, _intent(after, 5))),))
    with pytest.raises(TablesRefused, match="node 0 has intended change 5, the tables are of change 3"):
        ahead.load()
    image.apply(writes[:1])
    image.apply(((layout.intent_lba(2), records.encode_intent(CLUSTER, 2, _intent(after, 4))),))
    with pytest.raises(TablesRefused, match="nodes 1 and 2 both have intended change 4"):
        image.load()
    other = Image()
    intent = replace(_intent(after, 3), digest=77)
    other.apply(((layout.intent_lba(2), records.encode_intent(CLUSTER, 2, intent)),))
    with pytest.raises(TablesRefused, match="different digests"):
        other.load()
    void = Image()
    void.apply(((layout.intent_lba(2), records.encode_intent(CLUSTER, 2, _intent(after, 2))),))
    assert void.load() == Image().load()


def _intent(after: Tables, sequence: int) -> records.Intent:
    return records.Intent(sequence, "create", 2, after.header.digest, after.disks[2])


def test_records_of_which_both_copies_are_old_do_not_add_up() -> None:
    image = Image()
    after, writes = change(image)
    image.apply(writes)
    old = Image()
    for copy in range(2):
        image[layout.disk_lba(2, copy)] = old[layout.disk_lba(2, copy)]
    # The intent of that change still has the record.
    assert image.load().tables == after
    image.apply(((layout.intent_lba(1), bytes(1024)),))
    with pytest.raises(TablesRefused, match="add up"):
        image.load()


def forged(disks: dict[int, Disk], sequence: int = 9) -> Image:
    """Whole tables that say something that cannot be."""
    image = Image()
    now = tables.empty(CLUSTER, NODES, SIZE // 512)
    for slot, disk in disks.items():
        now = tables.with_record(CLUSTER, now, slot, disk)
    now = replace(now, sequence=sequence)
    for copy in range(2):
        image[layout.header_lba(copy)] = tables.encoded_header(CLUSTER, now)
        for slot in range(layout.SLOTS):
            image[layout.disk_lba(slot, copy)] = now.sectors[slot]
    return image


def one(first: int, count: int, name: str = "a", identity: int = 2) -> Disk:
    return Disk(identity, name, count, ((Extent(first, count),),))


def test_records_that_do_not_go_together_are_refused() -> None:
    assert forged({0: one(0, 5), 1: one(5, 5, "b", 3)}).load().repairs == ()
    wrong = {
        "belongs to": {0: one(0, 5), 1: one(4, 5, "b", 3)},
        "beyond": {0: one(170, 7)},
        "was created by change 10": {0: one(0, 5, identity=10)},
        "the same name": {0: one(0, 5), 1: one(5, 5, "a", 3)},
        "the same name or id": {0: one(0, 5), 1: one(5, 5, "b", 2)},
    }
    for why, disks in wrong.items():
        with pytest.raises(TablesRefused, match=why):
            forged(disks).load()
    twice = Disk(2, "m", 5, ((Extent(0, 5),), (Extent(3, 5),)))
    with pytest.raises(TablesRefused, match="unit 3 belongs to 'm' and to 'm'"):
        forged({0: twice}).load()


def test_more_nodes_than_were_read_are_refused() -> None:
    image = Image()
    with pytest.raises(TablesRefused, match="3 nodes"):
        load(CLUSTER, image.sectors[:-2])


def test_a_disk_that_is_too_small_or_named_wrong_is_refused_when_it_is_formatted() -> None:
    identity = CLUSTER.hex()
    format_volumes(identity, 2, 7 << 20)
    wrong = [
        (("00", 3, SIZE), "legal: 32"),
        ((identity, 1, SIZE), "legal: 2 to 64"),
        ((identity, 3, 5 << 20), "no room"),
        ((identity, 3, SIZE, [("", 1)]), "0 bytes"),
        ((identity, 3, SIZE, [("bootstrap", 1)]), "there is a virtual disk"),
        ((identity, 3, SIZE, [("a", 1), ("a", 1)]), "there is a virtual disk"),
        ((identity, 3, SIZE, [("a", SIZE)]), "units"),
        ((identity, 3, SIZE, [("a", 0)]), "0 blocks"),
    ]
    for arguments, why in wrong:
        with pytest.raises(Exception, match=why):
            format_volumes(*arguments)  # type: ignore[arg-type]


def test_space_is_given_out_in_few_extents_and_none_twice() -> None:
    gaps = [Extent(0, 2), Extent(10, 5), Extent(20, 3)]
    assert allocate(gaps, 3) == ([Extent(20, 3)], [Extent(0, 2), Extent(10, 5)])
    assert allocate(gaps, 4) == ([Extent(10, 4)], [Extent(0, 2), Extent(14, 1), Extent(20, 3)])
    assert allocate(gaps, 7) == ([Extent(10, 5), Extent(20, 2)], [Extent(0, 2), Extent(22, 1)])
    assert allocate(gaps, 4, after=Extent(15, 5)) == ([Extent(20, 3), Extent(10, 1)], [Extent(0, 2), Extent(11, 4)])
    assert allocate(gaps, 0) == ([], gaps)
    assert free([one(2, 8), one(15, 5), one(23, 2)], 25) == gaps
