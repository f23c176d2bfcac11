"""The simulator: complete guestd stacks on a virtual clock, one queue of events, one seed (docs/simulator.md).

A run has two phases, as in TigerBeetle's VOPR: first faults, in which nothing wrong may happen (safety), then all is
healed, and the cluster must come together within a bound (liveness).
"""
