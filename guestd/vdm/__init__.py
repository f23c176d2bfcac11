"""Level 20, the virtual disk manager. It only acknowledges, for now."""
