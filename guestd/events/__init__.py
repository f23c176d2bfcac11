"""Level 40, the event manager. It only acknowledges, for now."""
