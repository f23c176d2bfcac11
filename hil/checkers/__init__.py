"""Claims about a run, one per file, the same for simulated and real clusters (docs/checkers.md).

:mod:`hil.checkers.checker` is what a claim is, :mod:`hil.checkers.observation` what it may know;
:mod:`hil.checkers.claims` lists them all. The simulator tells them of everything as it happens;
:mod:`hil.checkers.recorded` tells them of a recorded run. :mod:`hil.checkers.disk_commands` and the functions
``check`` are for scenarios that ask themselves.
"""
