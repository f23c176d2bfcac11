"""The one error of this package: an image could not be built.

::

    BuildError      says what was being done, what failed (with the last lines of the command), and what to type
"""

from __future__ import annotations

import errno


class BuildError(Exception):
    """The guest image could not be built.

    ``stage`` is what was being done, ``detail`` what went wrong, ``remedy`` what a person can type against it.
    """

    def __init__(self, stage: str, detail: str, remedy: str) -> None:
        super().__init__(f"guest image, {stage}: {detail}\n  {remedy}")
        self.stage = stage
        self.detail = detail
        self.remedy = remedy


def from_os_error(stage: str, error: OSError) -> BuildError:
    """The ``BuildError`` that tells a person what an ``OSError`` of a build means for them."""
    detail = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free 500 MB there, or point XDG_CACHE_HOME at a roomier place; then `hil image build`"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "make that place writable for this user, or point XDG_CACHE_HOME elsewhere; then `hil image build`"
    else:
        remedy = "then `hil image build`"
    return BuildError(stage, detail, remedy)
