"""The watchers that come with the system, and their parameters (spec S8.5): programs under guestd/watchers/."""

from __future__ import annotations

from guestd.events.declaration import Declaration, Parameter


def _every(seconds: float) -> Parameter:
    return Parameter("every_s", "number", "seconds between two looks", False, seconds, least=0.1)


_CHANGE = "which change counts"

_ALL = (
    Declaration(
        "membership",
        (
            Parameter("node", "integer", "this node only", required=False, least=0),
            Parameter("transition", "string", "this transition only", False, choices=("join", "leave", "forced-leave")),
        ),
        (
            Parameter("node", "integer", "whose transition it is"),
            Parameter("incarnation", "integer", "of that node"),
            Parameter("transition", "string", "join, leave or forced-leave"),
            Parameter("members", "integer", "how many nodes are members then"),
        ),
        about="a node joins, leaves, or is forced out",
        follows=True,
    ),
    Declaration(
        "process",
        (
            Parameter("pid_file", "string", "a file that begins with the number of the process", required=False),
            Parameter("name", "string", "the name of its program's file, without directories", required=False),
            Parameter("change", "string", _CHANGE, False, "ended", ("ended", "appeared")),
            Parameter("grace_s", "number", "so long it may be lacking in the beginning", False, 5, least=0),
            _every(1),
        ),
        (
            Parameter("pid", "integer", "its number; 0: it was never seen"),
            Parameter("change", "string", "ended or appeared"),
            Parameter("process", "string", "what was given as pid_file or name"),
        ),
        one_of=("pid_file", "name"),
        about="a process has ended, or has appeared",
    ),
    Declaration(
        "file_system_space",
        (
            Parameter("path", "string", "any file or directory in the file system"),
            Parameter("below_bytes", "integer", "less is too little", required=False, least=1),
            Parameter("below_percent", "number", "less of the whole is too little", required=False, least=0),
            _every(10),
        ),
        (
            Parameter("path", "string", "as given"),
            Parameter("bytes_free", "integer", "for programs that are not root's"),
            Parameter("bytes_total", "integer", "size of the file system"),
            Parameter("percent_free", "number", "of the whole"),
        ),
        one_of=("below_bytes", "below_percent"),
        about="a file system has too little room",
    ),
    Declaration(
        "link",
        (
            Parameter("interface", "string", "such as eth0"),
            Parameter("change", "string", _CHANGE, False, "down", ("down", "up", "any")),
            _every(2),
        ),
        (
            Parameter("interface", "string", "as given"),
            Parameter("state", "string", "up; no-carrier; down, by an administrator; absent"),
            Parameter("before", "string", "the state before; empty in the beginning"),
        ),
        about="a network interface has got, or lost, its link",
    ),
    Declaration(
        "disk_path",
        (
            Parameter("path", "string", "a disk or a file; the shared disk if it is not given", required=False),
            Parameter("change", "string", _CHANGE, False, "lost", ("lost", "back")),
            Parameter("within_s", "number", "a read that takes longer has failed", False, 5, least=0.1),
            _every(1),
        ),
        (
            Parameter("path", "string", "what was read"),
            Parameter("change", "string", "lost or back"),
            Parameter("reason", "string", "the error of the read, or how long it took"),
        ),
        about="the disk cannot be read in time, or can be read again",
    ),
    Declaration(
        "timer",
        (Parameter("every_s", "number", "seconds from one occurrence to the next", least=0.1),),
        (Parameter("count", "integer", "of the occurrences since the watch began, from 1"),),
        about="so much time has passed",
    ),
)

WATCHERS = {declaration.name: declaration for declaration in _ALL}
"""Those that come with the system, by name."""
