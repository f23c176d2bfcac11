"""What one read of all regions shows: every node's records, each either valid, never written, or damaged."""

from __future__ import annotations

from guestd.core.value import Value
from guestd.membership import layout
from guestd.membership.records import (
    Ballot,
    Commit,
    Heartbeat,
    Match,
    decode_ballot,
    decode_commit,
    decode_heartbeat,
    decode_match,
)
from guestd.membership.sector import SECTOR_SIZE, Damaged, OtherVersion
from guestd.membership.view import View, empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, TypeVar

    _Record = TypeVar("_Record")
    _Numbered = TypeVar("_Numbered", bound=Ballot | Commit | Match)


RECORDS_SIZE = (layout.MATCH_SECTOR + layout.COPIES) * SECTOR_SIZE  # of a region, from its beginning


class Region(Value):
    """One node's records. None: never written, or damaged (then `damaged` says which and why): a missed read."""

    heartbeat: Heartbeat | None
    ballot: Ballot | None
    commit: Commit | None
    damaged: tuple[tuple[str, str], ...]  # (record, why)
    other_version: tuple[str, str] | None = None  # the first of those that another version has written
    match: Match | None = None

    kept = ("rest",)  # looked at with each read, and nearly always the same
    if TYPE_CHECKING:  # ClassVar: no field, for the checker
        rest: ClassVar[bytes]  # the sectors behind the heartbeat, of which this says what is in them


_NOTHING = Region(None, None, None, ())


def parse(cluster_id: bytes, nodes: int, data: bytes, last: tuple[bytes, list[Region]] | None = None) -> list[Region]:
    """The regions of all configured nodes, out of one read.

    last: an earlier read, and what this made of it: what has not changed since is not decoded again.
    """
    if last is None:
        return [_region(cluster_id, nodes, node, data) for node in range(nodes)]
    return [_changed(cluster_id, nodes, node, data, last[0], last[1][node]) for node in range(nodes)]


def newest_view(regions: list[Region]) -> View:
    """The cluster's membership: the valid commit record with the highest (epoch, step)."""
    newest: View | None = None
    for region in regions:
        commit = region.commit
        if commit is not None and (newest is None or commit.view.is_after(newest)):
            newest = commit.view
    return newest if newest is not None and newest.order > (0, 0) else empty(len(regions))


def next_incarnation(node: int, regions: list[Region]) -> int:
    """One more than any trace on the disk of an earlier life, so that a damaged heartbeat cannot make a life repeat."""
    own = regions[node]
    seen = [record.incarnation for record in (own.heartbeat, own.ballot, own.match) if record is not None]
    seen += [region.commit.view.entries[node].incarnation for region in regions if region.commit is not None]
    return max(seen, default=0) + 1


def other_version(regions: list[Region]) -> str | None:
    """The first record that another version has written, if any: without it nobody knows what the membership is."""
    for node, region in enumerate(regions):
        if region.other_version is not None:
            return f"the {region.other_version[0]} of node {node} {region.other_version[1]}"
    return None


def _changed(cluster_id: bytes, nodes: int, node: int, data: bytes, before: bytes, known: Region) -> Region:
    start = node * layout.REGION_SIZE
    if known.damaged or not data.startswith(known.rest, start + SECTOR_SIZE):
        return _region(cluster_id, nodes, node, data, before, known)
    try:
        heartbeat = decode_heartbeat(cluster_id, node, data[start : start + SECTOR_SIZE])
    except (Damaged, ValueError):
        return _region(cluster_id, nodes, node, data)
    region = Region(heartbeat, known.ballot, known.commit, (), None, known.match)
    object.__setattr__(region, "rest", known.rest)
    return region


def _region(
    cluster_id: bytes, nodes: int, node: int, data: bytes, before: bytes = b"", known: Region | None = None
) -> Region:
    """known: what `before` said, of which a pair of copies that is the same and was whole is not decoded again."""
    damaged: list[tuple[str, str]] = []
    other: list[tuple[str, str]] = []

    def record(name: str, sector: int, decode: Callable[[bytes], _Record | None]) -> _Record | None:
        try:
            return decode(layout.region_sector(data, node, sector))
        except (Damaged, ValueError) as why:
            damaged.append((name, str(why)))
            if isinstance(why, OtherVersion):
                other.append((name, str(why)))
            return None

    def pair(
        name: str, first: int, last: _Numbered | None, decode: Callable[[bytes], _Numbered | None]
    ) -> _Numbered | None:
        """The valid copy with the higher sequence number; damaged only if neither copy can be read.

        A copy of zeros counts as one that can: nothing was written before the write that damaged the other.
        """
        if known is not None and not known.damaged:
            start = node * layout.REGION_SIZE + first * SECTOR_SIZE
            end = start + layout.COPIES * SECTOR_SIZE
            if data[start:end] == before[start:end]:
                return last
        newest: _Numbered | None = None
        found_before = len(damaged)
        copies = [layout.region_sector(data, node, first + copy) for copy in range(layout.COPIES)]
        for copy in range(layout.COPIES):
            if newest is not None and copies[copy] == copies[0]:  # as it nearly always is
                continue
            found: _Numbered | None = record(f"{name}, copy {copy + 1}", first + copy, decode)
            if found is not None and (newest is None or found.sequence > newest.sequence):
                newest = found
        if len(damaged) - found_before == layout.COPIES:
            damaged[found_before:] = [(name, damaged[found_before][1])]
        return newest

    last = known if known is not None else _NOTHING
    # Of all records, in the order of their sectors: the first of another version is the one that is told.
    region = Region(
        heartbeat=record("heartbeat", layout.HEARTBEAT_SECTOR, lambda raw: decode_heartbeat(cluster_id, node, raw)),
        ballot=pair("ballot", layout.BALLOT_SECTOR, last.ballot, lambda raw: decode_ballot(cluster_id, node, raw)),
        commit=pair(
            "commit", layout.COMMIT_SECTOR, last.commit, lambda raw: decode_commit(cluster_id, node, raw, nodes)
        ),
        match=pair("match", layout.MATCH_SECTOR, last.match, lambda raw: decode_match(cluster_id, node, raw)),
        damaged=tuple(damaged),
        other_version=other[0] if other else None,
    )
    start = node * layout.REGION_SIZE
    object.__setattr__(region, "rest", data[start + SECTOR_SIZE : start + RECORDS_SIZE])
    return region
