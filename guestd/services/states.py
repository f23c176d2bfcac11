"""The table of spec S9.7: one instance of a client service on one node.

A state without its command is skipped, so there are two triggers into it: with the command and without. What the
document leaves open is decided here: a start that has failed is followed by the stop command, if there is one, because
half of it may run; a recovery that has failed is tried on the next node.
"""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class InstanceState(Enum):
    """How far one registration is."""

    DEREGISTERED = "de-registered"  # not registered anywhere; no command of it runs
    STARTING = "starting"  # the start command runs on its node
    REGISTERED = "registered"  # its node claims to fulfil it
    STOPPING = "stopping"  # the stop command runs on its node
    RECOVERING = "recovering"  # its node was lost; the recovery command runs, or is to run, on another one


INSTANCE_STATES = Table(
    "instance of a service",
    InstanceState,
    {
        InstanceState.DEREGISTERED: {
            "register": InstanceState.STARTING,
            "register-without-start": InstanceState.REGISTERED,
        },
        InstanceState.STARTING: {
            "started": InstanceState.REGISTERED,
            "start-failed": InstanceState.STOPPING,
            "start-failed-without-stop": InstanceState.DEREGISTERED,
            "lost": InstanceState.DEREGISTERED,  # it was never registered (spec S9.7)
        },
        InstanceState.REGISTERED: {
            "stop": InstanceState.STOPPING,
            "stop-without-stop": InstanceState.DEREGISTERED,
            "lost": InstanceState.RECOVERING,
            "lost-without-recovery": InstanceState.DEREGISTERED,
        },
        InstanceState.STOPPING: {
            "stopped": InstanceState.DEREGISTERED,  # a stop that fails ends its node instead, which then is lost
            "lost": InstanceState.RECOVERING,
            "lost-without-recovery": InstanceState.DEREGISTERED,
        },
        InstanceState.RECOVERING: {
            "recovered": InstanceState.DEREGISTERED,
            "recovery-failed": InstanceState.RECOVERING,  # on the next node
            "lost": InstanceState.RECOVERING,  # the node that ran the command: on another one
        },
    },
)
