"""Measurements: ``./run bench NAME``. They print figures, and where bounds are demanded whether those are met.

The tests do not depend on speed.
"""
