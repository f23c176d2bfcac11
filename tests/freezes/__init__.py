"""Nodes that are frozen while they write at full speed, and what the disk lets through afterwards."""
