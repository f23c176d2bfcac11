"""The database of the services (spec S9.1): one file of transactions, of which each node keeps what they add up to.

    line        = CRC-32 of the text, 8 hexadecimal digits, a blank, the text, a newline
    text        = JSON: {"n": 17, "by": [node, incarnation], "set": {KEY: value, KEY: null, ...}}
    KEY         = service/NAME, node/NUMBER, group/NAME, life

Numbers ascend by one. A line that is torn, wrong or out of order ends what counts: whoever writes next, under the file
lock, cuts it off. So a change of any number of records is there as a whole, or not at all, whenever its writer dies. A
file that has grown is replaced by one whose first line has `"all": true` and everything in it.
"""

from __future__ import annotations

import zlib

from guestd.core import json
from guestd.services.service import Member, Service, member_json, member_of, service_json, service_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

GROWN_SIZE = 256 << 10  # bytes: smaller files are not worth to be replaced
GROWN_TIMES = 4  # as much as everything in it takes


class Database:
    """What the transactions add up to, as far as they were read."""

    def __init__(self) -> None:
        self.number = 0  # of the last transaction
        self.life = 0  # of the cluster, counted up each time that it comes up
        self.members: dict[int, Member] = {}
        self.services: dict[str, Service] = {}
        self.groups: dict[str, dict[str, Any]] = {}  # of events that belong to no service, as they were given
        self.identity = 0  # of the file
        self.size = 0  # of what counts in it, bytes
        self.read = 0  # transactions
        self.grown_size = GROWN_SIZE
        """A file that is larger is to be replaced."""

    def take(self, identity: int, data: bytes) -> int:
        """What was read of that file from `size` on, or from its beginning if it is another one; how much was new."""
        if identity != self.identity:
            self.identity, self.size = identity, 0
        before, at = self.number, 0
        while (end := data.find(b"\n", at)) >= 0:
            found = _parsed(data[at:end])
            if found is None or not self._follows(found):
                break
            if "all" in found:
                self.grown_size = max(GROWN_SIZE, GROWN_TIMES * (end - at))
            if found["n"] > self.number:
                self._apply(found)
            at = end + 1
        self.size += at
        return self.number - before

    def _follows(self, found: Mapping[str, Any]) -> bool:
        return found["n"] == self.number + 1 or ("all" in found and found["n"] >= self.number)

    def line(self, by: tuple[int, int], changed: Mapping[str, Any]) -> bytes:
        """The next transaction. by: node and incarnation."""
        return _line({"n": self.number + 1, "by": list(by), "set": changed})

    def whole(self, by: tuple[int, int]) -> bytes:
        """Everything, as the first line of a new file; it is the last transaction once more."""
        return _line({"n": self.number, "by": list(by), "all": True, "set": self.everything()})

    def everything(self) -> dict[str, Any]:
        """All records."""
        return {
            "life": self.life,
            **{f"node/{node}": member_json(one) for node, one in sorted(self.members.items())},
            **{f"service/{name}": service_json(one) for name, one in sorted(self.services.items())},
            **{f"group/{name}": one for name, one in sorted(self.groups.items())},
        }

    def _apply(self, found: Mapping[str, Any]) -> None:
        if "all" in found:
            self.members, self.groups = {}, {}
            self.services = {name: one for name, one in self.services.items() if f"service/{name}" in found["set"]}
        for key, value in found["set"].items():
            kind, _, name = key.partition("/")
            if kind == "life":
                self.life = value
            elif kind == "node":
                _set(self.members, int(name), None if value is None else member_of(value))
            elif kind == "service":
                before = self.services.get(name)
                _set(self.services, name, None if value is None else service_of(value, before))
            elif kind == "group":
                _set(self.groups, name, value)
        self.number = found["n"]
        self.read += 1


def _set(records: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        records.pop(key, None)
    else:
        records[key] = value


def _line(found: Mapping[str, Any]) -> bytes:
    text = json.dumps(found).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """None: it does not count."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found
