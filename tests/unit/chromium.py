"""A headless Chromium that a test drives over the DevTools protocol: two pipes, no port, no driver, no library.

It is started with descriptors 3 (what it reads) and 4 (what it writes); each message is JSON and ends with a NUL.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LIMIT_S: Final = 60.0
"""For one answer, or one condition, on a machine that does much else."""

KEYS: Final = {"ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Enter": 13}


def find() -> str | None:
    """The program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class BrowserError(Exception):
    """The browser refuses a command, says nothing, or a page's expression has thrown."""


class Browser:
    """One page at a time; what it complains of and what it asks the network for is kept."""

    def __init__(self, to: int, out: int) -> None:
        self._to = to
        self._out = out
        self._read = b""
        self._number = 0
        self._session: str | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked: dict[str, str] = {}  # by the number of the request
        self.complaints: list[str] = []
        """Console messages of any kind, exceptions, and what the page's security policy has refused."""

    @property
    def requests(self) -> list[str]:
        """What pages asked for, but for what was refused before anything was sent."""
        return list(self._asked.values())

    def new_page(self) -> None:
        """Begin with an empty one."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.complaints.clear()
        self._asked.clear()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; raises :class:`BrowserError` if it is refused or not answered."""
        self._number += 1
        number = self._number
        told: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith(("Target.", "Browser.")):
            told["sessionId"] = self._session
        os.write(self._to, json.dumps(told).encode() + b"\0")
        deadline = time.monotonic() + LIMIT_S
        while number not in self._answers:
            self._receive(deadline, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float, waiting_for: str) -> None:
        if not select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise BrowserError(f"{waiting_for}: no answer within {LIMIT_S:.0f} s")
        data = os.read(self._out, 1 << 20)
        if not data:
            raise BrowserError(f"{waiting_for}: the browser has ended")
        *whole, self._read = (self._read + data).split(b"\0")
        for one in whole:
            message = json.loads(one)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message["method"], message["params"])

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self._asked[told["requestId"]] = told["request"]["url"]
        elif method == "Network.loadingFailed" and told.get("blockedReason"):
            self._asked.pop(told["requestId"], None)

    # -- what a test does

    def open(self, page: Path, width: int = 1280, height: int = 800) -> None:
        """A page from a file, drawn."""
        self.resize(width, height)
        self.ask("Page.navigate", url=page.as_uri())
        self.wait("document.body && document.body.dataset.ready")

    def resize(self, width: int, height: int) -> None:
        """The window, in CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Until an expression in the page is true; its value."""
        deadline = time.monotonic() + LIMIT_S
        while not (value := self.js(condition)):
            if time.monotonic() > deadline:
                raise BrowserError(f"not within {LIMIT_S:.0f} s: {condition}")
            time.sleep(0.02)
        return value

    def settle(self) -> None:
        """Until what was asked for is drawn."""
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def middle(self, selector: str) -> tuple[float, float]:
        """Of an element, brought into the window."""
        found = self.js(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            " found.scrollIntoView({ block: 'nearest' }); const box = found.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return float(found[0]), float(found[1])

    def click(self, selector: str, modifiers: int = 0) -> None:
        """As a person does, in the middle of an element."""
        self.click_at(*self.middle(selector), modifiers=modifiers)

    def click_at(self, x: float, y: float, modifiers: int = 0) -> None:
        """There."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, modifiers=modifiers, **pressed)
        self.settle()

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """With the left button."""
        mouse = "Input.dispatchMouseEvent"
        self.ask(mouse, type="mouseMoved", x=x, y=y)
        self.ask(mouse, type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for step in range(1, 6):
            there = {"x": x + (to_x - x) * step / 5, "y": y + (to_y - y) * step / 5}
            self.ask(mouse, type="mouseMoved", button="left", buttons=1, **there)
        self.ask(mouse, type="mouseReleased", x=to_x, y=to_y, button="left", clickCount=1)
        self.settle()

    def wheel(self, x: float, y: float, down: float, modifiers: int = 0) -> None:
        """``down``: pixels. Modifiers: Alt 1, Ctrl 2, Shift 8."""
        self.ask("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down, modifiers=modifiers)
        self.settle()

    def key(self, key: str) -> None:
        """One stroke."""
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        text = {"text": key} if len(key) == 1 else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self.settle()

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.ask("Input.insertText", text=text)
        self.settle()

    def picture(self, path: Path) -> None:
        """A PNG of what is in the window."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """One that ends with the block, with all its processes."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-extensions"),
        *("--hide-scrollbars=false", f"--user-data-dir={profile}"),
    ]

    # By a process between, for 3 and 4 are other things here; to high numbers first, for one of the two may be 3 or 4.
    place = (
        "import os, sys; to, out = (os.dup2(int(n), 100 + k, inheritable=False) for k, n in enumerate(sys.argv[1:3]));"
        " os.dup2(to, 3); os.dup2(out, 4); os.execv(sys.argv[3], sys.argv[3:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", place, str(in_read), str(out_write), program, *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=(in_read, out_write), start_new_session=True,
    )  # fmt: skip
    os.close(in_read)
    os.close(out_write)
    try:
        yield Browser(in_write, out_read)
    finally:
        os.close(in_write)
        os.close(out_read)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
