"""Level 10, the distributed lock manager. It only acknowledges, for now."""
