"""The fault library: every kind of fault of spec S10.2 to S10.6, each with its heal and each verified (S10.7).

``cluster.inject(kind, whom, ...)`` is the way in (:mod:`hil.faults.injection`), :data:`hil.faults.library.KINDS` the
table of kinds. What injects is the bench, its target, or a shell on the guest; the library asks them, and then looks
whether it is so.
"""
