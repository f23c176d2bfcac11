"""The bench: one process per cluster, in namespaces of its own (design 2.1)."""
