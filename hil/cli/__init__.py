"""The command line of ``hil``: one file per group of verbs, all of them clients of the bench.

Every verb imports what it needs when it runs, so that ``hil list`` does not pay for libvirt, SSH or pytest.
"""
