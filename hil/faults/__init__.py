"""Faults, one kind per file, each with its heal and each verified (spec S10.7)."""
