"""One node's hand on the membership database: reads all regions, writes its own records, counts their sequences."""

from __future__ import annotations

from guestd.core.value import replace
from guestd.membership import layout, records, regions
from guestd.membership.persistent import headers, read_persistent
from guestd.membership.sector import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guestd.core.context import Context
    from guestd.membership.regions import Region
    from guestd.membership.view import View

    Block = records.Ballot | records.Match
    Done = Callable[[bool], None]  # called with whether the record is on the disk


class Database:
    """Used by the stack of one node only. All continuations are called when the completion has come in."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._id = context.config.cluster_id
        self._heartbeat_sequence = 0
        self._commit_sequence = 0
        self._contest = "match" if context.config.election == "dekker" else "ballot"  # the record of the own mode
        self._blocks: list[Any] = [None] * context.config.nodes
        self._reported: set[tuple[int, str]] = set()
        self._last_read: tuple[bytes, list[Region]] | None = None
        self.damaged_count = 0

    def check_persistent(self, then: Callable[[str | None, bool], None]) -> None:
        """Read the persistent part, then call then(why it is refused or None, whether it could be read)."""

        def ended(ok: bool, data: bytes) -> None:
            if ok:
                then(self._why_refused(data), True)
            else:
                then(None, False)

        self._context.disk.read(layout.PERSISTENT_LBA, layout.persistent_sectors(self._context.config.nodes), ended)

    def _why_refused(self, data: bytes) -> str | None:
        """What is wrong with the persistent part; None if this node may go on."""
        config = self._context.config
        if not any(any(copy) for copy in headers(data)):
            return "membership database: there is none: its header was never written"
        try:
            found = read_persistent(self._id, self._context.node, data)
        except Damaged as why:
            return f"membership database: {why}"
        header = found.header
        if (header.cluster, header.nodes) != (config.cluster, config.nodes):
            return (
                f"membership database: it is of the cluster {header.cluster} with {header.nodes} nodes, "
                f"this machine is configured for {config.cluster} with {config.nodes}"
            )
        if header.election != config.election:
            return (
                f'membership database: its epochs are decided with election = "{header.election}", '
                f'this machine is configured for "{config.election}"'
            )
        if header.data_disks != config.data_disks:
            return (
                f"membership database: its cluster has data_disks = {header.data_disks}, "
                f"this machine is configured for {config.data_disks}"
            )
        for record, why_copy in found.damaged:
            self._report(self._context.node, record, why_copy)
        return None

    def read(self, then: Callable[[list[Region] | None], None]) -> None:
        """Read all regions with one command; None if that failed."""
        nodes = self._context.config.nodes

        def ended(ok: bool, data: bytes) -> None:
            if not ok:
                then(None)
                return
            found = regions.parse(self._id, nodes, data, self._last_read)
            self._last_read = data, found
            self._report_damage(found)
            for node, region in enumerate(found):
                # A block that could not be read now is still known from before; one's own is known from memory.
                block = getattr(region, self._contest)
                if node != self._context.node and block is not None:
                    self._blocks[node] = block
            then(found)

        self._context.disk.read(layout.REGIONS_LBA, nodes * layout.REGION_SECTORS, ended)

    @property
    def heartbeat_sequence(self) -> int:
        """The number of this node's last heartbeat on the disk, or on its way there."""
        return self._heartbeat_sequence

    def resume(self, found: list[Region]) -> None:
        """Go on where this node's earlier life stopped: sequence numbers and the block, which is never forgotten."""
        own = found[self._context.node]
        self._heartbeat_sequence = own.heartbeat.sequence if own.heartbeat else 0
        self._commit_sequence = own.commit.sequence if own.commit else 0
        self._blocks[self._context.node] = getattr(own, self._contest)

    def blocks(self) -> list[Any]:
        """What every node has last said in the contest, as far as known: ballots in mode `paxos`, matches in `dekker`;
        None: nothing ever. The own one is the one written last, or being written."""
        return list(self._blocks)

    def illegible(self, found: list[Region]) -> list[int]:
        """The nodes whose block could not be read."""
        return [node for node, region in enumerate(found) if any(name == self._contest for name, _ in region.damaged)]

    def write_heartbeat(self, heartbeat: records.Heartbeat, then: Done, *, durable: bool = False) -> None:
        """Write the own heartbeat with the next sequence number; durable: it begins a life."""
        self._heartbeat_sequence += 1
        numbered = replace(heartbeat, sequence=self._heartbeat_sequence)
        data = records.encode_heartbeat(self._id, self._context.node, numbered)
        self._write(layout.HEARTBEAT_SECTOR, data, then, durable=durable)

    def write_block(self, block: Block, then: Done) -> None:
        """Write the own block. It counts as written from now on: a failed write may have reached the disk."""
        self._blocks[self._context.node] = block
        if isinstance(block, records.Match):
            sector, data = layout.MATCH_SECTOR, records.encode_match(self._id, self._context.node, block)
        else:
            sector, data = layout.BALLOT_SECTOR, records.encode_ballot(self._id, self._context.node, block)
        self._write(sector, data * layout.COPIES, then, durable=True)

    def lost_epoch(self, found: list[Region]) -> int:
        """The newest epoch that may have been committed by a record which cannot be read any more; 0: none.

        In mode `dekker` that is the epoch for which its node contended last. In mode `paxos` the ballots say what was
        decided.
        """
        lost = [region.match for region in found if any(name == "commit" for name, _ in region.damaged)]
        return max((match.epoch for match in lost if match is not None), default=0)

    def repair_block(self, found: list[Region], then: Done) -> bool:
        """Write an empty block over the own one if it cannot be read; whether it could not.

        Nobody could win an election while that block is not legible. It is no loss in mode `paxos`: a value that the
        node's former life has chosen only matters to its owner, which goes by its own block; and if that was the former
        life, it is over. In mode `dekker` turn bits are lost, so this life must not contend in the epoch of that block
        (`Election.burn`): for a later one everybody looks at the bits anew, and may begin with any.
        """
        unreadable = self._context.node in self.illegible(found)
        if unreadable and self._contest == "match":
            self.write_block(records.Match(1, 0, 0, flags=0, bits=0), then)
        elif unreadable:
            self.write_block(records.Ballot(1, 0, 0, mbal=0, bal=0, owner=0, owner_incarnation=0), then)
        return unreadable

    def write_commit(self, view: View, then: Done) -> None:
        """Write the own commit record with the next sequence number."""
        self._commit_sequence += 1
        commit = records.Commit(self._commit_sequence, view)
        data = records.encode_commit(self._id, self._context.node, commit)
        self._write(layout.COMMIT_SECTOR, data * layout.COPIES, then, durable=True)

    def _write(self, sector: int, data: bytes, then: Done, *, durable: bool) -> None:
        lba = layout.region_lba(self._context.node, sector)
        self._context.disk.write(lba, data, then, durable=durable)

    def _report_damage(self, found: list[Region]) -> None:
        for node, region in enumerate(found):
            for record, why in region.damaged:
                self._report(node, record, str(why))

    def _report(self, node: int, record: str, why: str) -> None:
        self.damaged_count += 1
        if (node, record) not in self._reported:
            self._reported.add((node, record))
            self._context.emit("damaged", subject=node, record=record, why=why)
