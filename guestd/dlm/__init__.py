"""Level 10, the distributed lock manager (docs/dlm.md). In the stack it only acknowledges, for now: `subsystem.py`."""
