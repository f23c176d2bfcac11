"""Registration and launch of client services (spec S9; docs/services.md)."""
