"""How long a test may take before it counts as hung; a test that waits has a shorter limit and a reason of its own."""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that others use; all else stays as it is, in CI and outside.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PURE_LIMIT_S = 120
"""Tests that boot nothing take seconds even on a loaded machine; the limit for the others is in pyproject.toml."""

BOOTING = ("lab",)

SEED_BASE = "HIL_SIM_SEED_BASE"
"""The first of the random seeds of tests/unit/test_sim_seeds.py; set it to repeat a run."""


def pytest_configure() -> None:
    # Here, so that the processes of pytest-xdist, which inherit it, have the same one.
    os.environ.setdefault(SEED_BASE, str(1_000_000 + secrets.randbelow(1_000_000_000)))


def pytest_report_header() -> str:
    return f"random seeds of the simulator: from {SEED_BASE}={os.environ[SEED_BASE]} on"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        pure = "tests" in item.path.parts and item.path.parent.name not in BOOTING
        if pure and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PURE_LIMIT_S))
