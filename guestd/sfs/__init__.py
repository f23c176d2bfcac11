"""Level 30, the shared file system. It only acknowledges, for now."""
