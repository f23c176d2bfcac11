"""The command `guestctl` on a node: what its guestd knows.

    guestctl locks [--json]      the locks of this node's users, and the resources that this node masters

Exit status: 0, 1 if guestd does not answer, 2 for what is no command.
"""

from __future__ import annotations

import sys

from guestd.connection import PATH, ClientError
from guestd.core import json
from guestd.locks import Locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

USAGE = "usage: guestctl [--socket PATH] locks [--json]"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    words, path = list(arguments), PATH
    if words[:1] == ["--socket"] and len(words) > 1:
        path = words[1]
        words = words[2:]
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    if words in (["--help"], ["-h"], ["help"]):
        print(USAGE)
        return 0
    if words != ["locks"]:
        print(f"guestctl: {' '.join(words) or 'nothing'} is no command\n{USAGE}", file=sys.stderr)
        return 2
    try:
        with Locks(path) as locks:
            shown = locks.show()
    except (OSError, ClientError) as why:
        print(f"guestctl: guestd does not answer at {path}: {why}", file=sys.stderr)
        return 1
    print(json.dumps(shown) if as_json else "\n".join(table(shown)))
    return 0


def table(shown: dict[str, Any]) -> list[str]:
    """Lines for people."""
    state = "stopped: the members change" if shown["stopped"] else "granting"
    lines = [f"lock manager over nodes {', '.join(map(str, shown['members'])) or 'none'}: {state}"]
    lines.append(f"{shown['locks']} locks of this node, {shown['waiting']} of them wait")
    for lock in shown["own"]:
        wanted = f", wants {lock['wanted']}" if lock["wanted"] else ""
        master = "?" if lock["master"] is None else lock["master"]
        lines.append(f"  {lock['lock']:>6}  {lock['name']}  {lock['mode'] or '-'}{wanted}, master: node {master}")
    lines.append(f"{shown['mastered']} resources mastered by this node, {shown['withheld']} withheld for a recovery")
    for resource in shown["resources"]:
        lines.append(f"  {resource['name']}{'' if resource['valid'] else ', value not valid'}")
        for kind in ("granted", "converting", "waiting"):
            for entry in resource[kind]:
                mode = entry["mode"] if kind == "granted" else f"{entry['mode'] or '-'} to {entry['wanted']}"
                dead = ", held back: its node is dead" if entry["of_dead"] else ""
                lines.append(f"    {kind} {mode}, node {entry['node']} lock {entry['lock']}{dead}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
