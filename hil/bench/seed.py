"""What makes an image a node of this cluster: keys and configuration, appended to the initramfs.

The kernel unpacks every archive that follows another in the initrd, so the cluster's files ride behind the image's
own archive: no extra device, no change of the image, and they are there before anything runs. A machine that is to be
saved gets :data:`WAITING` instead, and the files later, by an order (``guestd.runtime.begin``).
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.errors import LaboratoryError
from hil.evidence import layout
from images import cpio

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Seed = Mapping[str, bytes]
"""File name in the guest's ``/run/hil`` to content."""

WAITING: Final[Seed] = {"config.json": b'{"wait": true}'}


def make_seed(run_dir: Path, guest_config: dict[str, Any], hosts: list[str]) -> Seed:
    """Make the cluster's keys, those for its users in ``run_dir``.

    ``hosts`` are the addresses that the host key stands for; they go into a ``known_hosts`` file beside the user's key.
    """
    # Imported here: while the disk's target starts, on another core.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    user_key, host_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    _write_private(run_dir / layout.KEY, user_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    host_line = host_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    (run_dir / layout.KNOWN_HOSTS).write_text("".join(f"{host} {host_line}\n" for host in hosts), encoding="ascii")

    public = user_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    seed = {
        "config.json": json.dumps(guest_config, indent=1).encode(),
        "authorized_keys": public + b" hil\n",
        "dropbear_ed25519_host_key": dropbear_private_key(host_key),
    }
    _write_private(run_dir / layout.SEED, json.dumps(as_text(seed)).encode())
    return seed


def load_seed(run_dir: Path) -> Seed:
    """The one that ``make_seed`` left in ``run_dir``, for a cluster that goes on. Raises ``LaboratoryError``."""
    try:
        told = json.loads((run_dir / layout.SEED).read_text(encoding="ascii"))
        return {name: bytes.fromhex(text) for name, text in told.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LaboratoryError(f"{run_dir / layout.SEED} is damaged: {error}") from None


def as_text(seed: Seed) -> dict[str, str]:
    """With the contents in hex, for JSON."""
    return {name: content.hex() for name, content in seed.items()}


def write_initrd(image_initrd: Path, target: Path, seed: Seed) -> None:
    """The image's initramfs and behind it the files of ``seed``, at ``target``."""
    files = [cpio.regular(f"hil/{name}", content, 0o600) for name, content in seed.items()]
    with open(target, "wb") as out, open(image_initrd, "rb") as image:
        shutil.copyfileobj(image, out)
        out.write(bytes(-out.tell() % 512))
        out.write(cpio.pack([cpio.directory("hil"), *files]))


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def dropbear_private_key(key: Ed25519PrivateKey) -> bytes:
    """``key`` in dropbear's own file format: the algorithm's name, then seed and public key as one string."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"".join(struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", seed + public))
