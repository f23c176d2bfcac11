"""What a target has in memory, as a file: with it, the media and the ledger, another process goes on where one stopped.

Saved: reservations and registrations, persistent or not, with their generation; write protection; every nexus with what
it has not been told yet; the number of the next command in the ledger, so that a ledger that does not belong to it is
refused. Not saved: faults and commands under way. A checkpoint is refused while there are any: heal them, let them end.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.scsi.reservations import State, Type
from hil.scsi.sense import Sense
from hil.scsi.target import Portal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.scsi.reservations import Identity
    from hil.scsi.target import Target

_VERSION: Final = 1


def save(target: Target, path: str) -> int:
    """Writes the file, whole or not at all; returns the number of the next command. Raises ``UsageError``."""
    if target.faults.faults:
        raise UsageError(f"faults {sorted(target.faults.faults)} are in force: heal them before a checkpoint")
    busy = target.commands_under_way()
    if busy:
        raise UsageError(f"{busy} commands are under way: a checkpoint can be made when they have ended")
    target.flush_ledger()
    document = {
        "version": _VERSION,
        "commands": target.ledger.order_next if target.ledger else None,
        "units": [
            {
                "lun": lun,
                "serial": unit.serial,
                "blocks": unit.blocks,
                "write_protected": unit.medium.write_protected,
                "reservations": _document(unit.reservations),
            }
            for lun, unit in target.units.items()
        ],
        "nexuses": [
            {
                "identity": nexus.identity,
                "attentions": [[lun, list(map(list, waiting))] for lun, waiting in nexus.attentions.items()],
            }
            for nexus in target.nexuses.values()
        ],
    }
    beside = f"{path}.new"
    try:
        with open(beside, "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise UsageError(f"checkpoint {path!r} cannot be written: {getattr(error, 'strerror', error)}") from None
    return target.ledger.order_next if target.ledger else 0


def restore(target: Target, portals: Sequence[Portal], path: str) -> None:
    """Puts ``target``, whose units are there and which has not begun to serve, into the state of the file.

    ``portals`` are those that it will listen on. Raises ``UsageError`` for a file that is damaged, or is about other
    units or another ledger.
    """
    try:
        with open(path, encoding="ascii") as file:
            document = json.load(file)
        units, nexuses, commands = document["units"], document["nexuses"], document["commands"]
        if document["version"] != _VERSION:
            raise UsageError(f"checkpoint {path} is of version {document['version']}, not {_VERSION}")
        there = [(lun, unit.serial, unit.blocks) for lun, unit in target.units.items()]
        saved = [(unit["lun"], unit["serial"], unit["blocks"]) for unit in units]
        states = {unit["lun"]: (_state(unit["reservations"]), bool(unit["write_protected"])) for unit in units}
        told = [(_identity(row["identity"]), _attentions(row["attentions"])) for row in nexuses]
    except OSError as error:
        raise UsageError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"checkpoint {path} is damaged: {error!r}") from None
    if there != saved:
        raise UsageError(f"checkpoint {path} is about other units: {saved} (LUN, serial number, blocks), not {there}")
    have = target.ledger.order_next if target.ledger else None
    if commands != have:
        raise UsageError(f"checkpoint {path} belongs to a ledger of {commands} commands: this one has {have}")
    by_address = {portal.address: portal for portal in portals}
    for (_, address), _ in told:
        if address not in by_address:
            raise UsageError(f"checkpoint {path} has a nexus at {address}: listen there, too")
    for portal in portals:  # before any nexus: their numbers are those of their order
        target.port_number(portal.address)
    for lun, (state, write_protected) in states.items():
        target.units[lun].restore(state, write_protected=write_protected)
    for (initiator, address), attentions in told:
        target.nexus(initiator, by_address[address]).attentions = attentions


def _document(state: State) -> dict[str, Any]:
    return {
        "registrations": [[*nexus, f"{key:016x}"] for nexus, key in state.keys.items()],
        "type": state.type,
        "holder": state.holder,
        "generation": state.generation,
        "aptpl": state.aptpl,
        "reserved_by": state.reserved_by,
    }


def _state(document: dict[str, Any]) -> State:
    holder, reserved_by = document["holder"], document["reserved_by"]
    return State(
        keys={_identity(row[:2]): int(row[2], 16) for row in document["registrations"]},
        type=None if document["type"] is None else Type(document["type"]),
        holder=None if holder is None else _identity(holder),
        generation=int(document["generation"]),
        aptpl=bool(document["aptpl"]),
        reserved_by=None if reserved_by is None else _identity(reserved_by),
    )


def _identity(row: list[str]) -> Identity:
    initiator, portal = row
    return str(initiator), str(portal)


def _attentions(rows: list[list[Any]]) -> dict[int, list[Sense]]:
    return {int(lun): [Sense(*map(int, sense)) for sense in waiting] for lun, waiting in rows}
