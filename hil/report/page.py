"""A page that needs nothing but a browser: a template, with style, program and data in it.

The program may come from no other place, nor may anything else: the page's own content security policy names the
digests of what is in it. What is shown comes from guests and is never taken for markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from hil import __version__
from hil.errors import UsageError

_PARTS: Final = Path(__file__).parent / "page"
_PICTURE: Final = ("theme", "packed", "colours", "window", "model", "rows", "canvas", "draw", "tip", "timeline")
PROGRAM: Final = (*_PICTURE, "events", "consoles", "panels", "main")
COMPARISON: Final = (*_PICTURE, "compare")
INDEX: Final = ("theme", "index")


def report_page(data: dict[str, Any]) -> str:
    """Of one run (:func:`hil.report.data.whole`)."""
    return _page("report.html", PROGRAM, data, about=data["about"])


def comparison_page(data: dict[str, Any]) -> str:
    """Of two (:func:`hil.report.compare.comparison`)."""
    return _page("compare.html", COMPARISON, {"runs": data["runs"]}, **data)


def index_page(**shown: Any) -> str:
    """Of many (:func:`hil.report.index.index`)."""
    return _page("index.html", INDEX, None, **shown)


def write(path: Path, page: str) -> None:
    """All of it or nothing. Raises :class:`UsageError` where it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", dir=path.parent, prefix=".report-", delete=False
        ) as file:
            try:
                file.write(page)
                os.fchmod(file.fileno(), 0o644)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; -o FILE names another place") from None


def _page(template: str, program: tuple[str, ...], data: dict[str, Any] | None, **shown: Any) -> str:
    style = _text("report.css")
    script = (
        "".join(['"use strict";\n(async () => {\n', *(_text(f"{name}.js") for name in program), "})();\n"])
        if program
        else ""
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **shown,
            version=__version__,
            style=Markup(style),
            style_digest=_digest(style),
            program=Markup(script),
            program_digest=_digest(script),
            data=_packed(data),
        )
    )


def _packed(data: dict[str, Any] | None) -> str:
    """JSON, gzip, base64: there is nothing in it that could end the element that holds it."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # Python reads NaN and Infinity, a browser does not
        raise UsageError(f"report: an event holds what is no JSON: {error}") from None
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
