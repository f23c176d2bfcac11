"""Hands jobs to the spooler, on any node. Usage: spool_job.py NAME PAGES...

A job is in the queue as a whole and for good when this returns: a page is a line of it.
"""

import os
import sys

from instance import sync_directory, write_whole
from spooler import QUEUE, SPOOL, prepare


def main():
    name, *pages = sys.argv[1:]
    prepare()
    write_whole(f"{SPOOL}/{name}", "".join(f"{page}\n" for page in pages).encode())
    os.rename(f"{SPOOL}/{name}", f"{QUEUE}/{name}")
    sync_directory(QUEUE)
    sync_directory(SPOOL)


if __name__ == "__main__":
    main()
