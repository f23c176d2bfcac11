"""``hil demo``: stories for an audience, each told as it happens and summed up at its end; on guests or simulated.

While programs write to the shared file system and services run, something is done to the cluster:
:mod:`hil.demos.power_failure` pulls the plug of all of it, :mod:`hil.demos.cut_off` cuts nodes off or has one stand
still. What the programs were told is held against what is there afterwards, as in a scenario: a demo can fail.
"""
