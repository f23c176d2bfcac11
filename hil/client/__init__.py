"""The Python interface to a running cluster: :class:`Cluster` and :class:`Node`.

The command line, the pytest plugin and the scenarios use this and nothing else.
"""

from hil.client.cluster import Cluster, list_clusters
from hil.client.node import Node

__all__ = ["Cluster", "Node", "list_clusters"]
