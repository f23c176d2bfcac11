"""What a run leaves behind, and what is made of it later (docs/evidence.md).

:mod:`hil.evidence.layout` names every file; :mod:`hil.evidence.manifest` says what ran; :mod:`hil.evidence.runs` finds
runs, :mod:`hil.evidence.retention` prunes them, :mod:`hil.evidence.bundle` makes one file of one.
:mod:`hil.evidence.derive` reads faults out of recorded events, :mod:`hil.evidence.replay` has them happen again.
"""
