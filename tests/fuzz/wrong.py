"""What a fuzz case found."""

from __future__ import annotations


class Wrong(AssertionError):
    """The target did what it must not do; says what."""


class Hang(Wrong):
    """One step took more processor time than any step may take."""
