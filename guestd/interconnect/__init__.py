"""Messages between the subsystems of the nodes: every one arrives once and in order, or its receiver is no member."""
