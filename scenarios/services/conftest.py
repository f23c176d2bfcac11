"""These are programs for the nodes, not scenarios: `hil run scenarios` is to leave them alone."""

collect_ignore_glob = ["*.py"]
