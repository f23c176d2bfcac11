"""``python -m hil.cli.proxy CLUSTER NODE``: ssh's ProxyCommand, hands a connected socket over (ProxyUseFdpass).

Standard output is a Unix socket made by ssh; it waits there for one descriptor (ssh_config(5)).
"""

from __future__ import annotations

import socket
import sys

from hil.client.connection import Caller
from hil.errors import HilError


def main(arguments: list[str]) -> int:
    """Hand over the socket; the exit status."""
    name, node = arguments
    try:
        connection = Caller(name).call_for_socket("open_ssh", node=int(node))
    except HilError as error:
        print(f"hil: {error}", file=sys.stderr)
        return error.exit_status
    with connection, socket.socket(fileno=sys.stdout.fileno()) as ssh:
        socket.send_fds(ssh, [b"\0"], [connection.fileno()])
        ssh.detach()  # the interpreter closes standard output itself
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
