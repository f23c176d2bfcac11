"""The live view for browsers of this machine: a page with a terminal in it, and a process of ours behind each page.

textual-serve has the terminal and the line to it. The page is our own: it loads nothing but what this server has. All
paths begin with a random word that only the printed URL tells: other users of the machine reach the port, too, and so
does any page that the browser shows.
"""

from __future__ import annotations

import errno
import secrets
import shlex
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from textual_serve.server import Server

from hil.cli.access import python_path
from hil.errors import UsageError

HOST: Final = "127.0.0.1"
PAGE: Final = Path(__file__).with_name("page.html")
GRACE_S: Final = 1.0
"""Pages that are open when the server ends get so long to be told."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self' data: 'unsafe-inline'; connect-src 'self' ws:",
    "Referrer-Policy": "no-referrer",
}
"""The browser itself refuses whatever would be loaded from elsewhere."""


def listen(port: int) -> socket.socket:
    """A socket on loopback that listens. Raises :class:`UsageError` for a port that cannot be had."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = {
            errno.EADDRINUSE: "is in use",
            errno.EACCES: "is not for ordinary users",
        }.get(error.errno or 0, f"cannot be had: {error.strerror}")
        raise UsageError(f"--serve {port}: port {port} of {HOST} {why}; `--serve 0` takes a free one") from None


def application(cluster: str, word: str) -> web.Application:
    """The server of one cluster; ``word``: the first part of all paths."""
    command = ["env", f"PYTHONPATH={python_path()}", sys.executable, "-m", "hil.live", cluster]
    terminals = Server(f"exec {shlex.join(command)}")
    page = PAGE.read_text(encoding="utf-8").replace("CLUSTER", cluster)

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=HEADERS)

    app = web.Application()
    app.router.add_get(f"/{word}/", show)
    app.router.add_get(f"/{word}/terminal", terminals.handle_websocket)
    app.router.add_static(f"/{word}/static", terminals.statics_path)
    return app


def serve(cluster: str, port: int) -> None:
    """Serve the live view of the running cluster until SIGINT or SIGTERM. Raises :class:`UsageError`."""
    word = secrets.token_urlsafe(12)
    with listen(port) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}/{word}/"
        print(f"cluster {cluster}: {url}", flush=True)
        print(
            "for browsers of this machine, and of your user alone: do not pass the URL on; Ctrl-C ends it", flush=True
        )
        web.run_app(
            application(cluster, word),
            sock=listener,
            shutdown_timeout=GRACE_S,
            access_log=None,
            print=partial(_unsaid),
        )


def _unsaid(*_: object, **__: object) -> None:
    """aiohttp would name the address, without the word."""
