"""The table of kinds, and how one of them is made from what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hil.errors import UsageError
from hil.faults.clock import ClockDrift, ClockStep
from hil.faults.disk import DISK_FAULTS
from hil.faults.fault import BACKENDS, Fault, backend_of
from hil.faults.freeze import FreezeProcess, FreezeVcpu
from hil.faults.guestd_kill import GuestdKill
from hil.faults.link import LinkLoss, LinkSilent, LinkSplit
from hil.faults.link_carrier import LinkCarrier
from hil.faults.link_delay import LinkDelay
from hil.faults.orders import Panic, Shutdown
from hil.faults.parameters import Optional, legal, resolve
from hil.faults.power import PowerCycle, PowerOff, Reset
from hil.faults.slow_cpu import SlowCpu
from hil.faults.subsystem_hang import SubsystemHang

if TYPE_CHECKING:
    from hil.client import Cluster, Node

_CLASSES: Final[Sequence[type[Fault]]] = (
    *(PowerOff, PowerCycle, Reset, Shutdown),
    *(LinkCarrier, LinkSilent, LinkSplit, LinkLoss, LinkDelay),
    *DISK_FAULTS,
    *(FreezeVcpu, FreezeProcess),
    *(Panic, SubsystemHang, GuestdKill, ClockStep, ClockDrift, SlowCpu),
)
KINDS: Final[Mapping[str, type[Fault]]] = {one.kind: one for one in _CLASSES}


def kind_of(name: str) -> type[Fault]:
    """The class of that kind. Raises :class:`UsageError` listing those that there are."""
    if name not in KINDS:
        raise UsageError(f"no fault {name!r}; there are: {', '.join(KINDS)}")
    return KINDS[name]


def check(name: str, parameters: Mapping[str, Any], backend: str | None = None) -> dict[str, Any]:
    """The parameters of that kind with those that were not given. Raises :class:`UsageError`.

    ``backend``: that is to carry it out; None: whichever.
    """
    found = kind_of(name)
    if backend is not None and backend in found.lacking:
        able = next(one for one in BACKENDS if one not in found.lacking)
        raise UsageError(f"fault {name}: {found.lacking[backend]}; `--backend {able}` can")
    return resolve(name, found.parameters, parameters)


def make(cluster: Cluster, name: str, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Fault:
    """Raises :class:`UsageError` for what that kind does not have, or this back end cannot."""
    return kind_of(name)(cluster, nodes, check(name, parameters, backend_of(cluster)))


def described() -> list[dict[str, Any]]:
    """Every kind as plain data (``hil fault list --json``)."""
    return [
        {
            "fault": kind.kind,
            "about": kind.about,
            "held": kind.held,
            "undone": kind.undone,
            "backends": [one for one in BACKENDS if one not in kind.lacking],
            "lacking": dict(kind.lacking),
            "parameters": {name: _parameter(about) for name, about in kind.parameters.items()},
        }
        for kind in KINDS.values()
    ]


def _parameter(about: Any) -> dict[str, Any]:
    of = about.of if isinstance(about, Optional) else about
    needed = of.default is None and not isinstance(about, Optional)
    return {"about": of.about, "legal": legal(of), "default": of.default, "needed": needed}
