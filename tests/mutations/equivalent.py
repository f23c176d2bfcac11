"""Faults that were tried and are none: what they change does no harm, and why."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[tuple[tuple[str, str], ...]] = ()
