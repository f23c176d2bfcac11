"""Hardware-in-the-loop emulator for shared-disk clusters: the host's side.

`from hil import Cluster` is the way in for scripts and scenarios.  The name is looked up when it is first asked for:
`python -m hil.scsi` and other small processes import this package too, and must not pay for the client's libraries.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil.client import Cluster

__all__ = ["Cluster", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Cluster":
        from hil.client import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
