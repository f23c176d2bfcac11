"""Runs the event manager on a node: sockets, child processes, the database's file, timers."""
