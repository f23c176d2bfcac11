"""The mount of each node: requests of its programs to the shared file system, numbered as the kernel does it, and whose
answer is whose (docs/mount.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from guestd.sfs.requests import NO_ANSWER, FileRequest, Forget, Interrupt

if TYPE_CHECKING:
    from guestd.sfs import answers as say
    from guestd.sfs.requests import Request
    from hil.sim.nodes import Node
    from hil.sim.queue import Queue

ANSWER_US: Final = 100
"""Until a program hears an answer, and until guestd hears of a request."""

Hear = Callable[["say.Reply"], None]


class Mounts:
    """Those of all nodes."""

    def __init__(self, queue: Queue, nodes: int) -> None:
        self._queue = queue
        self._numbers = [0] * nodes  # of the last request
        self._hears: list[dict[int, Hear]] = [{} for _ in range(nodes)]  # of the requests without an answer
        self._offered = [0] * nodes  # the life in which it may be used

    def offered(self, node: Node) -> None:
        """The file system of that node may be used."""
        self._offered[node.number] = node.life

    def usable(self, node: Node) -> bool:
        """Whether it may."""
        return self._offered[node.number] == node.life

    def booted(self, node: Node) -> None:
        """Nobody waits for what the life before was asked."""
        self._hears[node.number].clear()

    def ask(self, node: Node, life: int, request: Request, hear: Hear) -> int:
        """``hear`` is told the answer, if that life of the node lives to give it. Returns the request's number."""
        self._numbers[node.number] += 1
        number = self._numbers[node.number]
        self._hears[node.number][number] = hear
        self._give(node, life, number, request)
        return number

    def forget(self, node: Node, life: int, inode: int, count: int) -> None:
        """The kernel drops that many references to an inode."""
        self._give(node, life, NO_ANSWER, Forget(inode, count))

    def interrupt(self, node: Node, life: int, number: int) -> None:
        """Whoever waits for that answer is killed."""
        self._give(node, life, NO_ANSWER, Interrupt(number))

    def answered(self, node: Node, answer: say.FileAnswer) -> None:
        """A node answers a request."""
        self._queue.after(ANSWER_US, self._hear, node, node.life, answer.number, answer.reply)

    def _give(self, node: Node, life: int, number: int, request: Request) -> None:
        self._queue.after(ANSWER_US, node.give, life, FileRequest(number, self._queue.now_us * 1000, request))

    def _hear(self, node: Node, life: int, number: int, reply: say.Reply) -> None:
        if node.stack is None or node.life != life:
            return
        if node.frozen is not None:
            node.keep(self._hear, node, life, number, reply)
            return
        hear = self._hears[node.number].pop(number, None)
        if hear is not None:
            hear(reply)
