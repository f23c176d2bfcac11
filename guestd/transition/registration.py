"""The registration of a program with its node's membership manager, from its request to its end (spec S4.1, S8.6)."""

from __future__ import annotations

from guestd.core.enumeration import Enum
from guestd.core.machine import Table


class Registration(Enum):
    """How far one program is registered."""

    ASKING = "asking"  # waits for this node to be a member and for the master to agree to the level
    REGISTERED = "registered"  # is notified
    SILENT = "silent"  # died, and its node is to answer for that: it is notified and will never acknowledge
    ENDED = "ended"  # is notified no more


REGISTRATIONS = Table(
    "registration",
    Registration,
    {
        Registration.ASKING: {
            "agreed": Registration.REGISTERED,
            "refused": Registration.ENDED,
            "closed": Registration.ENDED,
            "died": Registration.ENDED,
        },
        Registration.REGISTERED: {
            "closed": Registration.ENDED,
            "gone": Registration.ENDED,  # died, and chose to count as gone
            "died": Registration.SILENT,
            "left": Registration.ENDED,  # has acknowledged its own node's leave
        },
        Registration.SILENT: {"replaced": Registration.ENDED},  # the same program has begun again and registers
        Registration.ENDED: {},
    },
)
