"""How long a test may take before it counts as hung; a test that waits has a shorter limit and a reason of its own."""

from __future__ import annotations

import pytest

PURE_LIMIT_S = 120
"""Tests that boot nothing take seconds even on a loaded machine; the limit for the others is in pyproject.toml."""

BOOTING = ("lab",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        pure = "tests" in item.path.parts and item.path.parent.name not in BOOTING
        if pure and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PURE_LIMIT_S))
