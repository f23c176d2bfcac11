"""`guestctl service` and `guestctl event` on a node: what its event manager knows, and what is asked of it
(docs/services.md).

    guestctl service add FILE.toml...           tables [[service]]
    guestctl service change FILE.toml...        the same, of services that there are; nothing moves for that
    guestctl service remove|start|stop NAME
    guestctl service move NAME [NODE]
    guestctl service list [--json]
    guestctl service show NAME [--json]
    guestctl service raw                        a line of JSON from the standard input, the answer as a line
    guestctl event add FILE.toml...             tables [[group]]
    guestctl event remove|enable|disable NAME
    guestctl event list [--json]

add, start, stop, move and remove of services wait until it has taken effect: `--wait SECONDS` (60), `--no-wait`.
"""

from __future__ import annotations

import sys
import time

from guestd.connection import Connection
from guestd.core import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PATH = "/run/hil/events.sock"
USAGE = """usage: guestctl [--socket PATH] service add FILE.toml... [--wait SECONDS | --no-wait]
       guestctl [--socket PATH] service change FILE.toml...
       guestctl [--socket PATH] service remove|start|stop NAME [--wait SECONDS | --no-wait]
       guestctl [--socket PATH] service move NAME [NODE] [--wait SECONDS | --no-wait]
       guestctl [--socket PATH] service list [--json]
       guestctl [--socket PATH] service show NAME [--json]
       guestctl [--socket PATH] event add FILE.toml...
       guestctl [--socket PATH] event remove|enable|disable NAME
       guestctl [--socket PATH] event list [--json]"""
WAIT_S = 60.0
ANSWER_S = 60.0  # for one answer: a change may have to wait for the file lock
PERIOD_S = 0.25  # between two looks whether it has taken effect
UNDER_WAY = ("starting", "stopping", "recovering")
WORDS: dict[str, dict[str, tuple[int, ...]]] = {  # verb -> how many words may follow it
    "service": {"remove": (1,), "start": (1,), "stop": (1,), "move": (1, 2), "list": (0,), "show": (1,), "raw": (0,)},
    "event": {"remove": (1,), "enable": (1,), "disable": (1,), "list": (0,)},
}


class Misuse(Exception):
    """What is no command; says why."""


class Denied(Exception):
    """What was asked for is refused, or has not taken effect; says why."""


def run(path: str, words: Sequence[str]) -> list[str]:
    """Do what the words say, from `service` or `event` on; lines for people. Raises Misuse, Denied, OSError,
    ClientError.
    """
    kind, *rest = words
    rest, as_json, wait_s = _options(rest)
    do, *names = rest or [""]
    asked: dict[str, Any] = {"do": do}
    if names and (do == "add" or (kind, do) == ("service", "change")):
        tables: list[dict[str, Any]] = []
        for file in names:
            tables += _tables(file, "service" if kind == "service" else "group")
        asked["services" if kind == "service" else "groups"] = tables
        names = [str(table["name"]) for table in tables if "name" in table]
    elif len(names) not in WORDS[kind].get(do, ()):
        raise Misuse(f"{' '.join(words)} is no command")
    else:
        asked |= {"name": names[0]} if names else {}
        if len(names) > 1:
            asked["node"] = _node(names.pop())
    connection = Connection(path)
    try:
        if do == "raw":
            return [json.dumps(_exchange(connection, _line()))]
        told = _ask(connection, kind, asked)
        if as_json:
            return [json.dumps(told)]
        if do == "list":
            return service_table(told) if kind == "service" else event_table(told)
        if do == "show":
            return description(told)
        if kind == "event" or do == "change" or wait_s == 0:
            return []
        until_s = time.monotonic() + wait_s
        return [_settled(connection, do, name, until_s) for name in names]
    finally:
        connection.close()


def _options(words: Sequence[str]) -> tuple[list[str], bool, float]:
    """The other words, whether JSON is wanted, for how many seconds to wait. Raises Misuse."""
    rest, wait_s = [word for word in words if word not in ("--json", "--no-wait")], WAIT_S
    if "--wait" in rest:
        place = rest.index("--wait")
        value = rest[place + 1 : place + 2]
        try:
            wait_s = float(*value or ("nothing",))
        except ValueError:
            raise Misuse(f"--wait {' '.join(value)} (legal: seconds)") from None
        del rest[place : place + 2]
    unknown = [word for word in rest if word.startswith("--")]
    if unknown:
        raise Misuse(f"{unknown[0]} is no option")
    return rest, "--json" in words, 0.0 if "--no-wait" in words else wait_s


def _tables(path: str, name: str) -> list[dict[str, Any]]:
    """Those of a file. Raises Denied if it is none of that kind; what is in them the event manager checks."""
    import tomllib  # half a second on an emulated processor: for who adds something only

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except (OSError, ValueError) as why:  # ValueError: no UTF-8, no TOML
        raise Denied(f"{path}: {why}") from why
    tables = found.pop(name, None)
    if found or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        other = f", and not {', '.join(found)}" if found else ""
        raise Denied(f"{path}: there are to be tables [[{name}]]{other}")
    return tables


def _node(word: str) -> int:
    number = word.removeprefix("n")
    if not number.isdecimal():
        raise Misuse(f"{word!r} is no node (legal: its number)")
    return int(number)


def _line() -> dict[str, Any]:
    try:
        message = json.loads(sys.stdin.readline())
    except ValueError as why:
        raise Misuse(f"the standard input has no JSON: {why}") from why
    if not isinstance(message, dict):
        raise Misuse("the standard input has no JSON object")
    return message


def _exchange(connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
    connection.send_all([message])
    return connection.read(ANSWER_S)


def _ask(connection: Connection, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
    answer = _exchange(connection, {kind: asked})
    told: dict[str, Any] = answer.get(kind, answer)
    if "error" in told:
        raise Denied(str(told["error"]))
    return told


def _ask_for(connection: Connection, name: str) -> dict[str, Any] | None:
    """The service; None: there is none of that name."""
    if all(one["name"] != name for one in _ask(connection, "service", {"do": "list"})["services"]):
        return None
    return _ask(connection, "service", {"do": "show", "name": name})


def _settled(connection: Connection, do: str, name: str, until_s: float) -> str:
    """Wait until nothing of that service is under way; what it has come to.

    Raises Denied if that is not what was wanted. What awaits maturity, its parent or a start by hand is as it is to be.
    """
    while True:
        told = _ask_for(connection, name)
        if told is None:
            if do != "remove":
                raise Denied(f"{name}: it has been removed")
            return f"{name}: removed"
        states = [one["state"] for one in told["instances"]]
        moves = "T" in told["flags"] or told.get("removing") or any(state in UNDER_WAY for state in states)
        if not moves:
            break
        if time.monotonic() >= until_s:
            raise Denied(f"{name}: still {told['state']}: {told['why']}")
        time.sleep(PERIOD_S)
    line = f"{name}: {told['state']}{_where(told)}: {told['why']}"
    if states if do == "stop" else told["failed"] and not states:
        raise Denied(line)
    return line


def _where(told: dict[str, Any]) -> str:
    nodes = sorted(told["nodes"], key=int)
    return f" on {'nodes' if len(nodes) > 1 else 'node'} {', '.join(nodes)}" if nodes else ""


def service_table(told: dict[str, Any]) -> list[str]:
    """Lines for people: a child stands below its parent."""
    depth: dict[str, int] = {}
    rows = [("service", "state", "flags", "nodes")]
    for one in told["services"]:
        depth[one["name"]] = depth.get(one["parent"] or "", -1) + 1
        where = " ".join(
            f"n{node}" if state == one["state"] else f"n{node} {state}"
            for node, state in sorted(one["nodes"].items(), key=lambda item: int(item[0]))
        )
        state = one["state"] if one["enabled"] or one["state"] != "-" else "- (stopped)"
        rows.append(("  " * depth[one["name"]] + one["name"], state, one["flags"] or "-", where or "-"))
    lines = _columns(rows) if told["services"] else ["no services"]
    nodes = [("node", "state", "load", "failures")]
    for node in told["nodes"]:
        load = "-" if node["load"] is None else f"{node['load']:.2f}"
        failures = f"{node['failures']}{', in quarantine' if node['quarantined'] else ''}"
        nodes.append((f"n{node['node']}", node["state"], load, failures))
    return [*lines, "", *_columns(nodes)]


def description(told: dict[str, Any]) -> list[str]:
    """One service, for people."""
    lines = [f"{told['name']}: {told['state']}{_where(told)}, flags {told['flags'] or '-'}", f"  why: {told['why']}"]
    if told["parent"]:
        lines.append(f"  parent: {told['parent']}")
    if told["children"]:
        lines.append(f"  children: {', '.join(told['children'])}")
    for one in told["instances"]:
        where = "no node yet" if one["node"] is None else f"node {one['node']}"
        lost = "" if one["lost"] is None else f", lost with node {one['lost']}"
        lines.append(f"  registration {one['registration']}: {one['state']} on {where} ({one['reason']}{lost})")
    if told["failed"]:
        lines.append(f"  failed on node {', '.join(map(str, told['failed']))}: `guestctl service start` tries again")
    lines += [
        f"  node {one['node']} {'chosen' if one['chosen'] else 'not chosen'}: {'; '.join(one['why'])}"
        for one in told["explain"]
    ]
    lines += [f"  {key} = {json.dumps(value)}" for key, value in told["definition"].items()]
    last = told.get("last_command")
    if last:
        lines.append(f"  last command here: {json.dumps(last)}")
    return lines


def event_table(told: dict[str, Any]) -> list[str]:
    """Lines for people: groups with their events, then the watchers."""
    rows = [("group, event", "state", "watcher", "occurrences", "why")]
    for group in told["groups"]:
        of_service = f" (service {group['service']})" if group["service"] else ""
        rows.append((f"{group['name']}{of_service}", group["state"], "", "", group["why"]))
        for event in group["events"]:
            why = event["failure"] or event["why"]
            rows.append((f"  {event['name']}", event["state"], event["watcher"], str(event["occurrences"]), why))
    lines = _columns(rows) if told["groups"] else ["no event groups"]
    watchers = [("watcher", "state", "events", "why")]
    watchers += [(one["name"], one["state"], ", ".join(one["events"]) or "-", one["why"]) for one in told["watchers"]]
    return [*lines, "", *_columns(watchers)]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
