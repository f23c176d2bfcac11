"""The daemon of one cluster node: membership, transitions and the subsystems above them.

Everything but `guestd.runtime` is pure: inputs and the time go in, effects come out.
"""

__version__ = "0.1.0"
