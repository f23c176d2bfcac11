"""The virtual disk manager's place in the transition framework (spec S7, S8).

It does no work in a transition yet: it is registered with `real=False` and acknowledges at once.
"""

from __future__ import annotations

from guestd.transition.subsystem import Subsystem


def subsystem() -> Subsystem:
    """The subsystem at level 20."""
    return Subsystem("VDM", order=20, real=False)
