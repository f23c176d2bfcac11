"""What makes an image a node of this cluster: keys and configuration, appended to the initramfs.

The kernel unpacks every archive that follows another in the initrd, so the cluster's files ride behind the image's
own archive: no extra device, no change of the image, and they are there before anything runs.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from images import cpio

KEY_FILE = "id_ed25519"
KNOWN_HOSTS_FILE = "known_hosts"


def write_seed(image_initrd: Path, target: Path, run_dir: Path, guest_config: dict[str, Any], hosts: list[str]) -> None:
    """Make the cluster's keys in ``run_dir`` and its initrd at ``target``.

    ``hosts`` are the addresses that the host key stands for; they go into a ``known_hosts`` file beside the user's key.
    """
    user_key, host_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    key_path = run_dir / KEY_FILE
    key_path.touch(mode=0o600)
    key_path.write_bytes(user_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    host_line = host_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    (run_dir / KNOWN_HOSTS_FILE).write_text("".join(f"{host} {host_line}\n" for host in hosts), encoding="ascii")

    public = user_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    archive = cpio.pack(
        [
            cpio.directory("hil"),
            cpio.regular("hil/config.json", json.dumps(guest_config, indent=1).encode()),
            cpio.regular("hil/authorized_keys", public + b" hil\n", 0o600),
            cpio.regular("hil/dropbear_ed25519_host_key", dropbear_private_key(host_key), 0o600),
        ]
    )
    with open(target, "wb") as out, open(image_initrd, "rb") as image:
        shutil.copyfileobj(image, out)
        out.write(bytes(-out.tell() % 512))
        out.write(archive)


def dropbear_private_key(key: Ed25519PrivateKey) -> bytes:
    """``key`` in dropbear's own file format: the algorithm's name, then seed and public key as one string."""
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"".join(struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", seed + public))
