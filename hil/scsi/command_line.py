"""Command line of the target process; see ``python -m hil.scsi --help``.

Exit status: 0 after SIGTERM or SIGINT, 2 for a request that cannot be carried out, 3 when the target itself broke.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hil.errors import HilError, UsageError
from hil.scsi import identity
from hil.scsi.checkpoint import restore
from hil.scsi.found_data import take_down_found
from hil.scsi.iscsi.lobby import PATIENCE_S
from hil.scsi.kept_data import KeptData
from hil.scsi.ledger import Ledger
from hil.scsi.medium import Medium, parse_lun
from hil.scsi.server import serve
from hil.scsi.target import TARGET_NAME, Portal, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

_INITIATOR_BYTES_MAX = 223
_PATIENCE_S_MIN, _PATIENCE_S_MAX = 1, 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the target until a signal ends it; returns the exit status."""
    options = _parser().parse_args(arguments)
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="hil.scsi: %(message)s", stream=sys.stderr)
    try:
        portals = _portals(options)
        with ExitStack() as stack:
            target = _target(options, stack)
            if options.restore:
                restore(target, portals, options.restore)
            gc.collect()
            gc.freeze()  # what exists now stays; no use in looking through it again and again
            asyncio.run(serve(target, portals, options.ready_fd, options.control, options.patience))
    except HilError as error:
        print(f"hil.scsi: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.scsi",
        description=f"iSCSI target {TARGET_NAME} whose logical units are raw files; ends at SIGTERM.",
    )
    parser.add_argument(
        "--lun",
        action="append",
        required=True,
        metavar="FILE[:SIZE]",
        help="raw file of a logical unit, made with SIZE (K, M, G) if missing; repeated: LUN 0, 1, …",
    )
    parser.add_argument(
        "--serial", metavar="HEX16", help="serial number of LUN 0, 16 hexadecimal digits; further LUNs count up"
    )
    parser.add_argument(
        "--ledger", metavar="FILE", help="record every command in this file; goes on in an existing one"
    )
    parser.add_argument(
        "--keep-data",
        metavar="FILE",
        help="keep what reaches the media, too: the disk as it was at any command of the ledger (hil disk at)",
    )
    parser.add_argument(
        "--portal",
        action="append",
        default=[],
        metavar="HOST:PORT=INITIATOR",
        help="listen there for this initiator name only; repeated: node 0, 1, …",
    )
    parser.add_argument(
        "--listen", action="append", default=[], metavar="HOST:PORT", help="listen there for any initiator"
    )
    parser.add_argument(
        "--reservations",
        metavar="FILE",
        help="where registrations of LUN 0 that are to survive a restart (APTPL) are kept, FILE.1 for LUN 1, …; "
        "without this option beside each LUN's file",
    )
    parser.add_argument(
        "--restore",
        metavar="FILE",
        help="go on from a checkpoint, with the media and the ledger of the same moment",
    )
    parser.add_argument("--control", metavar="PATH", help="take faults at this Unix socket, a line of JSON each")
    parser.add_argument(
        "--patience",
        type=_patience,
        default=PATIENCE_S,
        metavar="SECONDS",
        help="give up an initiator that does not log in, or whose host does not answer, after so long (default: 30)",
    )
    parser.add_argument("--ready-fd", type=int, metavar="N", help="write a line to this descriptor when listening")
    parser.add_argument("--sync", action="store_true", help="SYNCHRONIZE CACHE and FUA reach the host's disk, too")
    parser.add_argument("--verbose", action="store_true", help="log logins and what ended them")
    return parser


def _patience(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _PATIENCE_S_MIN <= seconds <= _PATIENCE_S_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: {_PATIENCE_S_MIN} to {_PATIENCE_S_MAX} seconds are legal")
    return seconds


def _target(options: argparse.Namespace, stack: ExitStack) -> Target:
    first = (
        identity.serial(options.serial) if options.serial else identity.serial_of_path(os.path.abspath(options.lun[0]))
    )
    luns = [parse_lun(text) for text in options.lun]
    media = [stack.enter_context(Medium(path, size, sync=options.sync)) for path, size in luns]
    ledger = _ledger(options, media)
    if ledger is not None:
        stack.callback(ledger.close)
    target = Target(ledger=ledger)
    for lun, medium in enumerate(media):
        kept = f"{options.reservations}.{lun}" if options.reservations and lun else options.reservations
        target.add_unit(lun, medium, identity.following(first, lun), kept)
    return target


def _ledger(options: argparse.Namespace, media: Sequence[Medium]) -> Ledger | None:
    if options.keep_data and not options.ledger:
        raise UsageError("--keep-data is about the commands of a ledger: --ledger FILE is needed, too")
    if not options.ledger:
        return None
    if not options.keep_data:
        return Ledger(options.ledger)
    data = KeptData(options.keep_data)
    for lun, medium in enumerate(media):
        data.keep_base(lun, medium.path)
    ledger = Ledger(options.ledger, data)
    if not data.begins:
        for lun, medium in enumerate(media):
            take_down_found(ledger, data.path, lun, medium)
    return ledger


def _portals(options: argparse.Namespace) -> list[Portal]:
    portals = [_portal(text) for text in options.portal]
    portals += [Portal(*_address(text), None) for text in options.listen]
    if not portals:
        raise UsageError("where to listen? --portal HOST:PORT=INITIATOR or --listen HOST:PORT is needed")
    seen: set[str] = set()
    for portal in portals:
        if portal.port and portal.address in seen:
            raise UsageError(f"portal {portal.address} is given twice")
        seen.add(portal.address)
    return portals


def _portal(text: str) -> Portal:
    address, equals, initiator = text.partition("=")
    if not equals or not 0 < len(initiator.encode()) <= _INITIATOR_BYTES_MAX or not initiator.isprintable():
        raise UsageError(f"portal {text!r} is not legal: HOST:PORT=INITIATOR is, as 127.0.0.1:3260=iqn.2026-11.hil:n0")
    return Portal(*_address(address), initiator)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(
            f"address {text!r} is not legal: HOST:PORT is, as 127.0.0.1:3260 (port 0 to 65535, 0 any free one)"
        )
    return host, int(port)
