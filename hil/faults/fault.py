"""What a kind of fault is: six steps, of which two look whether it is so (spec S10.7).

::

    set_up          refuses what cannot be struck, notes what was; changes nothing
    inject
    why_not_held    None when it took hold, else why not yet: what is seen, not what was asked for
    recover
    why_not_undone  None when all is as before, else why not yet
    clean_up        what the fault needed goes

:mod:`hil.faults.injection` goes through them. A fault is made anew from the bench's book when another process heals it:
what ``recover`` and later steps need is in ``state``, which is plain data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hil.errors import InvalidRun, LaboratoryError, NothingToStrike, UsageError
from hil.faults.parameters import Parameters

if TYPE_CHECKING:
    from hil.client import Cluster, Node

QEMU: Final = "qemu"
SIM: Final = "sim"
BACKENDS: Final = (QEMU, SIM)

SHELL_S: Final = 120.0
"""For a command on a guest; on a host that has other work an emulated login alone may take half a minute."""


class Fault(ABC):
    """One kind; an object is one injection of it, on ``nodes``, with every parameter in ``values``."""

    kind: ClassVar[str]
    about: ClassVar[str]
    """What it does."""
    held: ClassVar[str]
    """How it is seen that it took hold."""
    undone: ClassVar[str]
    """How it is seen that it is over."""
    parameters: ClassVar[Parameters] = {}
    lacking: ClassVar[Mapping[str, str]] = {}
    """Back ends that cannot do it, and why."""
    shown: ClassVar[bool] = False
    """No verb of the bench tells of it: the book of injections emits ``fault-injected`` and ``fault-healed``."""
    boots: ClassVar[bool] = False
    """Undone only when a machine has booted."""

    def __init__(self, cluster: Cluster, nodes: Sequence[Node], values: Mapping[str, Any]) -> None:
        self.cluster = cluster
        self.nodes = list(nodes)
        self.values = dict(values)
        self.number = 0
        """Of the injection."""
        self.state: dict[str, Any] = {}

    @abstractmethod
    def set_up(self) -> None:
        """Raises :class:`NothingToStrike`."""

    @abstractmethod
    def inject(self) -> None:
        """Has it happen. Raises :class:`InvalidRun`, :class:`NothingToStrike`."""

    @abstractmethod
    def why_not_held(self) -> str | None:
        """None when it took hold. Raises :class:`InvalidRun` when it cannot any more."""

    @abstractmethod
    def recover(self) -> None:
        """Begins to undo it; fine if it has ended by itself, or was never injected."""

    @abstractmethod
    def why_not_undone(self) -> str | None:
        """None when it is over. Raises :class:`InvalidRun` when that cannot come."""

    def clean_up(self) -> None:  # noqa: B027 - most need nothing
        """Removes what the fault needed."""

    # -- for the kinds

    def switch(self, action: str, nodes: Sequence[Node]) -> None:
        """Power of those nodes "off" or "on", if there are any."""
        if nodes:
            {"off": self.cluster.power_off, "on": self.cluster.power_on}[action](nodes)

    @property
    def simulated(self) -> bool:
        """Which back end it is."""
        return self.cluster.backend.simulated

    @property
    def ids(self) -> list[int]:
        """The numbers of the nodes."""
        return [node.id for node in self.nodes]

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """A verb of the bench; what it told has been read."""
        result = self.cluster.caller.call(verb, **arguments)
        self.cluster.catch_up_to_answer()
        return result

    def need_on(self, *, unfrozen: bool = False) -> None:
        """All of the nodes run. ``unfrozen``: and none stands still."""
        self.cluster.poll()
        for node in self.nodes:
            power = node.view.power
            if power not in ("running", "paused"):
                raise NothingToStrike(f"{self.kind} of node {node.id}: its machine is {power}")
            frozen = [name for name in self.cluster.view.faults.get(node.id, []) if name.startswith("freeze-")]
            if unfrozen and (frozen or power == "paused"):
                raise NothingToStrike(f"{self.kind} of node {node.id}: it is frozen ({', '.join(frozen)})")

    def note_lives(self) -> None:
        """Remembers which lives of the machines are struck."""
        self.state["ends"] = {str(node.id): node.view.ends for node in self.nodes}

    def lives(self, node: Node) -> bool:
        """Whether the machine is still in the life in which it was struck: with it goes all that was in its memory."""
        noted = self.state.get("ends", {}).get(str(node.id))
        return bool(node.view.ends == noted and node.view.power in ("running", "paused"))

    def shell(self, node: Node, command: str) -> str:
        """What a shell command on the node says. Raises :class:`InvalidRun` if it fails, or nobody answers;
        :class:`NothingToStrike` if that is no wonder, since the node is no member.
        """
        try:
            done = node.ssh(command, timeout=SHELL_S)
        except (LaboratoryError, UsageError) as error:
            kind = InvalidRun if node.view.state == "joined" else NothingToStrike
            raise kind(f"{self.kind}: {error}") from None
        if done.exited != 0:
            raise InvalidRun(f"{self.kind} of node {node.id}: {command!r}: {(done.stderr or done.stdout).strip()}")
        return str(done.stdout)


def backend_of(cluster: Cluster) -> str:
    """Of :data:`BACKENDS`."""
    return SIM if cluster.backend.simulated else QEMU


def why_not_up(nodes: Sequence[Node]) -> str | None:
    """None when the machines run and their guestds have said so."""
    for node in nodes:
        if node.view.power != "running":
            return f"node {node.id}'s machine is {node.view.power}"
        if node.view.guestd != "running":
            return f"node {node.id}: guestd is {node.view.guestd}"
    return None
