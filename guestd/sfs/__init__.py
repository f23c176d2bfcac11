"""Level 30, the shared file system (docs/sfs.md)."""
