"""The steps of each transition: (level, barrier). The lock manager asks for two barriers, the file system in a join."""

from __future__ import annotations

JOIN = [(0, 0), (10, 0), (10, 1), (20, 0), (30, 0), (30, 1), (40, 0)]
LEAVE = [(40, 0), (30, 0), (20, 0), (10, 0), (10, 1), (0, 0)]
FORCED_LEAVE = [(0, 0), (10, 0), (10, 1), (20, 0), (30, 0), (40, 0)]
