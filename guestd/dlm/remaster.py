"""Trees that get a new master: built from what those who have locks in them bring (`Held`).

The order of the queues was their last master's and is lost with it: what waits is queued anew by the age of the
requests.

The value block is the newest that anybody knows. It is valid if its master said it when it left, or if somebody holds
the resource in PR, PW or EX: then nobody else can have written since. Else a dead node may have, and it is marked
invalid.
"""

from __future__ import annotations

from guestd.dlm.messages import NO_MODE, Cancel, Convert, Reason, Released, Request, Retry
from guestd.dlm.modes import PROTECTED, Mode
from guestd.dlm.newest import is_newer, newest
from guestd.dlm.resource import NO_VALUE, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guestd.dlm.mastery import Mastery
    from guestd.dlm.messages import Held, LastValue
    from guestd.dlm.names import Name
    from guestd.dlm.resource import Resource
    from guestd.dlm.site import Site


class Remaster:
    """One round of it."""

    __slots__ = ("_brought", "_last_values", "_mastery", "_site")

    def __init__(self, site: Site, mastery: Mastery, last_values: Mapping[Name, LastValue]) -> None:
        """last_values: of masters that have left, or leave."""
        self._site = site
        self._mastery = mastery
        self._last_values = last_values
        self._brought: dict[Name, list[tuple[int, Held]]] = {}

    def take(self, node: int, lock: Held) -> None:
        """A lock of that node on a resource that this node is to master."""
        self._brought.setdefault(lock.name, []).append((node, lock))

    def send_on(self, node: int, lock: Held) -> None:
        """The tree has a master already, which knows the lock, but perhaps not the operation under way."""
        if lock.wanted != NO_MODE or lock.releases:
            self._site.send(node, Retry(lock.lock, lock.operation))

    def settle(self) -> list[bytes]:
        """Make the resources; the operations under way are taken when the lock manager goes on. Returns the roots."""
        mastery = self._mastery
        roots: dict[bytes, bool] = {}
        waiting: list[tuple[int, Held]] = []
        for name in sorted(self._brought):
            roots[name[0]] = True
            mastery.begin(name[0])
            resource = mastery.resource(name)
            for node, lock in self._brought[name]:
                if lock.granted != NO_MODE:
                    entry = Entry(resource, node, lock.lock, lock.owner, recovery=lock.recovery)
                    entry.granted = Mode(lock.granted)
                    resource.granted.append(entry)
                    mastery.entries[node, lock.lock] = entry
            waiting += self._brought[name]
            self._value(resource, [lock for _, lock in self._brought[name]])
        for node, lock in sorted(waiting, key=_age):
            self._keep(node, lock)
        return list(roots)

    def _value(self, resource: Resource, locks: list[Held]) -> None:
        last_heard = newest(locks)
        resource.value, resource.sequence, resource.valid = last_heard.value, last_heard.sequence, False
        guards = [lock for lock in locks if lock.granted in [mode.value for mode in PROTECTED]]
        if guards:
            guard = newest(guards)
            resource.value, resource.sequence, resource.valid = guard.value, guard.sequence, guard.valid
        elif resource.name in self._last_values:
            last = self._last_values[resource.name]
            if is_newer(last_heard, last):  # by an operation that the master had not taken yet
                resource.valid = last_heard.valid
            else:
                resource.value, resource.sequence, resource.valid = last.value, last.sequence, last.valid
        elif all(lock.granted == NO_MODE for lock in locks):  # as good as new: nobody holds it, dead nodes apart
            resource.valid = not resource.withheld and last_heard.valid

    def _keep(self, node: int, lock: Held) -> None:
        """The operation under way, as its node would send it."""
        keep = self._mastery.keep
        number, operation = lock.lock, lock.operation
        if lock.releases:
            self._site.send(node, Released(number, operation))  # nothing is left but the answer that is awaited
            return
        if lock.wanted == NO_MODE:
            return
        mode = Mode(lock.wanted)
        if lock.granted == NO_MODE:
            keep(node, Request(number, operation, lock.owner, mode, lock.noqueue, lock.recovery, lock.name))
        else:
            keep(node, Convert(number, operation, mode, lock.noqueue, False, NO_VALUE))
        if lock.cancelled != NO_MODE:
            keep(node, Cancel(number, operation, Reason(lock.cancelled)))


def _age(brought: tuple[int, Held]) -> tuple[int, int]:
    node, lock = brought
    return lock.operation, node
