"""The interactive shell: a Python prompt on a cluster, ``hil shell`` and ``hil run --pause-on-failure``."""
