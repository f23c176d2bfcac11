"""Who a logical unit is: a serial number of 16 hexadecimal digits, and the NAA 6 name made from it (SPC-4 7.8.6.6.5).

The same disk keeps its identity over restarts of the target, so the guest finds it by name and not by the order in
which the kernel met it.
"""

from __future__ import annotations

import hashlib
import re

from hil.errors import UsageError

# NAA (4 bits) = 6, company (24) = 52-54-00, the locally administered prefix that QEMU's network cards use as well,
# then 36 bits that say "HIL", and the 64 bits of the serial number as vendor specific extension.
_PREFIX = "6" + "525400" + "0048494c0"
_SERIAL = re.compile(r"[0-9a-f]{16}", re.IGNORECASE)


def serial(text: str) -> str:
    """``text`` as a serial number: 16 lower-case hexadecimal digits. Raises ``UsageError`` for anything else."""
    if not _SERIAL.fullmatch(text):
        raise UsageError(f"serial number {text!r} is not legal: 16 hexadecimal digits are")
    return text.lower()


def serial_of_path(path: str) -> str:
    """A serial number for a LUN whose user gave none: stays the same as long as the file keeps its absolute path."""
    return hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def following(first: str, lun: int) -> str:
    """The serial number of LUN ``lun`` when LUN 0 has ``first``: counted up, modulo 2**64."""
    return f"{(int(serial(first), 16) + lun) % 2**64:016x}"


def naa(text: str) -> bytes:
    """The 16 bytes of the NAA 6 designator (VPD page 83h) of the unit with this serial number."""
    return bytes.fromhex(_PREFIX + serial(text))


def wwid(text: str) -> str:
    """What Linux prints in ``/sys/block/sdX/device/wwid`` for this serial number: ``naa.6`` and 31 digits."""
    return "naa." + naa(text).hex()
