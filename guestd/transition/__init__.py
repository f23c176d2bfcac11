"""The transition notification framework: levels, barriers, acknowledgements (spec S4)."""
