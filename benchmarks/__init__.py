"""Measurements: ``./run bench NAME``. They print figures and judge nothing; the tests do not depend on speed."""
