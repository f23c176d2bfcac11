"""The records in a node's region, and how they become sectors (layout: `layout.py`, frame: `sector.py`)."""

from __future__ import annotations

import struct

from guestd.core.value import Value
from guestd.membership import layout, wire
from guestd.membership.sector import seal, unseal
from guestd.membership.states import NodeState
from guestd.membership.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.membership.sector import Sector

INTENTS = ("none", "join", "leave")

_HEARTBEAT = struct.Struct("<IBBIIQB")
_BALLOT = struct.Struct("<IIQQBI")
_MATCH = struct.Struct("<IIBQ")


class Heartbeat(Value):
    """ "I am alive": written once per disk period; its sequence number is what the others watch."""

    incarnation: int
    sequence: int
    state: NodeState
    intent: str  # one of INTENTS
    epoch: int  # newest view that this node knows
    step: int
    hears: int  # bit mask of the nodes heard lately over the interconnect
    lost_disk: bool  # it has lost a data disk, and can verify no fence

    @property
    def order(self) -> tuple[int, int]:
        """Newer records of one node compare greater."""
        return (self.incarnation, self.sequence)

    def is_after(self, other: Heartbeat) -> bool:
        """Whether it is the newer record of that node."""
        if self.incarnation != other.incarnation:
            return self.incarnation > other.incarnation
        return self.sequence > other.sequence


class Ballot(Value):
    """A node's block in Disk Paxos (Gafni and Lamport 2003); see `paxos.py`. Blocks of another epoch do not count."""

    sequence: int
    epoch: int
    incarnation: int
    mbal: int  # the highest ballot that this node has started in this epoch
    bal: int  # the highest ballot in which it has chosen a value; 0: none
    owner: int  # that value: the node that is to own the epoch ...
    owner_incarnation: int  # ... and which life of it


class Match(Value):
    """A node's block in a contest of mode `dekker`; see `dekker.py`. Blocks of another epoch do not count."""

    sequence: int
    epoch: int
    incarnation: int
    flags: int  # bit mask of the rounds in which its flag is up
    bits: int  # bit mask of its turn bits, by opponent


class Commit(Value):
    """The membership, as written by the master of its epoch. The valid one with the highest (epoch, step) counts."""

    sequence: int
    view: View


def encode_heartbeat(cluster_id: bytes, node: int, record: Heartbeat) -> bytes:
    """One sector."""
    state = wire.code_of(record.state)
    intent = INTENTS.index(record.intent)
    body = _HEARTBEAT.pack(record.incarnation, state, intent, record.epoch, record.step, record.hears, record.lost_disk)
    return seal(cluster_id, layout.RECORD_HEARTBEAT, node, record.sequence, body)


def decode_heartbeat(cluster_id: bytes, node: int, data: bytes) -> Heartbeat | None:
    """None: never written. Raises Damaged."""
    sector = unseal(cluster_id, layout.RECORD_HEARTBEAT, node, data)
    return None if sector is None else heartbeat_in(sector)


def heartbeat_in(sector: Sector) -> Heartbeat:
    """What a valid sector says."""
    incarnation, state, intent, epoch, step, hears, lost_disk = _HEARTBEAT.unpack_from(sector.body)
    return Heartbeat(
        incarnation=incarnation,
        sequence=sector.sequence,
        state=wire.STATES_BY_CODE.get(state, NodeState.INACTIVE),
        intent=INTENTS[intent] if intent < len(INTENTS) else "none",
        epoch=epoch,
        step=step,
        hears=hears,
        lost_disk=bool(lost_disk),
    )


def encode_ballot(cluster_id: bytes, node: int, record: Ballot) -> bytes:
    """One sector."""
    body = _BALLOT.pack(
        record.epoch, record.incarnation, record.mbal, record.bal, record.owner, record.owner_incarnation
    )
    return seal(cluster_id, layout.RECORD_BALLOT, node, record.sequence, body)


def decode_ballot(cluster_id: bytes, node: int, data: bytes) -> Ballot | None:
    """None: never written. Raises Damaged."""
    sector = unseal(cluster_id, layout.RECORD_BALLOT, node, data)
    return None if sector is None else ballot_in(sector)


def ballot_in(sector: Sector) -> Ballot:
    """What a valid sector says."""
    return Ballot(sector.sequence, *_BALLOT.unpack_from(sector.body))


def encode_match(cluster_id: bytes, node: int, record: Match) -> bytes:
    """One sector."""
    body = _MATCH.pack(record.epoch, record.incarnation, record.flags, record.bits)
    return seal(cluster_id, layout.RECORD_MATCH, node, record.sequence, body)


def decode_match(cluster_id: bytes, node: int, data: bytes) -> Match | None:
    """None: never written. Raises Damaged."""
    sector = unseal(cluster_id, layout.RECORD_MATCH, node, data)
    return None if sector is None else match_in(sector)


def match_in(sector: Sector) -> Match:
    """What a valid sector says."""
    return Match(sector.sequence, *_MATCH.unpack_from(sector.body))


def encode_commit(cluster_id: bytes, node: int, record: Commit) -> bytes:
    """One sector."""
    return seal(cluster_id, layout.RECORD_COMMIT, node, record.sequence, wire.encode_view(record.view))


def decode_commit(cluster_id: bytes, node: int, data: bytes, nodes: int) -> Commit | None:
    """None: never written. Raises Damaged, or ValueError for a valid frame around something else."""
    sector = unseal(cluster_id, layout.RECORD_COMMIT, node, data)
    return None if sector is None else commit_in(sector, nodes)


def commit_in(sector: Sector, nodes: int) -> Commit:
    """What a valid sector says. Raises ValueError for something else."""
    return Commit(sector.sequence, wire.decode_view(sector.body, nodes))
