"""Sequences of disk commands and locks, written as generators."""
