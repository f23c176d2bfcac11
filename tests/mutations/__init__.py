"""Faults put into guestd on purpose, each of which the simulator must find (docs/mutations.md).

``./run mutations`` looks for all of them.
"""
