"""What administrators ask of one event manager: services and event groups are changed, or shown (spec S8.5, S9)."""

from __future__ import annotations

import errno as _errno

from guestd.core.effects import Answer
from guestd.events import groups
from guestd.services import requests, shown
from guestd.services.definition import DefinitionErrors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guestd.core.value import Value
    from guestd.services.database import Database
    from guestd.services.decide import Decision
    from guestd.services.launch import Launch
    from guestd.services.view import View

    Request = tuple[int, str, dict[str, Any]]  # connection, verb, message

EARLY_MS = 10_000  # so long does a request wait for this event manager to take part
VERBS = {"service": (requests.CHANGING, requests.LOOKING), "event": (groups.CHANGING, ())}


class Administrators:
    """Their requests. Answers go into the list of effects that is handed in."""

    def __init__(self, node: int, view: View, database: Database, launch: Launch, effects: list[Value]) -> None:
        self._node = node
        self._view = view
        self._database = database
        self._launch = launch
        self._effects = effects
        self._early: list[tuple[int, Request]] = []  # until when it waits
        self._changing: list[Request] = []  # for the next transaction
        self._answers: list[Request] = []  # of the transaction that is under way

    @property
    def waiting(self) -> bool:
        """Whether a transaction is to be made for one."""
        return bool(self._changing)

    def asked(self, connection: int, verb: str, message: object, now_ms: int, *, signed: bool, leaving: bool) -> None:
        """One of them wants something. signed: this event manager takes part. leaving: its node leaves."""
        do = message.get("do") if isinstance(message, dict) else None
        changing, looking = VERBS[verb]
        known = changing + looking
        if not isinstance(message, dict) or do not in known:
            legal = ", ".join(known)
            self._answer(connection, verb, {"error": f"{do!r} is nothing that can be done (legal: {legal})"})
        elif not signed:
            self._early.append((now_ms + EARLY_MS, (connection, verb, message)))
        elif do in looking:
            self._answer(connection, verb, self._look(message))
        elif leaving:
            self._answer(connection, verb, {"error": f"node {self._node} leaves the cluster (ask another node)"})
        else:
            self._changing.append((connection, verb, message))

    def take_early(self) -> list[Request]:
        """Those that have waited for this event manager to take part."""
        early, self._early = self._early, []
        return [request for _, request in early]

    def refuse_early(self, now_ms: int, why: str) -> None:
        """Those that have waited for long."""
        for limit_ms, (connection, verb, _) in self._early:
            if now_ms >= limit_ms:
                self._answer(connection, verb, {"error": f"this event manager does not take part yet: {why}"})
        self._early = [one for one in self._early if now_ms < one[0]]

    def carry_out(self, decision: Decision) -> None:
        """All that wait, in this transaction."""
        asked, self._changing = self._changing, []
        self._answers = [
            (connection, verb, self._carried_out(verb, message, decision)) for connection, verb, message in asked
        ]

    def written(self) -> None:
        """The transaction is on the medium."""
        answers, self._answers = self._answers, []
        for connection, verb, answer in answers:
            self._answer(connection, verb, answer if "error" in answer else {"number": self._database.number})

    def refuse(self, what: str, errno: int) -> None:
        """The database cannot be locked, read, written: nobody is to wait until it is there again."""
        asked, self._changing, self._answers = self._answers + self._changing, [], []
        name = _errno.errorcode.get(errno, errno)
        for connection, verb, _ in asked:
            self._answer(connection, verb, {"error": f"the database cannot be {what}: {name}"})

    def _carried_out(self, verb: str, message: dict[str, Any], decision: Decision) -> dict[str, Any]:
        try:
            if verb == "service":
                requests.carry_out(message, decision, self._view)
            else:
                groups.carry_out(message, decision, len(self._view.seen))
        except DefinitionErrors as wrong:  # a name of its own: the compiler gives each name one type
            problems = [
                {"index": one.index, "service": one.service, "field": one.field, "why": one.why}
                for one in wrong.problems
            ]
            return {"error": str(wrong), "problems": problems}
        except requests.Refused as why:
            return {"error": str(why)}
        return {}

    def _look(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["do"] == "list":
            return shown.everything(self._database, self._view)
        try:
            service = requests.named(message, self._database.services)
        except requests.Refused as why:
            return {"error": str(why)}
        return {
            **shown.details(service, self._database, self._view),
            "last_command": self._launch.last.get(service.name),
        }

    def _answer(self, connection: int, verb: str, told: dict[str, Any]) -> None:
        self._effects.append(Answer(connection, {verb: told}))
