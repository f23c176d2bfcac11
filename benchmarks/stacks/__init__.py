"""The parts of ``./run bench stack``."""
