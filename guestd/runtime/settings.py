"""What a machine is told at boot: /run/hil/config.json, written by the host, and the kernel's command line.

A machine that is to be saved is told `{"wait": true}` and the rest later (`guestd.runtime.begin`).

For a trial outside a guest, the environment names another file (HIL_CONFIG) and the node (HIL_NODE), and the file may
carry more keys: `disk.path` (a plain file instead of a device to look for), `port.path` (a Unix socket to connect
to instead of the virtio port), `programs.path` (the socket for programs), `shared.path` (where the shared file system
is to be mounted) and `interconnect.broadcast` on loopback, with no `interconnect.addresses`.
"""

from __future__ import annotations

import os

from guestd.core import json
from guestd.core.config import Config
from guestd.core.timing import Timing
from guestd.core.value import Value

CONFIG_PATH = "/run/hil/config.json"
CMDLINE_PATH = "/proc/cmdline"
PORT_NAME = "hil.guestd"
PROGRAMS_PATH = "/run/hil/guestd.sock"
SHARED_PATH = "/shared"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class BadSettings(ValueError):
    """The machine was told something that it cannot work with; the message says which key, and what is legal."""


class Settings(Value):
    """Everything that the runtime needs to know."""

    node: int
    config: Config
    wwid: str  # of the shared disk, LUN 0
    data_wwids: tuple[str, ...]  # of LUN 1, 2 …
    disk_path: str | None
    port_path: str | None
    programs_path: str | None
    shared_path: str | None
    broadcast: str
    addresses: tuple[str, ...]  # of the nodes on the interconnect, by id; empty: they have none of their own
    port: int
    stages: dict[str, float]  # uptime in seconds at which the stages of the boot were reached


def load(environment: Mapping[str, str]) -> Settings:
    """Raises BadSettings."""
    path = config_path(environment)
    try:
        with open(path, encoding="utf-8") as file:
            told = json.loads(file.read())
        timing = Timing(**told.get("timing", {}))
        config = Config(
            cluster_id=bytes.fromhex(told["cluster_id"]),
            cluster=told["cluster"],
            nodes=told["nodes"],
            timing=timing,
            fence=told.get("fence", Config.value_defaults["fence"]),
            election=told.get("election", Config.value_defaults["election"]),
            data_disks=len(told["disk"].get("data", ())),
        )
        return Settings(
            node=_node(environment),
            config=config,
            wwid=told["disk"].get("wwid", ""),
            data_wwids=tuple(told["disk"].get("data", ())),
            disk_path=told["disk"].get("path"),
            port_path=told.get("port", {}).get("path"),
            programs_path=told.get("programs", {}).get("path"),
            shared_path=told.get("shared", {}).get("path"),
            broadcast=told["interconnect"]["broadcast"],
            addresses=tuple(told["interconnect"].get("addresses", ())),
            port=told["interconnect"]["port"],
            stages=_stages(environment.get("HIL_STAGES", "")),
        )
    except KeyError as missing:
        raise BadSettings(f"{path}: the key {missing} is missing") from missing
    except (OSError, ValueError, TypeError, AttributeError) as why:
        raise BadSettings(f"{path}: {why}") from why


def waits(environment: Mapping[str, str]) -> bool:
    """Whether this machine is to wait for its beginning (`guestd.runtime.begin`). Raises BadSettings."""
    path = config_path(environment)
    try:
        with open(path, encoding="utf-8") as file:
            told = json.loads(file.read())
    except (OSError, ValueError) as why:
        raise BadSettings(f"{path}: {why}") from why
    return isinstance(told, dict) and told.get("wait") is True


def config_path(environment: Mapping[str, str]) -> str:
    """Where the configuration is."""
    return environment.get("HIL_CONFIG", CONFIG_PATH)


def kernel_node() -> int | None:
    """The node id on the kernel's command line; None on a machine that is no guest."""
    with open(CMDLINE_PATH, encoding="ascii", errors="replace") as file:
        for word in file.read().split():
            key, _, value = word.partition("=")
            if key == "hil.node" and value.isdigit():
                return int(value)
    return None


def is_guest() -> bool:
    """Whether this process may stop the machine's kernel: a guest's, started by its process 1."""
    return kernel_node() is not None and os.getppid() == 1


def _node(environment: Mapping[str, str]) -> int:
    told = environment.get("HIL_NODE")
    node = int(told) if told is not None else kernel_node()
    if node is None:
        raise BadSettings("there is no hil.node=<id> on the kernel's command line, and no HIL_NODE")
    return node


def _stages(text: str) -> dict[str, float]:
    """ "initramfs=1.70 modules=2.0" as a mapping; what cannot be read is left out."""
    stages = {}
    for word in text.split():
        name, _, value = word.partition("=")
        try:
            stages[name] = float(value)
        except ValueError:
            continue
    return stages
