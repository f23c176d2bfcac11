"""The watchers that come with the system: each is a program of its own (spec S8.5; docs/event-manager.md)."""
