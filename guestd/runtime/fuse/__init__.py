"""libfuse's low-level interface, by ctypes. Imported when the file system is mounted, not before."""
