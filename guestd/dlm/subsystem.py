"""The distributed lock manager's place in the transition framework (spec S7, S8).

It does no work in a transition yet: it is registered with `real=False` and acknowledges at once.
"""

from __future__ import annotations

from guestd.transition.subsystem import Subsystem

# A join takes the lock manager two barriers: all stop granting, then the directory is spread anew.
BARRIERS = {"join": 2}


def subsystem() -> Subsystem:
    """The subsystem at level 10."""
    return Subsystem("DLM", order=10, barriers=BARRIERS, real=False)
