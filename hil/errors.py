"""Every error that ``hil`` raises on purpose, and the exit status each of them means.

::

    HilError
    |-- ClaimFailed          1   what the scenario claims is not so          (also an AssertionError)
    |-- UsageError           2   the request cannot be carried out as typed
    |   |-- UnknownNode          lists the nodes that exist
    |   |-- UnknownCluster       lists the clusters that run
    |   |-- UnknownScenario      lists the scenarios that exist
    |   |-- UnknownCheckpoint    lists the checkpoints that exist
    |   |-- AlreadyUp            a cluster of that name runs
    |   |-- BadConfig            cluster file: which key, what is wrong, what is legal
    |   |-- BadPlan              plan of faults: each problem with its file and line
    |   |-- BadServiceFile       service files: each problem with its file, line and field
    |   |-- ServiceRefused       what a node's event manager says to a request that is not legal
    |   `-- PreflightFailed      the host lacks something; says what to type
    |-- LaboratoryError      3   the bench broke: says nothing about the claim
    |   |-- BenchDied            the bench process is gone
    |   |-- MachineLost          a machine that was waited for is off, crashed or panicked
    |   |-- GuestdExited         guestd ended on a node that was waited for
    |   `-- EventManagerAway     no event manager took the request: it was not carried out
    `-- InvalidRun           4   a fault did not take hold: neither passed nor failed
        `-- NothingToStrike        there was nobody whom it could have struck

A scenario tells a failed claim from a broken laboratory by type, a script by exit status (design, "Commands").
"""

from __future__ import annotations


class HilError(Exception):
    """Base of all; ``exit_status`` is what ``hil`` ends with."""

    exit_status = 3


class ClaimFailed(HilError, AssertionError):
    """A condition that was waited for or asserted does not hold."""

    exit_status = 1


class UsageError(HilError):
    """The request names something that does not exist or is not legal."""

    exit_status = 2


class UnknownNode(UsageError):
    """No such node in this cluster."""


class UnknownCluster(UsageError):
    """No cluster of that name runs, or there are several and none was named."""


class UnknownScenario(UsageError):
    """No such scenario file."""


class UnknownCheckpoint(UsageError):
    """No such checkpoint."""


class AlreadyUp(UsageError):
    """A cluster of that name already runs."""


class BadConfig(UsageError):
    """The cluster file is wrong."""


class BadPlan(UsageError):
    """A plan of faults is wrong; nothing was injected."""


class BadServiceFile(UsageError):
    """Service files are wrong; nothing was sent."""


class ServiceRefused(UsageError):
    """The event manager has refused what was asked of it, and nothing has happened."""


class PreflightFailed(UsageError):
    """The host lacks something that the request needs."""


class LaboratoryError(HilError):
    """The laboratory broke; the claim was not tested."""

    exit_status = 3


class BenchDied(LaboratoryError):
    """The bench process of this cluster is gone."""


class MachineLost(LaboratoryError):
    """A machine that was waited for is off, has crashed or panicked."""


class GuestdExited(LaboratoryError):
    """guestd ended on a node that was waited for."""


class EventManagerAway(LaboratoryError):
    """No event manager has taken the request; nothing has happened."""


class InvalidRun(HilError):
    """A fault did not take hold or was not undone: the run says nothing."""

    exit_status = 4


class NothingToStrike(InvalidRun):
    """A fault found nobody in the role that it is for, or a machine that is off, frozen or struck already."""


def by_name(name: str) -> type[HilError]:
    """The error class called ``name`` (as sent by the bench over its socket); ``LaboratoryError`` if unknown."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, HilError) else LaboratoryError
