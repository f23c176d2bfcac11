"""The locks of the programs of this node: from their lines to the lock manager, and back (docs/dlm.md).

A program names its locks by numbers of its own. Their resources are apart from those of guestd's own levels. When its
connection ends its locks are given up, those below before those above, whatever they wait for. The value block of one
that it held in PW or EX is not valid then.
"""

from __future__ import annotations

from guestd.core.effects import Answer
from guestd.dlm.client import LockError
from guestd.dlm.locks import LockState
from guestd.dlm.modes import Mode
from guestd.dlm.names import PROGRAM as ROOT
from guestd.dlm.notices import Blocks, Denied, Gone, Granted
from guestd.dlm.resource import NO_VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.context import Context
    from guestd.dlm.desk import LockDesk
    from guestd.dlm.level import LockLevel
    from guestd.dlm.names import Name
    from guestd.dlm.notices import Notice

VERBS = ("lock", "convert", "unlock", "cancel")
MODES = {mode.name: mode for mode in Mode}
LOCKS_MAX = 1024  # of one program
_OWNER = 1 << 32  # beyond the owners of guestd's own levels; the connection is added
_WAITING = (LockState.REQUESTING, LockState.CONVERTING)


class _Refused(ValueError):
    """What a program asks for cannot be done; says why, and what would be legal."""


class ProgramLocks:
    """Those of one node."""

    def __init__(self, context: Context, level: LockLevel) -> None:
        self._context = context
        self._level = level
        self._numbers: dict[int, dict[int, int]] = {}  # connection -> the program's number -> the lock manager's
        self._dead: set[int] = set()  # connections that have ended and have locks yet

    def said(self, connection: int, verb: str, asked: object) -> None:
        """One line of a program, with one of VERBS."""
        try:
            if not isinstance(asked, dict) or type(asked.get("id")) is not int:
                raise _Refused(f'{verb}: {asked!r} (legal: an object with an "id")')
            desk = self._level.desk
            if desk is None or self._level.left:
                raise _Refused("this node is not a member of the cluster")
            getattr(self, f"_{verb}")(desk, connection, asked)
        except (_Refused, LockError) as why:
            number = asked.get("id") if isinstance(asked, dict) else None
            self._answer(connection, "lock-error", {"id": number, "why": str(why)})

    def gone(self, connection: int) -> None:
        """The connection has ended."""
        if connection in self._numbers:
            self._dead.add(connection)
            self._give_up(connection)

    def left(self) -> None:
        """This node has left at the lock manager's level: no lock is held any more."""
        for connection, numbers in self._numbers.items():
            for number in numbers:
                self._answer(connection, "gone", {"id": number})
        self._numbers.clear()
        self._dead.clear()

    # -- the verbs

    def _lock(self, desk: LockDesk, connection: int, asked: dict[str, Any]) -> None:
        numbers = self._numbers.setdefault(connection, {})
        if asked["id"] in numbers:
            raise _Refused(f"lock {asked['id']} exists (legal: a number that no lock of this program has)")
        if len(numbers) >= LOCKS_MAX:
            raise _Refused(f"this program has {len(numbers)} locks (legal: at most {LOCKS_MAX})")
        parent = None if asked.get("parent") is None else self._number(connection, asked["parent"])
        try:
            numbers[asked["id"]] = desk.lock(
                lambda notice: self._tell(connection, asked["id"], notice),
                _OWNER + connection,
                _name(asked.get("name")),
                _mode(asked),
                parent=parent,
                noqueue=asked.get("noqueue") is True,
                recovery=asked.get("recovery") is True,
            )
        except LockError:
            raise
        except ValueError as why:  # a name that cannot be
            raise _Refused(str(why)) from why

    def _convert(self, desk: LockDesk, connection: int, asked: dict[str, Any]) -> None:
        lock = self._number(connection, asked["id"])
        desk.manager.convert(lock, _mode(asked), noqueue=asked.get("noqueue") is True, value=_value(asked))

    def _unlock(self, desk: LockDesk, connection: int, asked: dict[str, Any]) -> None:
        desk.manager.unlock(self._number(connection, asked["id"]), value=_value(asked))

    def _cancel(self, desk: LockDesk, connection: int, asked: dict[str, Any]) -> None:
        desk.manager.cancel(self._number(connection, asked["id"]))

    # -- inner workings

    def _number(self, connection: int, number: object) -> int:
        numbers = self._numbers.get(connection, {})
        if type(number) is not int or number not in numbers:
            raise _Refused(f"there is no lock {number!r} of this program")
        return numbers[number]

    def _tell(self, connection: int, number: int, notice: Notice) -> None:
        if isinstance(notice, Gone) or (isinstance(notice, Denied) and notice.mode is None):
            del self._numbers[connection][number]
        if connection in self._dead:
            self._give_up(connection)
        elif isinstance(notice, Granted):
            told = {"id": number, "mode": notice.mode.name, "valid": notice.valid, "value": notice.value.hex()}
            self._answer(connection, "granted", told)
        elif isinstance(notice, Denied):
            mode = None if notice.mode is None else notice.mode.name
            self._answer(connection, "denied", {"id": number, "reason": notice.reason.name.lower(), "mode": mode})
        elif isinstance(notice, Blocks):
            self._answer(connection, "blocks", {"id": number, "mode": notice.mode.name})
        else:
            self._answer(connection, "gone", {"id": number})

    def _give_up(self, connection: int) -> None:
        """The locks of a program that has ended, as far as that can be done now; the rest when there is an answer."""
        desk = self._level.desk
        assert desk is not None, "it has given out locks"
        numbers = self._numbers[connection]
        locks = desk.manager.client.locks
        parents = {lock.parent for lock in locks.values()}
        # One that is gone by now is told of in a moment.
        for lock in [locks[number] for number in numbers.values() if number in locks]:
            if lock.state in _WAITING and lock.cancelled is None:
                desk.manager.cancel(lock.number)
            elif lock.state is LockState.GRANTED and lock.number not in parents:
                desk.manager.unlock(lock.number, invalidate=True)  # whatever it was about to write
        if not numbers:
            del self._numbers[connection]
            self._dead.discard(connection)

    def _answer(self, connection: int, what: str, told: dict[str, Any]) -> None:
        self._context.effects.append(Answer(connection, {what: told}))


def _name(parts: object) -> Name:
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise _Refused(f"name = {parts!r} (legal: a list of texts, each part below the one before)")
    first, *below = (part.encode() for part in parts)
    return (ROOT + first, *below)


def _mode(asked: dict[str, Any]) -> Mode:
    name = asked.get("mode")
    mode = MODES.get(name) if isinstance(name, str) else None
    if mode is not None:
        return mode
    raise _Refused(f"mode = {asked.get('mode')!r} (legal: {', '.join(mode.name for mode in Mode)})")


def _value(asked: dict[str, Any]) -> bytes | None:
    value = asked.get("value")
    if value is None:
        return None
    try:
        data = bytes.fromhex(value)
    except (TypeError, ValueError):
        data = b""
    if len(data) != len(NO_VALUE):
        raise _Refused(f"value = {value!r} (legal: {len(NO_VALUE)} bytes as hexadecimal text)")
    return data
