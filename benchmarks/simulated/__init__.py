"""What ``./run bench sim`` measures (:mod:`benchmarks.sim`)."""
