"""Node arguments of the command line: the one place where they are checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hil.errors import UnknownNode, UsageError

if TYPE_CHECKING:
    from hil.client import Cluster, Node

ALL = "all"


def parse_nodes(texts: list[str], count: int) -> list[int]:
    """The node ids that ``texts`` name in a cluster of ``count`` nodes: numbers, ``n<number>``, or ``all`` alone.

    Ascending, each once. Raises :class:`UnknownNode` listing the nodes that exist.
    """
    if ALL in texts:
        if len(texts) > 1:
            raise UsageError(f"{' '.join(texts)}: `all` stands alone")
        return list(range(count))
    return sorted({parse_node(text, count) for text in texts})


def parse_node(text: str, count: int) -> int:
    """The id of the one node that ``text`` names; raises :class:`UnknownNode` listing the nodes that exist."""
    match = re.fullmatch(r"n?([0-9]{1,4})", text, re.ASCII)
    if match is None or int(match[1]) >= count:
        raise UnknownNode(f"no node {text!r} in this cluster; there are: {', '.join(str(i) for i in range(count))}")
    return int(match[1])


@contextmanager
def connected(cluster_name: str | None) -> Iterator[Cluster]:
    """The cluster of that name (None: the only one); its view knows all that has happened so far."""
    from hil.client import Cluster

    with Cluster.connect(cluster_name) as cluster:
        cluster.catch_up()
        yield cluster


@contextmanager
def connected_node(cluster_name: str | None, text: str) -> Iterator[Node]:
    """The node that ``text`` names of the cluster of that name (None: the only one)."""
    with connected(cluster_name) as cluster:
        yield cluster.nodes[parse_node(text, len(cluster.nodes))]
