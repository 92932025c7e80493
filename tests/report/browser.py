"""A headless Chromium, driven over its DevTools pipe: file descriptors 3 and 4, messages of JSON that end in NUL.

Nothing but the standard library and the browser itself is needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0
"""Seconds that anything may take on a loaded machine before it is taken for broken."""

_WIRE = """
import os, sys
first, second = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
os.dup2(first, 3)
os.dup2(second, 4)
# Which a copy onto itself leaves as it was.
os.set_inheritable(3, True)
os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipes where Chromium looks for them; copied first, should one of them be 3 or 4 already."""

KEYS = {
    "Enter": (13, "\r"), " ": (32, " "), "Escape": (27, ""), "Tab": (9, ""), "ArrowLeft": (37, ""), "ArrowUp": (38, ""),
    "ArrowRight": (39, ""), "ArrowDown": (40, ""), "End": (35, ""), "Home": (36, ""), "PageDown": (34, ""),
    "PageUp": (33, ""),
}  # fmt: skip
"""Keys without a letter: code and text."""


def find() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Browser:
    """One browser. Pages are opened in it one after the other."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="cnndsl-chromium-", ignore_cleanup_errors=True)
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _WIRE, str(to_browser), str(from_browser),
                path, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}",
                # Root, as in containers, has no sandbox; and there is little shared memory.
                "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--disable-background-networking", "--disable-component-update", "--no-first-run",
                "--force-device-scale-factor=1", "--lang=en-US", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser), env={**os.environ, "HOME": self._profile.name},
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._out, self._in = ours_out, ours_in
        self._received = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """One command; its result. Events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


class Page:
    """One page in the browser, with all that it logged and asked for."""

    def __init__(self, browser: Browser, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        self._browser = browser
        self._first = len(browser.events)
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.scheme(dark=dark)

    def call(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, *, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="", features=features)

    def open(self, path: Path, fragment: str = "") -> Self:
        """Load a file and wait until its script says that it is ready."""
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait("document.documentElement?.dataset.ready === 'yes'")
        self.settle()
        return self

    def eval(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.eval(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Until texts are unpacked and everything is drawn."""
        self.eval(
            "Promise.all([...unpacked.values()]).then(() => new Promise("
            "(done) => requestAnimationFrame(() => requestAnimationFrame(done))))"
        )

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view; of a long line, some place in its beginning."""
        found = self.eval(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            "e.scrollIntoView({block: 'nearest', inline: 'nearest'}); const r = e.getBoundingClientRect();"
            "return [r.x + Math.min(r.width, 300) / 2, r.y + r.height / 2]; })()"
        )
        assert found is not None, f"there is no {selector}"
        return found[0], found[1]

    def hover(self, selector: str) -> None:
        x, y = self.place(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def click(self, selector: str) -> None:
        x, y = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def away(self) -> None:
        """Move the pointer to where nothing is."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        self.settle()

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            code, text = KEYS.get(key, (ord(key.upper()[0]), key))
            same = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
            self.call("Input.dispatchKeyEvent", type="keyUp", **same)
        self.settle()

    def texts(self, selector: str) -> list[str]:
        return self.eval(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")

    def text(self, selector: str) -> str:
        (found,) = self.texts(selector)
        return found

    def shot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and violations of the page's policy."""
        self.eval("0")
        found = []
        for event in self._events():
            match event["method"]:
                case "Runtime.exceptionThrown":
                    details = event["params"]["exceptionDetails"]
                    found.append(details.get("exception", {}).get("description", details["text"]))
                case "Log.entryAdded":
                    found.append(event["params"]["entry"]["text"])
                case "Runtime.consoleAPICalled":
                    found.append(str(event["params"]["args"]))
        return found

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        self.eval("0")
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _events(self) -> list[dict[str, Any]]:
        return [e for e in self._browser.events[self._first :] if e.get("sessionId") == self._session]


Open = Callable[..., Page]
"""The fixture `open_page`."""
