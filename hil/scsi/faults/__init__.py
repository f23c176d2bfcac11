"""Faults of the disk, injected at the target: ``table`` holds those in force, ``kinds`` has a row for each kind.

A fault strikes the commands that its ``Selection`` names, as they come, after the reservations were asked and before
the medium is touched. Several may strike one command: each gets a function that goes on, to the next fault and in the
end to the operation, and may call it, or not, or later. A fault about data does nothing at that point, but changes
what the operation reads or places on the medium (``place``, ``read``).
"""
