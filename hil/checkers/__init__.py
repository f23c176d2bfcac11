"""Claims about the event stream of a run, one per file, each a pure function that names what does not hold."""
